"""The golden normalisation against floating point, its integers, and what is refused."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.sim import norm

COUNTS = [1, 2, 3, 7, 32, 384, 768, 4095, 4096]


def scales(features, *, gain=1 << 12, bias=0, epsilon=0):
    """Return parameters with values of 256 steps of the first input."""
    ones = np.ones(features, np.int64)
    return norm.NormScales(ones << 15, ones << 15, ones << 16, ones * gain, ones * bias,
                           features, epsilon)


def rows(features, rng):
    """Return values of many tokens: as layers have them, and as they never should."""
    largest = 127 * 65535 * 2 + 64 >> 7
    kinds = [
        np.rint(rng.normal(0, 1, (features, 16)) * np.exp2(rng.uniform(0, 15, 16))),
        np.rint(rng.standard_t(2, (features, 16)) * 1000),
        rng.integers(-largest, largest + 1, (features, 8)),
        rng.integers(-largest, largest + 1, (1, 8)) + rng.integers(-3, 4, (features, 8)),
        rng.integers(-largest, largest + 1, 8) + (rng.random((features, 8)) < 1 / 32),
        np.where(np.arange(features)[:, None] == rng.integers(features), [largest, -1, 1], 0),
        np.where(np.arange(features)[:, None] % 2, [largest, 1], [-largest, 0]),
        np.tile([largest, -largest, 0, 1, -77777], (features, 1)),
    ]
    return np.clip(np.concatenate(kinds, axis=1), -largest, largest).astype(np.int64)


def normal(y, features, epsilon, rms):
    """Return the exact normalised values, and their standard deviation in 16ths of a step."""
    centre = 16.0 * y - (0 if rms else 16.0 * y.mean(axis=0))
    sigma = np.sqrt((centre ** 2).mean(axis=0) + epsilon / features)
    return np.divide(centre, sigma, out=np.zeros_like(centre), where=sigma > 0), sigma


@pytest.mark.parametrize("rms", [False, True])
@pytest.mark.parametrize("features", COUNTS)
@pytest.mark.parametrize("epsilon", [0, 1000, 1 << 40])
def test_error_bound(features, epsilon, rms):
    """The bound of docs/numerics.md, for gains of a few sizes and for all kinds of rows."""
    y = rows(features, np.random.default_rng(features))
    z, sigma = normal(y, features, epsilon, rms)
    away = 0 if rms else 0.5 + 2 ** -3  # of the rounded mean from the mean
    off = np.divide(away, sigma, out=np.zeros_like(sigma), where=sigma > 0)
    error = np.abs(z) * (2 ** -16 + off ** 2 / 2) + off * (1 + 2 ** -16) + 2 ** -12
    for gain, bias in ((1 << 12, 0), (-700, 3333), (32767, -32768), (0, 77)):
        got = norm.normalise(y, scales(features, gain=gain, bias=bias, epsilon=epsilon), rms=rms)
        want = np.clip((z * gain + bias) / 256, -127, 127)
        assert (np.abs(got - want) <= 0.5 + abs(gain) / 256 * error + 1e-9).all()


@pytest.mark.parametrize("features", COUNTS)
@pytest.mark.parametrize("value", [0, 1, -1, 100_000, -130_046])
def test_equal_values_give_the_bias(features, value):
    y = np.full((features, 2), value)
    assert (norm.normalise(y, scales(features, gain=32767, bias=-19 << 8)) == -19).all()


def test_a_single_outlier_reaches_the_largest_normalised_value():
    y = np.zeros((4096, 1), np.int64)
    y[5] = 130_046
    assert norm.normalise(y, scales(4096, gain=256), rms=True)[5, 0] == 64
    assert norm.normalise(y, scales(4096, gain=-256))[5, 0] == -64


steps = st.floats(1e-6, 1e3)


@given(st.lists(st.tuples(steps, steps), min_size=1, max_size=20), st.booleans(),
       st.integers(0, 99))
def test_values_and_stored_sums(pairs, residual, seed):
    """Values are wrong by 1.5 steps at most, stored sums by half a step more than that."""
    x_scale, o_scale = np.array(pairs).T
    x, o = np.random.default_rng(seed).integers(-128, 128, (2, len(pairs), 9))
    if not residual:
        o = o_scale = None
    step = norm.value_step(x_scale, o_scale)
    stored = np.maximum(x_scale, norm.least_sum(step))
    parameters = norm.quantise_norm(x_scale, o_scale, sum=stored)
    y = norm.values(x, o, parameters)
    exact = x * x_scale[:, None] + (o * o_scale[:, None] if residual else 0)
    assert np.abs(y).max() < 1 << 17
    assert np.abs(y - exact / step).max() <= (1.5 if residual else 1) + 1e-6
    error = norm.store_sum(y, parameters) - np.clip(y * step / stored[:, None], -127, 127)
    assert np.abs(error).max() <= 0.5 + 2 ** -10


@pytest.mark.parametrize("features", [8, 384, 1024])
@pytest.mark.parametrize("rms", [False, True])
def test_a_layer_in_floating_point(features, rms):
    """From scales, gamma and beta as a model has them, to steps of the output."""
    rng = np.random.default_rng(features)
    x_scale, o_scale = rng.uniform(0.5, 2, (2, features)) / 64
    x_scale[features // 2] *= 10
    gamma, beta = rng.normal(1, 0.3, features), rng.normal(0, 0.3, features)
    x, o = rng.integers(-128, 128, (2, features, 64))
    value = x * x_scale[:, None] + o * o_scale[:, None]
    centre = value - (0 if rms else value.mean(axis=0))
    sigma = np.sqrt((centre ** 2).mean(axis=0) + 1e-5)
    z = centre / sigma
    want = z * gamma[:, None] + beta[:, None]
    output = np.maximum(np.abs(want).max(axis=1) / 127, norm.least_output(gamma, beta))
    parameters = norm.quantise_norm(x_scale, o_scale, output=output, gamma=gamma, beta=beta,
                                    epsilon=1e-5)
    got = norm.normalise(norm.values(x, o, parameters), parameters, rms=rms)
    # Values are wrong by 1.5 steps, so are their mean and deviation; two rounding errors follow.
    step = norm.value_step(x_scale, o_scale) / sigma
    error = (3 + 1.5 * np.abs(z)) * step + step / 16 + 2 ** -12 + np.abs(z) * 2 ** -15
    bound = np.abs(gamma / output)[:, None] * error + (1 + np.abs(z)) * 2 ** -9
    assert (np.abs(got - want / output[:, None]) <= 0.5 + bound).all()
    assert bound.mean() < 0.1


def test_parameters_round_trip():
    rng = np.random.default_rng(1)
    x, o, stored, gain, bias = rng.integers(0, 1 << 15, (5, 20))
    given = norm.NormScales(x, o, stored, gain - (1 << 14), -bias, 20, 5).padded(24)
    for norms, words in ((True, 2 * 24), (False, 24)):
        table = norm.pack_norm(given, 8, norm=norms)
        assert table.shape == (words, 8)
        back = norm.unpack_norm(table, 24, 20, 5, norm=norms)
        for name in ("x", "o", "sum", *(("gain", "bias") if norms else ())):
            np.testing.assert_array_equal(getattr(back, name), getattr(given, name))
    assert norm.pack_norm(given, 128).shape == (4, 128)  # each table ends with its last word
    assert norm.unpack_norm(norm.pack_norm(given, 128), 24, 20, 5).fields == given.fields


@pytest.mark.parametrize(("arguments", "message"), [
    ({"sum": [1e-9, 1]}, "Scale of a stored sum must be at least 0.007813, not 1e-09"),
    ({"output": 0.001}, "Scale of an output must be at least 0.007813, not 0.001"),
    ({"output": np.nan}, "Scale of an output must be at least 0.007813, not nan"),
    ({"output": 1, "beta": [200, 0]}, "Scale of an output must be at least 1.563, not 1"),
    ({"epsilon": 1e9}, "Epsilon must be between 0 and 2.097e+06, not 1000000000.0"),
    ({"epsilon": -1.0}, "Epsilon must be between 0 and 2.097e+06, not -1.0"),
])
def test_scales_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        norm.quantise_norm(np.array([1.0, 0.5]), **arguments)


@pytest.mark.parametrize(("name", "number", "message"), [
    ("x", 1 << 16, "Parameter x of a normalisation must be between 0 and 65535, not 65536"),
    ("sum", -1, "Parameter sum of a normalisation must be between 0 and 16777215, not -1"),
    ("gain", 1 << 15, "gain of a normalisation must be between -32768 and 32767, not 32768"),
])
def test_parameters_refused(name, number, message):
    wrong = scales(3)
    getattr(wrong, name)[1] = number
    with pytest.raises(ValueError, match=re.escape(message)):
        norm.pack_norm(wrong, 8)
