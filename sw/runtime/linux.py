"""What programs ask of the Linux kernel, with refusals that say what to do."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import select
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..outcome import DeviceError

__all__ = ["Linux"]

Element = TypeVar("Element", np.uint8, np.uint32)


class Linux:
    """Files, mapped memory and interrupts.

    Paths are relative to a root: ``/``, or where a test has files of its own.

    Raises
    ------
    DeviceError
        From every method: if a file is not there or not for this user. Where it gets ``need``,
        that is what the message says is needed for it to be there.
    """

    def __init__(self, root: str | Path = "/") -> None:
        self.root = Path(root)

    def path(self, name: str) -> Path:
        """Return the path of a file."""
        return self.root / name

    def children(self, name: str) -> list[str]:
        """Return the names of what is in a folder, in order; none if it is not there."""
        folder = self.path(name)
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def read(self, name: str, need: str) -> str:
        """Return what an attribute says."""
        with self._refusals(name, need):
            return self.path(name).read_text().strip()

    def write(self, name: str, content: str | bytes, need: str) -> None:
        """Write an attribute, which must be there: the kernel makes them, nobody else."""
        data = content.encode() if isinstance(content, str) else content
        with (self._refusals(name, need),
              os.fdopen(os.open(self.path(name), os.O_WRONLY), "wb") as file):
            file.write(data)

    def save(self, name: str, data: bytes, need: str) -> None:
        """Write a file, in a folder that is made if need be."""
        with self._refusals(name, need):
            self.path(name).parent.mkdir(parents=True, exist_ok=True)
            self.path(name).write_bytes(data)

    def make(self, name: str, need: str) -> None:
        """Make a folder, to which the kernel adds attributes."""
        with self._refusals(name, need):
            self.path(name).mkdir()

    def remove(self, name: str, need: str) -> None:
        """Remove such a folder; nothing happens if it is not there."""
        with self._refusals(name, need):
            if self.path(name).exists():
                self.path(name).rmdir()

    def open(self, name: str, need: str, flags: int = 0) -> int:
        """Open a device to read and write, for this process alone, and return its descriptor."""
        with self._refusals(name, need):
            file = os.open(self.path(name), os.O_RDWR | os.O_CLOEXEC | flags)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                os.close(file)
                raise
            return file

    def map(self, file: int, size: int, dtype: type[Element], offset: int = 0) -> NDArray[Element]:
        """Return bytes of a device as an array, which stays mapped as long as it is used.

        Each element is read and written by one access.
        """
        return np.frombuffer(mmap.mmap(file, size, offset=offset), dtype)

    def interrupt(self, file: int, timeout: float) -> None:
        """Let the interrupt of a UIO device come, and return when it has, or after a timeout."""
        os.write(file, struct.pack("=I", 1))
        if select.select([file], [], [], timeout)[0]:
            os.read(file, 4)

    @contextmanager
    def _refusals(self, name: str, need: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise DeviceError(f"{self.path(name)} must be there, and it is not: {need}") from None
        except PermissionError:
            raise DeviceError(f"{self.path(name)} must be open to this user, and it is not: run as "
                              "root, or let a udev rule give it to your group") from None
        except BlockingIOError:
            raise DeviceError(f"{self.path(name)} must be free, and another process uses it: end "
                              "that one first") from None
        except OSError as error:
            raise DeviceError(f"{self.path(name)} must take part, and the kernel refuses with "
                              f"{errno.errorcode.get(error.errno or 0, error.errno)} "
                              f"({error.strerror}): {need}") from None
