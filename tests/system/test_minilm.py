"""A pretrained encoder with all of its layers on the device, in integers and floating point."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from heddle.cli import main
from heddle.deploy import network_graph
from heddle.device import Golden
from heddle.embedding import SENTENCES, Embedder
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
def embedded():
    """Lengths of the sentences and their embeddings, of the golden model."""
    embedder = Embedder(Golden(preset("zcu102")))
    sequences = embedder.model.tokens([*SENTENCES, *MORE])
    return [len(sequence) for sequence in sequences], embedder(sequences, compare=True)


def test_embeddings_are_close_to_floating_point(embedded):
    lengths, embeddings = embedded
    assert embeddings.lengths == tuple(lengths)
    assert len(lengths) == 24
    assert embeddings.cosines.mean() >= 0.99
    assert embeddings.cosines.min() >= 0.97
    np.testing.assert_allclose(np.linalg.norm(embeddings.vectors, axis=1), 1, rtol=1e-6)
    differences = embeddings.similarities - embeddings.exact_similarities
    assert np.abs(differences).max() < 0.06


def test_embeddings_are_those_of_the_encoder(embedded):
    _, embeddings = embedded
    np.testing.assert_allclose(embeddings.exact, MiniLM().embed([*SENTENCES, *MORE]), atol=1e-12)


def test_programs_equal_the_layers_in_integers(embedded):
    lengths, embeddings = embedded
    assert all(result.report["matches_golden"] is True for result in embeddings.results)
    per_token = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    attended = 6 * 2 * 384 * sum(length ** 2 for length in lengths)
    assert sum(result.report["macs"] for result in embeddings.results) == (
        sum(lengths) * per_token + attended)
    for result in embeddings.results:
        assert result.report["workload"].startswith("MiniLM, ")
        assert result.report["dram_read_bytes"] > result.report["weight_bytes"] == per_token


def test_sentences_that_mean_the_same_are_close(embedded):
    near = embedded[1].similarities[:8, :8] > 0.5
    pairs = np.eye(8, dtype=bool)
    pairs[[0, 1, 2, 3], [1, 0, 3, 2]] = True
    np.testing.assert_array_equal(near, pairs)


def test_the_graph_is_the_encoder():
    encoder = MiniLM(layers=2).encoder
    sequences = MiniLM().tokens(SENTENCES[:3])
    x, lengths = encoder.embedding(sequences)
    graph = network_graph(encoder, lengths)
    [name] = graph.outputs
    np.testing.assert_allclose(graph.evaluate({"x": x})[name], encoder(sequences), atol=1e-4)


def test_demonstration_on_the_rtl(tmp_path):
    arguments = ["demo", "--layers", "1", "--output", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    [run] = json.loads((tmp_path / "report.json").read_text())["runs"]
    assert run["device"] == "rtl"
    assert run["matches_golden"] is True
    assert run["utilisation"] > 0.5
    waits = sum(run[f"wait_{what}"] for what in ("dma", "operands", "drain", "softmax"))
    assert run["array_cycles"] + waits <= run["cycles"]
    about = json.loads((tmp_path / "trace.json").read_text())["otherData"]
    assert about["cycles_measured"] == run["cycles"]
    assert about["cycles_expected"] == pytest.approx(run["cycles"], rel=0.1)
    assert (tmp_path / "occupancy.png").read_bytes().startswith(b"\x89PNG")
