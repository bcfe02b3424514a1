"""Reference models: networks from files and packages, computed in NumPy."""

from .checkpoint import CheckpointError
from .load import load_model
from .minilm import MiniLM, calibration_sentences
from .sapiens import Sapiens
from .transformer import LayerTrace, Transformer

__all__ = ["CheckpointError", "LayerTrace", "MiniLM", "Sapiens", "Transformer",
           "calibration_sentences", "load_model"]
