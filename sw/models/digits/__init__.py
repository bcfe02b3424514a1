"""Handwritten digits, and vision transformers that were trained to read them."""

from .data import Digits, Part
from .weights import LEVELS, load, weights_file

__all__ = ["LEVELS", "Digits", "Part", "load", "weights_file"]
