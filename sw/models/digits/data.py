"""The handwritten digits of scikit-learn, and how they are divided for training and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLASSES", "SIDE", "Digits", "Part"]

CLASSES = 10
SIDE = 8
"""Pixels of an image along each side."""

TEST, VALIDATION = 36, 18
"""Images of each class in these parts; the rest is for training."""


@dataclass(frozen=True)
class Part:
    """Images and what they show."""

    images: NDArray[np.float32]
    """Brightness from 0 to 1, ``[images, SIDE, SIDE]``."""
    labels: NDArray[np.int64]
    """The digits, ``[images]``."""

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, images: int | None) -> Part:
        """Return the first images, or all if there are no more or none are asked for."""
        return Part(self.images[:images], self.labels[:images])

    def __add__(self, other: Part) -> Part:
        return Part(np.concatenate([self.images, other.images]),
                    np.concatenate([self.labels, other.labels]))


class Digits:
    """The 1,797 images of scikit-learn's ``load_digits``, in three parts.

    The parts are drawn at random with a fixed seed, each class for itself, so the test part has 36
    images of every class, 360 in all, and the validation part 18, 180 in all. Choices are made by
    the validation part; nothing is ever chosen by the test part.

    Attributes
    ----------
    train, validation, test : :class:`Part`

    Raises
    ------
    ModuleNotFoundError
        If scikit-learn is not installed.
    """

    def __init__(self) -> None:
        try:
            from sklearn.datasets import load_digits
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("The digits are in the package 'scikit-learn'; install it "
                                      "with 'pip install heddle[demo]'") from error
        data = load_digits()
        images, labels = (data.images / 16).astype(np.float32), data.target.astype(np.int64)
        random = np.random.default_rng(0)
        parts: list[list[NDArray]] = [[], [], []]
        for digit in range(CLASSES):
            drawn = random.permutation(np.flatnonzero(labels == digit))
            for part, some in zip(parts, np.split(drawn, [TEST, TEST + VALIDATION])):
                part.append(some)
        # Classes take turns in no order, so that any first images of a part are a fair sample.
        self.test, self.validation, self.train = (
            Part(images[order], labels[order])
            for order in (random.permutation(np.concatenate(part)) for part in parts))
