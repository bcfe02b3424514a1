"""Reference models: networks from files and packages, computed in NumPy."""

from .checkpoint import CheckpointError
from .load import load_model
from .minilm import MiniLM, calibration
from .sapiens import Sapiens
from .transformer import LayerTrace, Transformer

__all__ = ["CheckpointError", "LayerTrace", "MiniLM", "Sapiens", "Transformer", "calibration",
           "load_model"]
