"""The bit-exact NumPy model of fused attention: streaming softmax and scaled accumulation.

One lane, one query. A *job* is one head and one tile of queries; its scores come in tiles of
``rows`` keys, in any order. Each group of 8 keys is turned to probabilities relative to its own
highest score, and a lane state carries what connects the tiles: a reference, to which all sums are
relative, and the sum of the probabilities. Shapes are ``[..., keys, lanes]`` and
``[..., features, lanes]``, where the leading axes are those of jobs or tiles; every function is
vectorised and gives the very bits of the hardware.
``docs/numerics.md`` explains the choices and states the error bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..rtl.divider import FACTOR_EXPONENT, SUM_FRACTION, TOTAL_BITS
from ..rtl.exponential import ENERGY_BITS, FRACTION, POWERS
from ..rtl.lanes import factor_layout
from ..rtl.reference import CLEAR, GRANULE, GUARD, HIDDEN_SHIFT, ZEROS_BITS
from ..rtl.requantiser import FACTOR_ROUND, FACTOR_SHIFT
from ..rtl.schedule import GROUP
from . import golden

__all__ = ["FRACTION", "GROUP", "LaneState", "Scale", "accumulate", "accumulate_job", "attend_job",
           "energies", "factor", "output", "round_shift", "score_scale", "tile_probabilities"]

_ENERGY_LIMIT = 1 << ENERGY_BITS - 1
_FULL = 1 << TOTAL_BITS - 1
_MULTIPLIER_BITS = factor_layout["multiplier"].width
_HIDDEN = 2 * _ENERGY_LIMIT  # the energy of a hidden key, too high for any level
_OCTAVES = 8  # above its level a key has a probability
_PROBABILITIES = np.append(  # of keys so many energy steps above their level
    (np.array(POWERS, np.int32) >> 3 + np.arange(_OCTAVES)[:, np.newaxis]) + 1 >> 1, 0)
_SHIFTS = (24, 20, 16, 12)

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


# -- scores ----------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Scale:
    """Energy steps of one score step: ``multiplier / 2^shift``."""

    multiplier: int
    """17 bits, unsigned."""
    shift: int
    """12, 16, 20 or 24."""


def score_scale(scale: float) -> Scale:
    """Return the multiplier and shift for scores that times ``scale`` are natural logarithms.

    The relative error is at most 2^-14 for scales above 2^-14; below, the energy of a score of 22
    bits is wrong by 1/16 of a step at most.

    Raises
    ------
    ValueError
        If the scale is negative, not finite, or too large.
    """
    steps = scale * math.log2(math.e) * (1 << FRACTION)
    largest = (1 << 17) - 1
    if not 0 <= steps < (largest + 0.5) / 2 ** _SHIFTS[-1]:
        raise ValueError("Score scale must be between 0 and "
                         f"{largest / 2 ** _SHIFTS[-1] / (math.log2(math.e) * (1 << FRACTION)):.4g}"
                         f", not {scale}")
    shift = next(shift for shift in _SHIFTS if round(steps * 2 ** shift) <= largest)
    return Scale(round(steps * 2 ** shift), shift)


def energies(scores: ArrayLike, scale: Scale) -> Ints:
    """Return the energies of scores: ``-log2`` of the weights in steps of 2^-6, within 17 bits.

    They are rounded down, so all are half a step too low on average. A softmax does not see what
    all have in common.
    """
    # 17 bits times 32, scaled by a power of two: exact in double precision.
    energy = np.floor(np.asarray(scores) * np.ldexp(-scale.multiplier, -scale.shift))
    return energy.clip(-_ENERGY_LIMIT, _ENERGY_LIMIT - 1, out=energy).astype(np.int32)


def tile_probabilities(energy: ArrayLike, visible: ArrayLike | None = None,
                       ) -> tuple[Ints, Ints, Bools]:
    """Return the probabilities of a tile's keys relative to the level of their group.

    The level is the least visible energy of the group, rounded down to an integer power of two. A
    key at the level has probability 127; hidden keys have 0.

    Parameters
    ----------
    energy : array of int, shape ``[..., rows, lanes]``
    visible : array of bool, optional
        Can be broadcast to this shape.

    Returns
    -------
    probabilities : array of int, shape ``[..., rows, lanes]``
    levels : array of int, shape ``[..., groups, lanes]``
        Without meaning where no key is visible.
    seen : array of bool, shape ``[..., groups, lanes]``
        Whether any key of the group is visible.
    """
    energy = np.asarray(energy)
    if visible is not None:
        energy = np.where(visible, energy, _HIDDEN)
    *others, rows, lanes = energy.shape
    groups = energy.reshape(*others, -1, min(rows, GROUP), lanes)
    least = groups.min(-2)
    levels = np.minimum(least, _ENERGY_LIMIT - 1) >> FRACTION
    above = groups - (levels << FRACTION)[..., np.newaxis, :]
    return (_PROBABILITIES.take(above, mode="clip").reshape(energy.shape), levels,
            least < _HIDDEN)


def round_shift(value: Ints, shift: Ints, up: Ints | int = 1, guard: int = GUARD) -> Ints:
    """Return ``value · 2^(guard - shift)``, to nearest with ties upwards, or down if not ``up``."""
    halves = (value << guard + 1) >> shift
    return (halves >> 1) + (halves & up)


# -- state of the lanes ----------------------------------------------------------------------------

def _lowered(total: Ints, code: Ints) -> Ints:
    return np.where(code == CLEAR, 0, total >> GRANULE * code)


@dataclass
class LaneState:
    """What the lanes know of the tiles of a job so far."""

    reference: Ints
    """Level to which the sums are relative, in steps of 8; higher scores have lower levels."""
    empty: Bools
    """No key was visible yet."""
    total: Ints
    """Sum of the probabilities, in units of ``2^-(GUARD + SUM_FRACTION)``; 28 bits."""
    raised: Bools
    """The last tile changed the reference."""
    full: Bools
    """The total before the last tile was so high that the reference must move."""
    tiles: int = 0
    """Tiles so far."""

    @classmethod
    def start(cls, *lanes: int) -> LaneState:
        """Return the state at the begin of jobs with lanes in this shape."""
        return cls(np.zeros(lanes, np.int64), np.ones(lanes, bool), np.zeros(lanes, np.int64),
                   np.zeros(lanes, bool), np.zeros(lanes, bool))

    def add(self, probabilities: Ints, levels: Ints, seen: Bools) -> tuple[Ints, Ints, Ints]:
        """Take in a tile, as :func:`tile_probabilities` returned it.

        Returns
        -------
        shift : array of int, shape ``[..., groups, lanes]``
            How far the sums of a group are shifted down when they are added, see
            :func:`round_shift`.
        code : array of int, shape ``[..., lanes]``
            How far the sums so far are shifted down before: by 8 bits each, or :data:`CLEAR`.
        up : array of int, shape ``[..., groups, lanes]``
            Whether the sums of the group are rounded to nearest, or down. Rounding ties upwards
            moves a sum that is shifted down by ``n`` bits by ``2^-(n+1)`` on average, so every
            ``2^n``-th tile is rounded down.
        """
        visible = seen.any(-2)
        need = np.where(seen, levels, _ENERGY_LIMIT).min(-2) // GRANULE
        over = self.full & ~self.raised
        target = np.where(self.empty, need, np.minimum(self.reference - over, need))
        raises = np.where(self.empty, CLEAR, np.minimum(self.reference - target, CLEAR))
        code = np.where(visible, raises, 0)
        above = levels - GRANULE * target[..., np.newaxis, :]
        shift = np.where(seen, np.minimum(above, HIDDEN_SHIFT), HIDDEN_SHIFT)
        period = 1 << np.clip(shift - GUARD, 0, (1 << ZEROS_BITS) - 1)
        up = (period == 1) | ((self.tiles + 1) % period != 0)

        *others, lanes = shift.shape
        sums = probabilities.reshape(*others, -1, lanes).sum(-2)
        self.full = self.total >= _FULL
        self.total = _lowered(self.total, code) + round_shift(
            sums, shift, guard=GUARD + SUM_FRACTION).sum(-2)
        self.raised = code > 0
        self.reference = np.where(visible, target, self.reference)
        self.empty = self.empty & ~visible
        self.tiles += 1
        return shift, code, up.astype(np.int64)


# -- sums of values --------------------------------------------------------------------------------

def accumulate(acc: Ints, probabilities: Ints, values: NDArray[np.int8], shift: Ints,
               code: Ints, up: Ints, depth: int) -> Ints:
    """Return the accumulators after a tile: ``depth`` keys a step, each step rounded for itself.

    Parameters
    ----------
    acc : array of int64, shape ``[..., features, lanes]``
    probabilities : array of int, shape ``[..., rows, lanes]``
    values : array of int8, shape ``[..., rows, features]``
    shift, code, up : array of int
        As :meth:`LaneState.add` returned them.
    """
    *others, rows, lanes = probabilities.shape
    p = probabilities.reshape(*others, rows // depth, depth, lanes)
    v = values.reshape(*others, rows // depth, depth, -1)
    products = golden.matmul(v, p)  # 18 bits, so 32 hold them with the guard bits and one more
    shifts, ups = (np.repeat(group.astype(np.int32), rows // depth // group.shape[-2], axis=-2)
                   [..., np.newaxis, :] for group in (shift, up))
    return (_lowered(acc, code[..., np.newaxis, :])
            + round_shift(products, shifts, ups).sum(-3, dtype=np.int64))


def factor(state: LaneState, gain: int, gain_shift: int) -> tuple[Ints, Ints]:
    """Return the multiplier and shift of each lane's final requantisation.

    With them :func:`output` gives ``acc / total · gain / 2^(gain_shift + 1)``, where ``acc`` and
    ``total`` have the same unit. A lane that saw no key has multiplier 0.

    With ``total · 2^z`` normalised to ``n`` of 24 bits, the multiplier is
    ``gain · 2^24 / n``, rounded down, and halved (``e`` = 1) if it has 18 bits; the shift is
    ``gain_shift + 19 - z - e``, saturated to 6 bits unsigned.

    Parameters
    ----------
    gain : :class:`int`
        At least 2^16 and less than 2^17.
    gain_shift : :class:`int`
        6 bits, unsigned, as :func:`~heddle.sim.golden.quantise_scale` returns both.
    """
    total = np.maximum(state.total, 1)
    z = TOTAL_BITS - np.frexp(total)[1].astype(np.int64)
    quotient = (gain << 24) // ((total << z) >> SUM_FRACTION)
    e = quotient >> _MULTIPLIER_BITS
    shift = np.clip(gain_shift + FACTOR_EXPONENT - z - e, 0, 63)
    return np.where(state.empty, 0, quotient >> e), np.where(state.empty, 0, shift)


def output(acc: Ints, multiplier: Ints, shift: Ints) -> NDArray[np.int8]:
    """Return the outputs: ``acc / 32 · multiplier / 2^(shift+1)``, as the lanes requantise.

    Parameters
    ----------
    acc : array of int64, shape ``[..., features, lanes]``
    multiplier, shift : array of int, shape ``[..., lanes]``
    """
    reduced = (acc + FACTOR_ROUND) >> FACTOR_SHIFT
    return golden.requantise(reduced.swapaxes(-1, -2), np.zeros_like(multiplier), multiplier,
                             shift).swapaxes(-1, -2)


# -- whole jobs ------------------------------------------------------------------------------------

Tiles = Iterable[tuple[int, Bools | None]]


def accumulate_job(q: ArrayLike, k: ArrayLike, v: ArrayLike, tiles: Tiles, *, rows: int,
                   depth: int, scale: Scale) -> tuple[Ints, LaneState]:
    """Return the accumulators and the state of the lanes after the tiles of a job.

    Parameters
    ----------
    q : array of int8, shape ``[dim, lanes]``
    k : array of int8, shape ``[dim, keys]``
    v : array of int8, shape ``[keys, features]``
        Keys and values are padded with zeros to whole tiles; the masks hide the padding.
    tiles : iterable of (int, mask)
        Key tiles in the order of their visit: index, and which keys each lane sees (array of bool,
        shape ``[rows, lanes]``, or None for all).
    """
    q = np.asarray(q, np.int8)
    padding = -np.shape(k)[1] % rows
    k = np.pad(np.asarray(k, np.int8), ((0, 0), (0, padding)))
    v = np.pad(np.asarray(v, np.int8), ((0, padding), (0, 0)))
    acc = np.zeros((v.shape[1], q.shape[1]), np.int64)
    state = LaneState.start(q.shape[1])
    for index, visible in tiles:
        part = slice(index * rows, (index + 1) * rows)
        energy = energies(golden.matmul(k[:, part], q), scale)
        p, levels, seen = tile_probabilities(energy, visible)
        acc = accumulate(acc, p, v[part], *state.add(p, levels, seen), depth)
    return acc, state


def attend_job(q: ArrayLike, k: ArrayLike, v: ArrayLike, tiles: Tiles, *, rows: int, depth: int,
               scale: Scale, gain: int, gain_shift: int) -> NDArray[np.int8]:
    """Return the outputs of a job, shape ``[features, lanes]``.

    Parameters are those of :func:`accumulate_job` and :func:`factor`.
    """
    acc, state = accumulate_job(q, k, v, tiles, rows=rows, depth=depth, scale=scale)
    return output(acc, *factor(state, gain, gain_shift))
