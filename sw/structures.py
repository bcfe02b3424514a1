"""Structures of sparse weights: claims about where the zeros are, that can be checked.

A weight is ``[outputs, inputs]`` as in a graph. What a structure says holds, lets the encoder of
:mod:`heddle.formats` find lists of a known length; the encoder itself needs no claim.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .prune.ranking import Bools, grouped, ratio, size

__all__ = ["Balanced", "Blocks", "Dense", "Hierarchical", "NM", "Rectangle", "Structure",
           "Unstructured"]


class Structure(ABC):
    """A claim about the zeros of a weight."""

    def check(self, weight: ArrayLike) -> None:
        """Check that the claim holds.

        Parameters
        ----------
        weight : array, shape ``[outputs, inputs]``

        Raises
        ------
        ValueError
            If it does not hold, or cannot be made of a weight of that shape.
        """
        weight = np.asarray(weight)
        if weight.ndim != 2:
            raise ValueError(f"Weight must have 2 axes, not {weight.ndim}")
        self._check(weight != 0)

    @abstractmethod
    def _check(self, used: Bools) -> None: ...


@dataclass(frozen=True)
class Dense(Structure):
    """Nothing is known of any zeros."""

    def _check(self, used: Bools) -> None:
        pass


@dataclass(frozen=True)
class Unstructured(Structure):
    """So large a fraction of the weights is 0, anywhere (Han et al., NeurIPS 2015).

    A block then visits the union of what its rows need.
    """

    sparsity: float

    def __post_init__(self) -> None:
        ratio(self.sparsity)

    def _check(self, used: Bools) -> None:
        found = float(1 - used.mean())
        if found < self.sparsity - 0.5 / used.size:
            raise ValueError(f"Of the weights at least {self.sparsity:.2%} must be 0, not "
                             f"{found:.2%}")


@dataclass(frozen=True)
class Rectangle(Structure):
    """Inputs or outputs are gone altogether: column pruning, and the rows of the weight before
    (Wen et al., NeurIPS 2016; Li et al., ICLR 2017).
    """

    inputs: tuple[int, ...] | None = None
    """Those that are left; ``None``: all."""
    outputs: tuple[int, ...] | None = None

    def _check(self, used: Bools) -> None:
        for axis, what, left in ((1, "Input", self.inputs), (0, "Output", self.outputs)):
            if left is None:
                continue
            for name in left:
                if not 0 <= name < used.shape[axis]:
                    raise ValueError(f"{what}s that are left must be at least 0 and less than "
                                     f"{used.shape[axis]}, not {name}")
            gone = np.ones(used.shape[axis], bool)
            gone[list(left)] = False
            wrong = np.flatnonzero(gone & used.any(axis=1 - axis))
            if wrong.size:
                found = int(np.count_nonzero(np.take(used, wrong[0], axis)))
                raise ValueError(f"{what} {wrong[0]} must be gone, and {found} of its weights are "
                                 "not 0")


@dataclass(frozen=True)
class Blocks(Structure):
    """Blocks of ``outputs × inputs`` weights are 0 altogether, as in block-sparse GPU kernels
    (Gray, Radford and Kingma, 2017).
    """

    outputs: int
    inputs: int
    left: tuple[tuple[bool, ...], ...]
    """Which blocks are not, ``[blocks of outputs, blocks of inputs]``."""

    def __post_init__(self) -> None:
        size(self.outputs, "Outputs of a block")
        size(self.inputs, "Inputs of a block")

    def _check(self, used: Bools) -> None:
        cells = _cells(used, self.outputs, self.inputs).any(axis=(1, 3))
        left = np.asarray(self.left, bool)
        if left.shape != cells.shape:
            raise ValueError(f"Blocks that are left must be given as {list(cells.shape)}, not "
                             f"{list(left.shape)}")
        if (wrong := np.argwhere(cells & ~left)).size:
            raise ValueError(f"Block {tuple(wrong[0].tolist())} of {self.outputs} outputs × "
                             f"{self.inputs} inputs must be 0, and it is not")


@dataclass(frozen=True)
class NM(Structure):
    """At most N of M weights in a group are not 0: N:M sparsity (Mishra et al., 2021), or blocks of
    bounded density (Kang, TCSVT 2019; Liu et al., HPCA 2022).

    A group has the inputs ``(a·M + c)·stride + p`` for all ``c``. With a stride of the geometry's
    ``depth`` these are the candidates of an address, and each row takes its own; with a stride of
    1 they are consecutive, and a block must visit what any of its rows needs.
    """

    n: int
    m: int
    stride: int = 1

    def __post_init__(self) -> None:
        for number, name in (self.n, "N"), (self.m, "M"), (self.stride, "Stride"):
            size(number, name)
        if self.n > self.m:
            raise ValueError(f"N of N:M must be at most M = {self.m}, not {self.n}")

    def _check(self, used: Bools) -> None:
        found = np.count_nonzero(self.groups(used), axis=2)
        if (wrong := np.argwhere(found > self.n)).size:
            output, address, place = wrong[0].tolist()
            first = address * self.m * self.stride + place
            inputs = [first + c * self.stride for c in range(self.m)]
            raise ValueError(f"The group of inputs {', '.join(map(str, inputs))} must have at most "
                             f"{self.n} weights of output {output} that are not 0, not "
                             f"{found[output, address, place]}")

    def groups(self, used: Bools) -> Bools:
        """Return ``[outputs, inputs]`` as ``[outputs, addresses, M, stride]``, filled up."""
        missing = -used.shape[1] % (self.m * self.stride)
        return grouped(np.pad(used, ((0, 0), (0, missing))), self.m, self.stride)


@dataclass(frozen=True)
class Balanced(Structure):
    """Each block of ``rows`` outputs uses at most ``kept`` inputs of each bank, ``k mod banks``:
    column-balanced block pruning (Peng et al., ISQED 2021), see
    :func:`~heddle.prune.prune_balanced`.
    """

    rows: int
    banks: int
    kept: int

    def __post_init__(self) -> None:
        for number, name in ((self.rows, "Rows of a block"), (self.banks, "Banks"),
                             (self.kept, "Inputs that are kept")):
            size(number, name)

    def _check(self, used: Bools) -> None:
        inputs = np.logical_or.reduce(_cells(used, self.rows, self.banks), axis=1)
        _check_balance(inputs, self.kept, "inputs")


@dataclass(frozen=True)
class Hierarchical(Structure):
    """Coarse, then fine: each block of ``rows`` outputs uses at most ``kept`` groups of each bank,
    and of a group each row has at most N of M weights (Qi et al., ICCAD 2021; Wu et al.,
    "HighLight", MICRO 2023), see :func:`~heddle.prune.prune_hierarchical`.
    """

    rows: int
    kept: int
    fine: NM
    """Its stride is the number of banks."""

    def __post_init__(self) -> None:
        size(self.rows, "Rows of a block")
        size(self.kept, "Groups that are kept")

    def _check(self, used: Bools) -> None:
        groups = np.logical_or.reduce(self.fine.groups(used), axis=2)
        groups = np.pad(groups, ((0, -len(groups) % self.rows), (0, 0), (0, 0)))
        blocks = groups.reshape(-1, self.rows, *groups.shape[1:])
        _check_balance(np.logical_or.reduce(blocks, axis=1), self.kept, "groups")
        self.fine.check(used)


def _check_balance(used: Bools, kept: int, what: str) -> None:
    """Check how many addresses each block uses of a bank, ``[blocks, addresses, banks]``."""
    found = np.count_nonzero(used, axis=1)
    if (wrong := np.argwhere(found > kept)).size:
        block, bank = wrong[0].tolist()
        raise ValueError(f"Block {block} must use at most {kept} {what} of bank {bank}, not "
                         f"{found[block, bank]}")


def _cells(used: Bools, outputs: int, inputs: int) -> Bools:
    """Return a matrix cut into blocks, ``[blocks, outputs, blocks, inputs]``, filled up."""
    padded = np.pad(used, ((0, -used.shape[0] % outputs), (0, -used.shape[1] % inputs)))
    return padded.reshape(-1, outputs, padded.shape[1] // inputs, inputs)
