"""A whole encoder on the RTL of each technology: the same bits, and the same counters."""

import numpy as np
import pytest

from heddle.compiler import lower
from heddle.deploy import network_graph
from heddle.device import Golden, Rtl
from heddle.models.modules import Linear, Norm
from heddle.models.transformer import Layer, TokenEmbedding, Transformer
from heddle.quantise import quantise
from heddle.rtl.geometry import PRESETS
from heddle.rtl.target import TECHNOLOGIES

FEATURES, HIDDEN, LAYERS, WORDS = 16, 64, 2, 50
LENGTHS = [9, 6]


def encoder(seed=0):
    """Return layers of two heads, whose feed-forward weights are zero for the most part.

    Every other layer normalises what its parts read, the others what they give.
    """
    rng = np.random.default_rng(seed)

    def linear(outputs, inputs, kept=1.0):
        weight = rng.normal(size=(outputs, inputs)) * (rng.random((outputs, inputs)) < kept)
        return Linear(weight / (kept * inputs) ** 0.5, rng.normal(size=outputs))

    def norm():
        return Norm(1 + 0.2 * rng.normal(size=FEATURES), 0.2 * rng.normal(size=FEATURES), 1e-5)

    return Transformer(
        kind="encoder", norm=norm(),
        embedding=TokenEmbedding(words=rng.normal(size=(WORDS, FEATURES)),
                                 positions=rng.normal(size=(max(LENGTHS), FEATURES))),
        layers=tuple(Layer(
            **{part: linear(FEATURES, FEATURES) for part in ("query", "key", "value", "output")},
            expand=linear(HIDDEN, FEATURES, 0.1), contract=linear(FEATURES, HIDDEN, 0.1),
            attention_norm=norm(), norm=norm(), norm_first=n % 2 == 0, heads=2)
            for n in range(LAYERS)))


@pytest.mark.parametrize("name", ["tiny", "tiny-nm"])
def test_every_operation_gives_the_same_bits(name):
    model, geometry = encoder(), PRESETS[name]
    rng = np.random.default_rng(1)
    tokens = [rng.integers(0, WORDS, length) for length in LENGTHS]
    inputs = {"x": model.embed(tokens)}
    program = lower(quantise(network_graph(model, LENGTHS), inputs), geometry)
    assert program.weight_bytes < program.weight_bytes_dense
    image = program.image(inputs)
    golden = Golden(geometry).run(program, image)
    runs = [Rtl(geometry, technology=technology).run(program, image)
            for technology in TECHNOLOGIES]
    for each in runs:
        np.testing.assert_array_equal(each.image, golden.image)
        assert each.counters == runs[0].counters
    [outputs] = program.outputs_of(golden.image).values()
    assert np.abs(outputs - model(tokens)).mean() < 0.05 * outputs.std()
