"""Evaluations on small samples, and what they are made of: figures, texts, measures."""

import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import spearmanr

from heddle.device import DeviceError
from heddle.evaluate import (
    Figure,
    antibodies,
    corpora,
    evaluate_characters,
    evaluate_lee,
    evaluate_polarity,
    evaluate_sapiens,
    evaluation,
    sentences,
    table,
)
from heddle.evaluate.ablations import ablations
from heddle.evaluate.emulation import Emulation, approximate
from heddle.evaluate.evaluation import Trial, cosines
from heddle.graph import Graph
from heddle.models import MiniLM, calibration_sentences
from heddle.models.modules import softmax
from heddle.rtl.geometry import PRESETS

ZCU102 = PRESETS["zcu102"]
ON_GOLDEN = {"geometry": ZCU102, "device": "golden"}


@pytest.fixture
def few(monkeypatch):
    """Fewer sentences from which MiniLM's scales are found, for quick tests."""
    some = calibration_sentences()[::2]
    monkeypatch.setattr("heddle.embedding.calibration_sentences", lambda: some)
    monkeypatch.setattr("heddle.evaluate.ablations.calibration_sentences", lambda: some)


# -- figures ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(("figure", "held", "row"), [
    (Figure("a", 0.5, 0.49, 0.01), True, ("a", "0.5000", "0.4900", "-0.0100", "0.0100")),
    (Figure("a", 0.5, 0.52, 0.01), False, ("a", "0.5000", "0.5200", "+0.0200", "0.0100")),
    (Figure("b", None, 12345, form=",.0f"), True, ("b", "–", "12,345", "–", "–")),
    (Figure("c", 0.97, 0.75, None, ".1%"), True, ("c", "97.0%", "75.0%", "-22.0%", "–")),
])
def test_figures(figure, held, row):
    assert figure.held is held
    assert figure.row() == row


def test_cosines():
    mean, worst = cosines([[3, 0], [1, 1]], [[1, 0], [0, 2]])
    assert mean.heddle == pytest.approx((1 + 0.5 ** 0.5) / 2)
    assert worst.heddle == pytest.approx(0.5 ** 0.5)
    assert not worst.held


def test_table_has_a_row_for_each_figure():
    trial = Trial(ZCU102, "golden")
    trial.array_cycles = 700
    result = trial.evaluation("one", 7, Figure("a", 1, 2), Figure("b", 3, 4))
    shown = table(result)
    assert shown.title == "one: 7 samples, zcu102 (golden)"
    cells = [list(column.cells) for column in shown.columns]
    assert cells[0] == ["a", "b", "array cycles a sample"]
    assert cells[2] == ["2.0000", "4.0000", "100"]
    assert result["b"].heddle == 4


class Deployed:
    """Stands for a deployment whose programs return their inputs, in 10 array cycles each."""

    def __init__(self, matches=True):
        self.matches, self.results = matches, []

    def __call__(self, inputs):
        self.results.append(SimpleNamespace(
            report={"matches_golden": self.matches, "workload": "w"},
            run=SimpleNamespace(counters=SimpleNamespace(array_cycles=10, cycles=30))))
        return list(inputs)


def test_trials_hand_over_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(evaluation, "_TOGETHER", 2)
    seen, deployed = [], Deployed()
    trial = Trial(ZCU102, "golden", seen.append)
    assert trial.run(deployed, [4, 5, 6, 7, 8]) == [4, 5, 6, 7, 8]
    assert seen == [2, 4, 5]
    assert deployed.results == []
    assert (trial.array_cycles, trial.cycles) == (30, 90)


def test_results_that_differ_from_the_golden_model_are_refused():
    with pytest.raises(DeviceError, match="equal the golden model's, and one of w differs"):
        Trial(ZCU102, "golden").run(Deployed(matches=False), [1])


# -- texts -----------------------------------------------------------------------------------------

def test_texts_of_lee():
    lee = corpora.Lee.load()
    assert len(set(lee.texts)) == 50
    assert lee.ratings.shape == (50, 50)
    np.testing.assert_array_equal(lee.ratings, lee.ratings.T)
    assert (lee.ratings.diagonal() == 1).all()
    assert 0 < lee.ratings.min() < lee.ratings.max() == 1
    few = corpora.Lee.load(4)
    assert few.texts == lee.texts[:4]
    np.testing.assert_array_equal(few.ratings, lee.ratings[:4, :4])


def test_calibration_has_none_of_the_texts_that_are_evaluated():
    known = set(calibration_sentences())
    assert known.isdisjoint(corpora.Lee.load().texts)
    assert known.isdisjoint(corpora.Polarity.load().texts)


def test_snippets_take_turns():
    polarity = corpora.Polarity.load()
    assert len(polarity.texts) == 200
    assert polarity.favour.sum() == 100
    assert (polarity.favour[::2] != polarity.favour[1::2]).all()
    assert not any("__label__" in text for text in polarity.texts)
    assert corpora.Polarity.load(10).texts == polarity.texts[:10]


def test_missing_texts_say_how_to_install(monkeypatch):
    monkeypatch.setattr(corpora, "GENSIM",
                        dataclasses.replace(corpora.GENSIM, module="no_such_module"))
    with pytest.raises(ModuleNotFoundError, match=r"pip install --no-deps gensim==4\.4\.0"):
        corpora.Lee.load()


# -- measures --------------------------------------------------------------------------------------

def test_ranks():
    random = np.random.default_rng(0)
    x, y = random.integers(0, 9, 60), random.normal(size=60)
    wanted = spearmanr(x, y).statistic
    assert sentences.pearson(sentences.ranks(x), sentences.ranks(y)) == pytest.approx(wanted)


