"""The way from a host to an accelerator on a board: its registers, and the memory that it sees."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..rtl.registers import OFFSETS, mask

__all__ = ["Transport"]

_DONE = mask("STATUS", "done")


class Transport(ABC):
    """Reads and writes the registers of one accelerator, and the memory that it works in.

    Attributes
    ----------
    base : :class:`int`
        Where that memory begins, as the accelerator addresses it; a multiple of 4096.
    size : :class:`int`
        Its bytes.
    """

    base: int
    size: int

    @abstractmethod
    def read(self, offset: int) -> int:
        """Return the 32-bit register at a byte offset."""

    @abstractmethod
    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at a byte offset."""

    @abstractmethod
    def upload(self, address: int, data: NDArray[np.uint8]) -> None:
        """Copy bytes to the memory, from ``address`` on, as the accelerator addresses it.

        The accelerator sees them when this returns.
        """

    @abstractmethod
    def download(self, address: int, size: int) -> NDArray[np.uint8]:
        """Return a copy of ``size`` bytes of the memory, with all that the accelerator wrote."""

    def wait(self, timeout: float) -> None:
        """Return when the run has ended, with or without error.

        This one asks the register ``STATUS`` again and again; a transport with an interrupt
        overrides it.

        Parameters
        ----------
        timeout : :class:`float`
            Seconds.

        Raises
        ------
        TimeoutError
            If the run has not ended by then.
        """
        end = time.monotonic() + timeout
        while not self.read(OFFSETS["STATUS"]) & _DONE:
            if time.monotonic() >= end:
                raise TimeoutError(f"The run must end within {timeout:g} s, and it has not")
            time.sleep(0.0005)

    @abstractmethod
    def close(self) -> None:
        """Give back what the transport holds. It cannot be used any more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()
