"""MiniLM's embeddings of sentences, held against what people said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..embedding import Embedder
from ..models.modules import Array
from ..rtl.geometry import Geometry
from .corpora import Lee, Polarity
from .evaluation import Evaluation, Figure, Trial, cosines

__all__ = ["FOLDS", "accuracy", "evaluate_lee", "evaluate_polarity", "pearson", "ranks"]

FOLDS = 5

_REPEATS = 10  # of the division into folds: one alone decides by luck about a text or two


def evaluate_lee(*, geometry: Geometry, device: str, first: int | None = None,
                 progress: Callable[[int], None] | None = None) -> Evaluation:
    """Compare the similarities of news texts with those that people gave.

    MiniLM has the scales that it always has, which are not found from these texts.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    device : ``"rtl"`` or ``"golden"``
    first : :class:`int`
        Only the first texts, at least 3; by default all 50.
    progress : callable
        Called with the number of texts so far.

    Raises
    ------
    DeviceError
        If a run fails, or a result of the RTL differs from the golden model's.
    ModuleNotFoundError
        If the weights or the texts are not installed.
    ValueError
        If there are too few texts, or the geometry cannot hold the network.
    """
    lee = Lee.load(first)
    if len(lee.texts) < 3:
        raise ValueError(f"A correlation needs at least 3 texts, not {len(lee.texts)}")
    trial = Trial(geometry, device, progress)
    wanted, got = _embeddings(trial, lee.texts)
    pairs = np.triu_indices(len(lee.texts), 1)
    ratings = lee.ratings[pairs]
    exact, similar = ((embeddings @ embeddings.T)[pairs] for embeddings in (wanted, got))
    return trial.evaluation(
        "lee", len(lee.texts),
        Figure("Pearson correlation", pearson(exact, ratings), pearson(similar, ratings), 0.01),
        Figure("Spearman correlation", pearson(ranks(exact), ranks(ratings)),
               pearson(ranks(similar), ranks(ratings)), 0.01),
        *cosines(got, wanted))


def evaluate_polarity(*, geometry: Geometry, device: str, first: int | None = None,
                      progress: Callable[[int], None] | None = None) -> Evaluation:
    """Tell film reviews in favour from others, by a logistic regression on their embeddings.

    It is learnt from four fifths of the snippets and judged by the rest, in five turns; ten
    divisions, drawn with a fixed seed, count alike. Parameters and refusals are those of
    :func:`evaluate_lee`; there must be as many snippets of each kind as there are folds.
    """
    polarity = Polarity.load(first)
    least = min(np.bincount(polarity.favour, minlength=2))
    if least < FOLDS:
        raise ValueError(f"{FOLDS} folds need as many snippets of each kind, not {least}")
    trial = Trial(geometry, device, progress)
    wanted, got = _embeddings(trial, polarity.texts)
    return trial.evaluation(
        "polarity", len(polarity.texts),
        Figure("accuracy", accuracy(wanted, polarity.favour), accuracy(got, polarity.favour),
               0.01, ".2%"),
        *cosines(got, wanted))


def _embeddings(trial: Trial, texts: Sequence[str]) -> tuple[Array, Array]:
    """Return the embeddings of texts, in float64 and from the device."""
    embedder = Embedder(trial.device)
    tokens = embedder.model.tokens(texts)
    outputs = np.concatenate(trial.run(embedder.deployment, tokens))
    return (embedder.model.embed(texts),
            embedder.model.pool(outputs, [len(sequence) for sequence in tokens]))


def pearson(x: Array, y: Array) -> float:
    """Return the correlation of values; of their ranks it is Spearman's."""
    return float(np.corrcoef(x, y)[0, 1])


def ranks(x: Array) -> NDArray[np.float64]:
    """Return the rank of each value, from 1; equal ones have the mean of theirs."""
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def accuracy(embeddings: Array, labels: NDArray[np.bool_]) -> float:
    """Return the share of rows that are named right when they were not learnt from."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Logistic regression needs the package 'scikit-learn'; install "
                                  "it with 'pip install heddle[demo]'") from error
    folds = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=_REPEATS, random_state=0)
    return float(cross_val_score(LogisticRegression(max_iter=1000), embeddings, labels,
                                 cv=folds).mean())
