"""Reference models: pretrained networks, computed in NumPy."""

from .bert import Encoder, LayerTrace
from .minilm import MiniLM

__all__ = ["Encoder", "LayerTrace", "MiniLM"]
