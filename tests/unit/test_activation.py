"""The activations of the drain against exact ones, and their scales."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.activations import apply, gelu, named
from heddle.rtl.activation import GATE_BITS, INDICES, UNIT_BITS, VALUE_BITS, complements
from heddle.rtl.isa import Activation
from heddle.sim import golden
from heddle.sim.activation import FINER, GATED, activate, find_gate_shift, output_step

VALUES = np.arange(-(1 << VALUE_BITS - 1), 1 << VALUE_BITS - 1)
TABLE_ERROR = {Activation.GELU: 0.006, Activation.SILU: 0.0125}
"""As docs/numerics.md says."""


# -- the golden function ---------------------------------------------------------------------------

@pytest.mark.parametrize("activation", GATED)
def test_error_bound_for_every_value_and_gate_shift(activation):
    excess = []
    for gate_shift in range(13):
        step = output_step(activation, gate_shift)
        got = activate(VALUES, gate_shift, activation) * step
        wanted = np.clip(apply(activation, VALUES * step / 256), -127 * step, 127 * step)
        excess.append(np.abs(got - wanted).max() - step / 2)
    assert 0.9 * TABLE_ERROR[activation] < max(excess) <= TABLE_ERROR[activation]


def test_relu_is_exact():
    rounded = np.clip((np.maximum(VALUES, 0) + 128) >> 8, 0, 127)
    for gate_shift in (0, 7, 15):
        assert (activate(VALUES, gate_shift, Activation.RELU) == rounded).all()


@pytest.mark.parametrize("activation", GATED)
@pytest.mark.parametrize("gate_shift", [0, 5, 12, 15])
def test_far_values(activation, gate_shift):
    """A value that saturates has a gate of 0 or 1, whatever the gate shift."""
    far = np.array([1 << VALUE_BITS - 1, 1 << 30, 1 << 43])
    assert (activate(far, gate_shift, activation) == 127).all()
    assert (activate(-far - 1, gate_shift, activation) == 0).all()


@pytest.mark.parametrize("activation", GATED)
def test_tables(activation):
    """Gates fall to 0 within the table, and are symmetric but for the rounding."""
    table = complements(activation)
    assert len(table) == INDICES
    assert table == sorted(table, reverse=True)
    assert table[-1] == 0
    assert table[0] < 1 << GATE_BITS - 1
    for n, missing in enumerate(table):
        x = -(n + 0.5) / (1 << UNIT_BITS[activation])
        exact = apply(activation, np.array([x]))[0] / x * (1 << GATE_BITS)
        assert abs(missing - exact) <= 0.5 + 1e-9


@given(st.sampled_from(GATED), st.integers(0, 12), st.integers(0, 2**32))
def test_error_of_sums(activation, gate_shift, seed):
    """The bound of docs/numerics.md, from accumulators and a real scale to the output."""
    rng = np.random.default_rng(seed)
    step = output_step(activation, gate_shift)
    x = np.append(rng.normal(size=200) * rng.choice([0.3, 3, 30]), [0, 4, -4, 8, -8])
    sums = step * np.exp2(rng.uniform(-16, 0))  # what a step of the accumulator stands for
    total = np.rint(np.clip(x / sums, 1 - 2**26, 2**26 - 1)).astype(int)
    bias = rng.integers(-2**25, 2**25)
    multiplier, shift = golden.quantise_scale(FINER * sums / step)
    got = golden.requantise(total - bias, bias, multiplier, shift, gate_shift, activation) * step
    wanted = np.clip(apply(activation, total * sums), -127 * step, 127 * step)
    assert np.abs(got - wanted).max() <= (1 / 2 + 1 / 128) * step + TABLE_ERROR[activation]


def by_definition(acc, bias, multiplier, shift, gate_shift, activation):
    """The lines of docs/numerics.md, in integers of any size."""
    v = max(-2**26, min(2**26 - 1, acc + bias))
    p = v * multiplier
    w = (p - (p < 0)) >> shift
    u = max(-2**19, min(2**19 - 1, w))
    t = max(-128, min(127, w >> gate_shift)) if u == w else (-128 if w < 0 else 127)
    table = complements(activation)
    g = 256 - table[t] if t >= 0 else table[-1 - t]
    return max(-127, min(127, (u * g + 2**15) >> 16))


@given(st.sampled_from([a for a in Activation if a != Activation.NONE]), st.integers(0, 2**32))
def test_activation_as_defined(activation, seed):
    rng = np.random.default_rng(seed)
    shift, gate_shift = rng.integers(0, 64, 50) >> rng.integers(0, 3, 50), rng.integers(0, 16, 50)
    multiplier = rng.integers(0, 1 << 17, 50)
    acc, bias = rng.integers(-2**31, 2**31, (2, 50)) >> rng.integers(0, 32, (2, 50))
    got = golden.requantise(acc[:, None], bias, multiplier, shift, gate_shift, activation)[:, 0]
    assert got.tolist() == [by_definition(*map(int, each), activation)
                            for each in zip(acc, bias, multiplier, shift, gate_shift)]


@given(st.sampled_from(GATED), st.floats(1e-6, 16))
def test_gate_shift_is_that_of_the_least_step(activation, step):
    gate_shift = find_gate_shift(activation, step)
    assert 0 <= gate_shift <= 12
    assert output_step(activation, gate_shift) >= step or gate_shift == 0
    assert gate_shift == 12 or output_step(activation, gate_shift + 1) < step
    assert find_gate_shift(activation, output_step(activation, gate_shift)) == gate_shift


# -- floating point --------------------------------------------------------------------------------

def test_exact_activations():
    x = np.linspace(-800, 800, 4001)
    with np.errstate(over="raise", invalid="raise"):
        assert (apply(Activation.NONE, x) == x).all()
        assert (apply(Activation.RELU, x) == [max(each, 0) for each in x]).all()
        small = x[np.abs(x) < 40]
        np.testing.assert_allclose(apply(Activation.SILU, small),
                                   [each / (1 + math.exp(-each)) for each in small], rtol=1e-13)
        np.testing.assert_allclose(gelu(small), [each * math.erfc(-each / math.sqrt(2)) / 2
                                                 for each in small], atol=1e-14)
    assert apply(Activation.SILU, np.array([-800.0, 800.0])).tolist() == [0, 800]


def test_names():
    assert [named(name) for name in (None, "relu", "gelu", "silu")] == list(Activation)
    with pytest.raises(ValueError, match="Activation must be None, relu, gelu, silu, not 'swish'"):
        named("swish")
