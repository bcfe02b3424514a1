"""Torch checkpoints, the zip archive and the format before it, without torch.

Both hold a pickle that refers to raw *storages* by key. A pickle is a program that may call
anything, so this one may name a handful of harmless types and nothing else.
"""

from __future__ import annotations

import argparse
import math
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEGACY", "CheckpointError", "elements", "read_torch"]

LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""How files of the format before the archive begin: the pickle of a magic number."""

_STORAGES = {"DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2",
             "BFloat16Storage": "bfloat16", "LongStorage": "i8", "IntStorage": "i4",
             "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?"}

_PARTS = "model", "state_dict", "model_state_dict"  # where training scripts put the tensors


class CheckpointError(ValueError):
    """A file of weights that is damaged, or is something else."""


def elements(data: bytes | bytearray, kind: str) -> NDArray:
    """Return little-endian elements as an array of one axis; ``bfloat16`` becomes float32."""
    if kind == "bfloat16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(data, np.dtype(kind).newbyteorder("<"))


@dataclass(frozen=True)
class _Storage:
    kind: str
    key: str
    size: int

    @property
    def bytes(self) -> int:
        return self.size * (2 if self.kind == "bfloat16" else np.dtype(self.kind).itemsize)

    def check(self, found: int) -> None:
        """Refuse another number of bytes than those of the elements."""
        if found != self.bytes:
            raise CheckpointError(f"Storage {self.key} must have {self.bytes} bytes, not {found}")


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage, not yet read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, name: str, data: bytes) -> NDArray:
        """Return the elements, which lie in ``data``, the whole storage."""
        values = elements(data, self.storage.kind)
        inside = (len(self.shape) == len(self.strides) and self.offset >= 0
                  and all(each >= 0 for each in (*self.shape, *self.strides))
                  and math.prod(self.shape) <= len(values))
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides))
        if not inside or (0 not in self.shape and last >= len(values)):
            raise CheckpointError(f"Tensor {name} must lie within its storage of {len(values)} "
                                  f"elements, not at {self.offset} with shape {self.shape} and "
                                  f"strides {self.strides}")
        return np.array(np.lib.stride_tricks.as_strided(
            values[self.offset:], self.shape,
            tuple(step * values.itemsize for step in self.strides)))


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise CheckpointError(f"A tensor must refer to a storage, not to {storage!r}")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


class _Unpickler(pickle.Unpickler):
    """Reads tensors, ordered dictionaries, plain values, and bags of settings."""

    _ALLOWED: Mapping[tuple[str, str], Callable] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("argparse", "Namespace"): argparse.Namespace,
        ("torch", "Size"): tuple,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    }

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) not in self._ALLOWED:
            raise CheckpointError("A torch checkpoint must hold tensors and plain values alone, "
                                  f"and this one names {module}.{name}")
        return self._ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, size, *view = pid
        if kind != "storage" or storage not in _STORAGES.values() or any(view):
            raise CheckpointError("A torch checkpoint must refer to whole storages of numbers, "
                                  f"not to {pid!r}")
        return _Storage(storage, str(key), int(size))


def read_torch(path: Path) -> dict[str, NDArray]:
    """Return the tensors of a torch checkpoint by name.

    They are the entries of the file, or of its part ``model``, ``state_dict`` or
    ``model_state_dict``; whatever else lies beside them is left out.

    Raises
    ------
    CheckpointError
        If the file is damaged or cut off, holds no tensors, or names anything but tensors and
        plain values.
    """
    try:
        with path.open("rb") as file:
            return _read_archive(file) if zipfile.is_zipfile(file) else _read_legacy(file)
    except CheckpointError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(f"{path} must be a complete torch checkpoint, and it is damaged or "
                              f"cut off ({type(error).__name__}: {error})") from error


def _read_archive(file: IO[bytes]) -> dict[str, NDArray]:
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise CheckpointError("The archive of a torch checkpoint must hold one pickle "
                                  f"'data.pkl' in a folder, not {len(pickles)}")
        folder = pickles[0].split("/")[0]
        if f"{folder}/byteorder" in archive.namelist():
            order = archive.read(f"{folder}/byteorder").decode()
            if order != "little":
                raise CheckpointError(f"Its byte order must be little, not {order}")
        with archive.open(pickles[0]) as stream:
            state = _state(_Unpickler(stream).load())
        tensors = {}
        for name, tensor in state.items():
            entry = archive.getinfo(f"{folder}/data/{tensor.storage.key}")
            tensor.storage.check(entry.file_size)
            tensors[name] = tensor.array(name, archive.read(entry))
        return tensors


def _read_legacy(file: IO[bytes]) -> dict[str, NDArray]:
    """Read magic number, version, system, content, keys; then the storages in order of the keys."""
    storages: dict[str, _Storage] = {}

    class Unpickler(_Unpickler):
        def persistent_load(self, pid: Any) -> _Storage:
            storage = super().persistent_load(pid)
            return storages.setdefault(storage.key, storage)

    file.seek(0)
    if file.read(len(LEGACY)) != LEGACY:
        raise CheckpointError("It must be a zip archive, or begin with the magic number of torch")
    file.seek(0)
    _, version, system, content, keys = (Unpickler(file).load() for _ in range(5))
    if version != 1001 or not system["little_endian"]:
        raise CheckpointError(f"Its version must be 1001 and its byte order little, not {version} "
                              f"and {system}")
    state = _state(content)
    left = os.fstat(file.fileno()).st_size - file.tell()
    data = {}
    for key in keys:
        storage = storages[key]
        left -= 8
        storage.check(min(left, storage.bytes))
        left -= storage.bytes
        [size] = struct.unpack("<q", file.read(8))
        if size != storage.size:
            raise CheckpointError(f"Storage {key} must have {storage.size} elements, not {size}")
        data[key] = file.read(storage.bytes)
    return {name: tensor.array(name, data[tensor.storage.key]) for name, tensor in state.items()}


def _state(content: Any) -> dict[str, _Tensor]:
    """Return the tensors among the entries of a checkpoint, or of its part that holds them."""
    candidates = [content, *(content.get(part) for part in _PARTS)] if (
        isinstance(content, Mapping)) else []
    for candidate in candidates:
        if isinstance(candidate, Mapping):
            state = {str(name): tensor for name, tensor in candidate.items()
                     if isinstance(tensor, _Tensor)}
            if state:
                return state
    found = (f"has the entries {', '.join(map(str, content))}" if isinstance(content, Mapping)
             else f"is a {type(content).__name__}")
    raise CheckpointError("A torch checkpoint must hold tensors, itself or as "
                          f"{', '.join(_PARTS)}, and this one {found}")
