"""Pruners: weights in, masks and smaller weights out. NumPy alone, no framework."""

from .columns import Columns, Kept, prune_columns
from .footprint import Footprint, footprint
from .ranking import first_order, magnitude
from .transformer import (
    AttentionWeights,
    PrunedAttention,
    PrunedLayer,
    PrunedTransformer,
    TransformerLayer,
    prune_transformer,
)

__all__ = ["AttentionWeights", "Columns", "Footprint", "Kept", "PrunedAttention", "PrunedLayer",
           "PrunedTransformer", "TransformerLayer", "first_order", "footprint", "magnitude",
           "prune_columns", "prune_transformer"]
