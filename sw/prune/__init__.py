"""Pruners: weights in, masks and smaller weights out. NumPy alone, no framework."""

from .activations import compensate, saliency
from .balanced import prune_balanced
from .columns import Columns, Kept, prune_columns
from .footprint import Footprint, footprint
from .hierarchical import prune_hierarchical
from .model import (
    AttentionWeights,
    PrunedAttention,
    PrunedLayer,
    PrunedTransformer,
    TransformerLayer,
)
from .nm import inherit_nm, prune_nm
from .ranking import first_order, magnitude
from .transformer import prune_transformer

__all__ = ["AttentionWeights", "Columns", "Footprint", "Kept", "PrunedAttention", "PrunedLayer",
           "PrunedTransformer", "TransformerLayer", "compensate", "first_order", "footprint",
           "inherit_nm", "magnitude", "prune_balanced", "prune_columns", "prune_hierarchical",
           "prune_nm", "prune_transformer", "saliency"]
