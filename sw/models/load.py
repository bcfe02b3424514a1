"""One entry for every file and package from which a model can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .build import build
from .checkpoint import CheckpointError, read_tensors
from .packages import PACKAGES
from .transformer import Transformer

__all__ = ["load_model"]

_NAMES = "model.safetensors", "model-*-of-*.safetensors", "pytorch_model.bin", "model.onnx"
"""Of the weights in a folder, in order of preference; parts are put together."""


def load_model(source: str | Path, dtype: DTypeLike = np.float64, **config: Any) -> Transformer:
    """Return a network with its weights, which also computes it in NumPy.

    Parameters
    ----------
    source : path or :class:`str`
        A safetensors, torch or ONNX file, with ``config.json`` beside it or without; a folder with
        such files; or the name of a package in :data:`~heddle.models.packages.PACKAGES`.
    dtype : dtype
        Precision of the reference computation.
    **config
        What stands in ``config.json``, or should: ``model_type``, ``num_attention_heads``,
        ``layer_norm_eps``, ``hidden_act``, ``pad_token_id``, ``image_size``.

    Raises
    ------
    FileNotFoundError
        If there are no weights.
    ModuleNotFoundError
        If a package is not installed, or the one that reads ONNX is not.
    ValueError
        If the file is damaged, or the network is not supported.
    """
    if isinstance(source, str) and source in PACKAGES:
        package = PACKAGES[source]
        return load_model(package.path(), dtype, **package.config | config)
    path = Path(source)
    files = _files(path)
    description = files[0].parent / "config.json"
    settings = _settings(description) if description.exists() else {}
    if files[0].suffix == ".onnx":
        from .onnx_encoder import read_onnx

        return read_onnx(files[0], settings | config, dtype)
    tensors = {name: tensor for file in files for name, tensor in read_tensors(file).items()}
    return build(tensors, settings | config, dtype)


def _files(path: Path) -> list[Path]:
    """Return the files with the weights that a path stands for."""
    if path.is_file():
        return [path]
    for name in _NAMES if path.is_dir() else ():
        if files := sorted(path.glob(name)):
            return files
    raise FileNotFoundError(
        f"{path} must be a file of weights, a folder with {' or '.join(_NAMES)}, or one of "
        f"{', '.join(PACKAGES)}")


def _settings(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file} must be JSON: {error}") from None
    if not isinstance(settings, dict):
        raise CheckpointError(f"{file} must hold an object, not {type(settings).__name__}")
    return settings
