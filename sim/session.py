"""A simulated system that one talks to: registers, memory and time, as a host has them."""

from __future__ import annotations

import subprocess
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Session"]


class Session:
    """A simulation program that runs until it is closed; :meth:`Simulator.serve` starts one.

    Time passes only while registers are accessed and in :meth:`run`.

    Parameters
    ----------
    program : path
        The simulation program.
    size : :class:`int`
        Bytes of the memory.
    options : str
        Further arguments of the program.
    """

    def __init__(self, program: Path, size: int, *options: str) -> None:
        self.size = size
        process = subprocess.Popen(
            [program, "--serve", f"{size}", *options], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._pipes: Any = process.stdin, process.stdout, process.stderr
        self.close = weakref.finalize(self, _end, process)
        """Ends the program."""

    def read(self, offset: int) -> int:
        """Return the register at a byte offset."""
        return int(self._line(f"read {offset}"))

    def write(self, offset: int, value: int) -> None:
        """Write the register at a byte offset."""
        self._line(f"write {offset} {value}")

    def run(self, cycles: int) -> bool:
        """Let time pass, until the interrupt is high at most; return whether it is."""
        return self._line(f"run {cycles}") == b"1\n"

    def put(self, offset: int, data: NDArray[np.uint8]) -> None:
        """Change bytes of the memory."""
        self._line(f"put {offset} {data.size}", np.ascontiguousarray(data, np.uint8).tobytes())

    def get(self, offset: int, size: int) -> NDArray[np.uint8]:
        """Return bytes of the memory."""
        return np.frombuffer(self._ask(f"get {offset} {size}", b"", size), np.uint8)

    def _line(self, command: str, data: bytes = b"") -> bytes:
        return self._ask(command, data, None)

    def _ask(self, command: str, data: bytes, size: int | None) -> bytes:
        """Return what the program answers: a line, or so many bytes.

        Raises
        ------
        RuntimeError
            If it ends instead.
        """
        to, answers, errors = self._pipes
        try:
            to.write(command.encode() + b"\n" + data)
            to.flush()
            answer = answers.readline() if size is None else answers.read(size)
        except BrokenPipeError:
            answer = b""
        if not answer and size != 0:
            raise RuntimeError(f"The simulation must answer {command!r}, and it has ended: "
                               f"{errors.read().decode().strip()}")
        return answer


def _end(process: subprocess.Popen) -> None:
    process.communicate()
