"""Tensors of checkpoint files by name, read without the framework that wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
from numpy.typing import NDArray

from .torch_file import LEGACY, CheckpointError, elements, read_torch

__all__ = ["CheckpointError", "Tensors", "read_tensors"]

Tensors = Mapping[str, NDArray]
"""Arrays by the names of the file."""

_TYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bfloat16", "I64": "i8", "I32": "i4",
          "I16": "i2", "I8": "i1", "U8": "u1", "BOOL": "?"}


def read_tensors(path: str | Path) -> dict[str, NDArray]:
    """Return the tensors of a safetensors file or a torch checkpoint; bfloat16 becomes float32.

    The content decides what a file is, not its name.

    Raises
    ------
    CheckpointError
        If the file is neither, is damaged or cut off, or holds more than tensors and plain values.
    OSError
        If the file cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(len(LEGACY))
    if start.startswith(b"PK\x03\x04") or start == LEGACY:
        return read_torch(path)
    if start[8:9] != b"{":
        raise CheckpointError(f"{path} must be a safetensors file or a torch checkpoint, and a "
                              f"file that begins with {start[:9]!r} is neither")
    try:
        found = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} must be a complete safetensors file, and the library says: "
                              f"{error}") from None
    tensors = {}
    for name, tensor in found:
        if tensor["dtype"] not in _TYPES:
            raise CheckpointError(f"Tensor {name} of {path} must be of a type among "
                                  f"{', '.join(_TYPES)}, not {tensor['dtype']}")
        values = elements(tensor["data"], _TYPES[tensor["dtype"]])
        tensors[name] = values.reshape(tensor["shape"])
    return tensors
