"""The attention blocks of a pretrained encoder, in integers and in floating point."""

import numpy as np
import pytest

from heddle.blocks import attention_block
from heddle.demo import SENTENCES, run_layer
from heddle.models import MiniLM
from heddle.rtl.geometry import preset

MORE = (
    "A shuttle that is thrown too hard bounces out of the box on the other side.",
    "She counted the threads twice and still came to a different number.",
    "Wool shrinks in hot water, linen does not.",
    "The mill stood by the river because the river turned its wheels.",
    "Could you send me the minutes of yesterday's meeting?",
    "Prices rose by four percent in the third quarter.",
    "No two snowflakes are said to be alike.",
    "The patient was discharged after three days without fever.",
    "Add the flour slowly and stir until the dough no longer sticks.",
    "The committee has not yet decided whether to publish the report.",
    "He plays the cello in the orchestra of his village.",
    "A function that calls itself needs a case in which it does not.",
    "Rain is expected in the north, sunshine in the south.",
    "I would rather walk than wait for the bus.",
    "The contract ends on the last day of June unless it is renewed.",
    "Light from that star has travelled for longer than there have been people.",
)


@pytest.fixture(scope="module")
def encoder():
    """The layers, their traces, and the lengths of the sentences."""
    model = MiniLM()
    sentences = [*SENTENCES, *MORE]
    return (model.encoder.layers, model.run(sentences),
            [len(sequence) for sequence in model.tokens(sentences)])


@pytest.mark.parametrize("number", range(6))
def test_blocks_are_close_to_floating_point(encoder, number):
    layers, traces, lengths = encoder
    assert len(lengths) >= 20
    graph = attention_block("block", layers[number], lengths)
    outcome = run_layer(graph, traces[number], lengths, preset("zcu102"), "golden")
    assert outcome.result.report["matches_golden"] is True
    assert len(outcome.cosines) == len(lengths)
    assert np.mean(outcome.cosines) >= 0.995
    assert min(outcome.cosines) >= 0.99
    assert outcome.error < 0.06
    assert outcome.result.report["tiles_visited"] < 0.3 * outcome.result.report["tiles_total"]


def test_the_graph_is_the_encoder(encoder):
    layers, traces, lengths = encoder
    graph = attention_block("block", layers[0], lengths)
    output = graph.evaluate({"hidden": traces[0].input})["output"]
    np.testing.assert_allclose(output, traces[0].projected, atol=1e-5)