def test_accuracy_is_of_what_was_not_learnt():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2 == 0
    noise = random.normal(size=(60, 100))
    assert sentences.accuracy(noise, labels) < 0.65
    assert sentences.accuracy(noise + 3 * labels[:, np.newaxis], labels) > 0.95


def test_missing_scikit_learn_says_how_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(ModuleNotFoundError, match=r"scikit-learn.*pip install heddle\[demo\]"):
        sentences.accuracy(np.zeros((10, 2)), np.arange(10) < 5)


# -- evaluations -----------------------------------------------------------------------------------

def test_news_texts():
    result = evaluate_lee(**ON_GOLDEN, first=6)
    assert result.samples == 6
    assert all(figure.held for figure in result.figures if "cosine" in figure.name)
    assert abs(result["Pearson correlation"].heddle
               - result["Pearson correlation"].float64) < 0.03
    assert result["cosine to float64, worst"].heddle < 1
    assert "gensim" not in sys.modules


def test_similarities_are_as_near_to_people_as_published():
    lee, model = corpora.Lee.load(), MiniLM(np.float32)
    embeddings = model.embed(lee.texts)
    pairs = np.triu_indices(50, 1)
    found = sentences.pearson((embeddings @ embeddings.T)[pairs], lee.ratings[pairs])
    assert found == pytest.approx(0.656, abs=0.001)


def test_film_reviews():
    result = evaluate_polarity(**ON_GOLDEN, first=16)
    assert result.samples == 16
    assert all(figure.held for figure in result.figures if "cosine" in figure.name)
    assert 0 < result["accuracy"].heddle <= 1


def test_antibodies(monkeypatch):
    chains = {name: chain[:16] for name, chain in antibodies.antibodies().items()}
    monkeypatch.setattr(antibodies, "antibodies", lambda: chains)
    result = evaluate_sapiens(**ON_GOLDEN, first=2)
    assert result.samples == 32
    assert result["residues named right"].held
    assert result["residues named alike"].heddle >= 31


def test_characters():
    result = evaluate_characters(**ON_GOLDEN, first=2)
    assert result.samples == 512
    nats = result["nats a character"]
    assert nats.held
    assert nats.heddle != nats.float64


@pytest.mark.parametrize(("evaluate", "first", "message"), [
    (evaluate_lee, 2, "at least 3 texts, not 2"),
    (evaluate_polarity, 9, "5 folds need as many snippets of each kind, not 4")])
def test_too_few_samples_are_refused(evaluate, first, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**ON_GOLDEN, first=first)


# -- ablations -------------------------------------------------------------------------------------

@pytest.mark.parametrize("group", [8, 64])
def test_rounded_probabilities(group):
    scores = np.random.default_rng(0).normal(size=(4, 50))
    scores[:, 40:] = -np.inf
    wanted = softmax(scores)
    errors = [np.abs(approximate(scores, bits, group) - wanted).sum(1).max() for bits in (4, 7, 12)]
    assert errors[0] > 2 * errors[1] > 2 * errors[2]
    assert errors[1] < 0.02
    assert (approximate(scores, 7, group)[:, 40:] == 0).all()


def test_emulation_without_rounding_is_the_graph():
    random = np.random.default_rng(0)
    graph, x = Graph("g"), random.normal(size=(5, 8))
    graph.input("x", tokens=5, features=8)
    for name in "qkv":
        graph.linear(name, "x", random.normal(size=(8, 8)) / 3)
    graph.output(graph.attention("o", "q", "k", "v", heads=2))
    exact = Emulation({}, bits=None)(graph, x)
    np.testing.assert_allclose(exact, graph.evaluate({"x": x})["o"], atol=1e-5)
    rounded = Emulation({"o": np.full(8, 0.5)}, bits=None)(graph, x)
    np.testing.assert_array_equal(rounded, np.rint(exact * 2) / 2)
    fine, coarse = (np.abs(Emulation({"x": np.full(8, step)}, bits=bits)(graph, x) - exact).max()
                    for step, bits in ((0.03, 7), (0.3, 4)))
    assert 0 < 3 * fine < coarse


def test_tokens_with_factors_of_their_own():
    graph = Graph("g")
    graph.input("x", tokens=3, features=2)
    graph.output(graph.linear("y", "x", np.eye(2)))
    x = np.array([[0.0, 0.0], [1.27, 0.013], [1270.0, -13.0]])
    fixed, dynamic = (Emulation({"y": np.ones(2)}, dynamic=names)(graph, x)
                      for names in ((), ("y",)))
    np.testing.assert_array_equal(fixed, [[0, 0], [1, 0], [127, -13]])
    np.testing.assert_allclose(dynamic, [[0, 0], [1.27, 0.01], [1270, -10]])


def test_emulation_is_near_the_device(few):
    rows = {change: (float(mean), float(worst)) for change, mean, worst in ablations(ZCU102, 2)}
    device, emulated = rows.pop("none, golden device"), rows.pop("none, emulated")
    assert emulated == pytest.approx(device, abs=0.002)
    assert rows["one scale for all features of every tensor"][0] < emulated[0] - 0.05
    assert rows["one level for all keys of a query, 5 bits"][0] < emulated[0]
    assert rows["residual sums in INT8 before LayerNorm"][0] < emulated[0]
    alike = "one scale for all features of every tensor"
    assert rows["a factor for each token, one scale for all features"][0] > rows[alike][0] + 0.05
    assert rows["a factor for each token in every tensor"][0] > emulated[0]
    assert len(rows) == 17
