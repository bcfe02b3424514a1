"""Column pruning of transformers, with all that follows from it for neighbouring weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..layers import checked
from ..rtl.geometry import Geometry
from .columns import Columns, Kept, prune_columns
from .model import (
    AttentionWeights,
    PrunedAttention,
    PrunedLayer,
    PrunedTransformer,
    TransformerLayer,
)
from .ranking import Bools, magnitude, size

__all__ = ["prune_transformer"]


def prune_transformer(layers: Sequence[TransformerLayer], sparsity: float, *,
                      geometry: Geometry | None = None,
                      scores: Sequence[Mapping[str, ArrayLike]] | None = None,
                      coarse: float = 0.5, coarse_step: float = 0.1, fine_step: float = 0.05,
                      accept: Callable[[PrunedTransformer], bool] | None = None,
                      ) -> PrunedTransformer:
    """Prune the columns of all weights of a transformer in two stages, and what they leave unused.

    The method is the memory-footprint-aware column pruning of Zhang et al. (ACM TECS 20(5s), 2021);
    :func:`~.columns.prune_columns` is its two stages. Encoder and decoder layers, and a decoder's
    two attentions, are groups of their own. Alignment follows from what a column meets:

    * Columns of V are rows of O, and columns of ``w1`` are rows of ``w2``. They go together.
    * Column ``j`` of Q meets none but column ``j`` of K. The two are kept or pruned as one, by the
      geometric mean of their scores, so the intersection loses nothing and no zero is restored.
    * Columns of O and of ``w2`` are features of the residual stream. The other features pass by.

    Inputs from the residual stream are never pruned. A bias goes with its column.

    Parameters
    ----------
    layers : sequence of :class:`TransformerLayer`
    sparsity, coarse, coarse_step, fine_step
        As :func:`~.columns.prune_columns` has them.
    geometry : :class:`~heddle.rtl.geometry.Geometry`
        Columns are counted in its blocks of ``rows``, and so heads and layers fill blocks. Without
        one, columns are ranked one by one, as in the paper.
    scores : sequence of mapping from :class:`str` to array
        For each layer the score of every column of every weight, by the names of
        :attr:`TransformerLayer.weights`: gammas, or :func:`~.ranking.first_order`. By default the
        :func:`~.ranking.magnitude`.
    accept : function of :class:`PrunedTransformer`
        Whether a step may stay, as :func:`~.columns.prune_columns` has it.

    Raises
    ------
    TypeError
        If something is not of its type.
    ValueError
        If weights are not finite or do not fit each other, scores do not fit the weights, or as
        :func:`~.columns.prune_columns` does.
    """
    checked_layers = [_checked(layer, f"layer {n}") for n, layer in enumerate(layers)]
    if scores is None:
        scores = [{name: magnitude(weight) for name, weight in layer.weights.items()}
                  for layer in checked_layers]
    if len(scores) != len(checked_layers):
        raise ValueError(f"Scores must be those of {len(checked_layers)} layers, not of "
                         f"{len(scores)}")
    columns = [each for n, layer in enumerate(checked_layers)
               for each in _columns(layer, scores[n], f"layer {n}")]

    def pruned(kept: Kept) -> PrunedTransformer:
        masks = iter(kept.masks)
        return PrunedTransformer(tuple(_pruned(layer, masks) for layer in checked_layers),
                                 kept.coarse, kept.sparsity)

    return pruned(prune_columns(
        columns, sparsity, coarse=coarse, coarse_step=coarse_step, fine_step=fine_step,
        grain=1 if geometry is None else geometry.rows,
        accept=None if accept is None else lambda kept: accept(pruned(kept))))


def _checked(layer: TransformerLayer, where: str) -> TransformerLayer:
    """Return a layer in float32 after checking that its weights fit each other."""
    def attention(weights: AttentionWeights, part: str) -> AttentionWeights:
        heads = size(weights.heads, f"Heads of {where}, {part}")
        q = checked(weights.q, f"{part}.q of {where}", None, None)
        k = checked(weights.k, f"{part}.k of {where}", q.shape[0], None)
        v = checked(weights.v, f"{part}.v of {where}", None, None)
        o = checked(weights.o, f"{part}.o of {where}", None, v.shape[0])
        for name, weight in (("q", q), ("v", v)):
            if weight.shape[0] % heads:
                raise ValueError(f"{part}.{name} of {where} must have a multiple of {heads} heads "
                                 f"of outputs, not {weight.shape[0]}")
        return AttentionWeights(q, k, v, o, heads)

    parts = {part: attention(weights, part) for part, weights in layer.parts.items()}
    w1 = checked(layer.w1, f"ffn.1 of {where}", None, None)
    w2 = checked(layer.w2, f"ffn.2 of {where}", None, w1.shape[0])
    return TransformerLayer(parts["self"], w1, w2, parts.get("cross"))


def _columns(layer: TransformerLayer, scores: Mapping[str, ArrayLike],
             where: str) -> list[Columns]:
    """Return the columns of a layer in the order in which :func:`_pruned` takes their masks."""
    if set(scores) != set(layer.weights):
        raise ValueError(f"Scores of {where} must be those of {', '.join(layer.weights)}, not of "
                         f"{', '.join(scores) or 'none'}")
    kind = "encoder" if layer.cross is None else "decoder"

    def of(name: str, heads: int = 1) -> Columns:
        found = Columns.of(f"{name} of {where}", f"{kind} {name}", scores[name], heads)
        if found.scores.size != len(layer.weights[name]):
            raise ValueError(f"Scores of {found.name} must be {len(layer.weights[name])}, not "
                             f"{found.scores.size}")
        return found

    columns = []
    for part, weights in layer.parts.items():
        q, k = of(f"{part}.q", weights.heads), of(f"{part}.k", weights.heads)
        columns += [Columns(q.name, q.group, np.sqrt(q.scores) * np.sqrt(k.scores), weights.heads),
                    of(f"{part}.v", weights.heads), of(f"{part}.o")]
    return [*columns, of("ffn.1"), of("ffn.2")]


def _pruned(layer: TransformerLayer, kept: Iterator[Bools]) -> PrunedLayer:
    """Return what is left of a layer, taking the masks of its columns from an iterator."""
    masks: dict[str, Bools] = {}

    def cut(name: str, outputs: Bools, inputs: Bools | None = None) -> NDArray[np.floating]:
        weight = layer.weights[name]
        inputs = np.ones(weight.shape[1], bool) if inputs is None else inputs
        masks[name] = np.outer(outputs, inputs)
        return weight[np.ix_(outputs, inputs)]

    parts = {}
    for part, weights in layer.parts.items():
        qk, v, o = next(kept), next(kept), next(kept)
        parts[part] = PrunedAttention(
            q=cut(f"{part}.q", qk), k=cut(f"{part}.k", qk), v=cut(f"{part}.v", v),
            o=cut(f"{part}.o", o, v), heads=weights.heads, qk=np.flatnonzero(qk),
            values=np.flatnonzero(v), outputs=np.flatnonzero(o),
            qk_widths=_widths(qk, weights.heads), v_widths=_widths(v, weights.heads))
    hidden, outputs = next(kept), next(kept)
    return PrunedLayer(
        attention=parts["self"], cross=parts.get("cross"), w1=cut("ffn.1", hidden),
        w2=cut("ffn.2", outputs, hidden), hidden=np.flatnonzero(hidden),
        outputs=np.flatnonzero(outputs), masks=masks)


def _widths(mask: Bools, heads: int) -> tuple[int, ...]:
    return tuple(mask.reshape(heads, -1).sum(1).tolist())
