"""The way to a board over a serial port."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ..outcome import DeviceError
from ..rtl.frames import IDENTITY, WORDS, Space, Status
from .frames import Answer, FrameError, Request
from .transport import Transport

__all__ = ["Uart"]

_WINDOW = 4
"""Requests that may be under way; the queue of the link takes as many that read."""
_RETRIES = 5
_QUIET = 0.1
"""Seconds of silence after which the link has answered whatever it had taken for a request."""


class Uart(Transport):
    """A serial port to a :class:`~heddle.rtl.link.Link`.

    Requests that get no answer, or a broken one, are sent again.

    Parameters
    ----------
    port : :class:`str`
        The port, such as ``/dev/ttyUSB0``.
    baud : :class:`int`
        Bits a second.
    patience : :class:`float`
        Seconds in which an answer must come.

    Raises
    ------
    ModuleNotFoundError
        If pyserial is not installed.
    DeviceError
        If there is no such port, another program has it, or there is no link at its other end. All
        methods raise it if the link does not answer any more.
    """

    base = 0

    def __init__(self, port: str, baud: int = 2_000_000, *, patience: float = 1) -> None:
        try:
            import serial
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("A board at a serial port needs pyserial, which the extra "
                                      "boards installs: pip install 'heddle[boards]'") from error
        try:
            self._serial = serial.Serial(port, baud, timeout=patience, exclusive=True)
        except serial.SerialException as error:
            raise DeviceError(f"The serial port {port} must be there and free, and it is not: "
                              f"{error}") from error
        self._tag = 0
        try:
            found = self._word(Request(Space.LINK, 0, 1))
            if found != IDENTITY:
                raise DeviceError(f"The link at {port} must be of version {IDENTITY:#010x}, and "
                                  f"it is of {found:#010x}: load the bitstream of this version")
            self.size = self._word(Request(Space.LINK, 4, 1))
        except BaseException:
            self.close()
            raise

    def read(self, offset: int) -> int:
        return self._word(Request(Space.REGISTERS, offset, 1))

    def write(self, offset: int, value: int) -> None:
        self._exchange([Request(Space.REGISTERS, offset, 1, value.to_bytes(4, "little"))])

    def upload(self, address: int, data: NDArray[np.uint8]) -> None:
        content = np.ascontiguousarray(data, np.uint8).tobytes()
        self._exchange([Request(Space.MEMORY, address + begin, words,
                                content[begin:begin + 4 * words])
                        for begin, words in self._pieces(address, len(content))])

    def download(self, address: int, size: int) -> NDArray[np.uint8]:
        answers = self._exchange([Request(Space.MEMORY, address + begin, words)
                                  for begin, words in self._pieces(address, size)])
        return np.frombuffer(b"".join(answers), np.uint8).copy()

    def close(self) -> None:
        self._serial.close()

    def _word(self, request: Request) -> int:
        return int.from_bytes(self._exchange([request])[0], "little")

    def _pieces(self, address: int, size: int) -> Iterator[tuple[int, int]]:
        """Yield begin and words of the requests for a part of the memory."""
        if address % 4 or size % 4:
            raise ValueError(f"A part of the memory must begin and end at multiples of 4, and not "
                             f"be the {size} bytes from {address:#x} on")
        if not 0 <= address <= address + size <= self.size:
            raise ValueError(f"A part of the memory must lie within its {self.size:,} bytes, and "
                             f"not be the {size:,} bytes from {address:#x} on")
        for begin in range(0, size, 4 * WORDS):
            yield begin, min(size - begin, 4 * WORDS) // 4

    def _exchange(self, requests: Sequence[Request]) -> list[bytes]:
        """Send requests, several at a time, and return the words of their answers."""
        answers: dict[int, bytes] = {}
        frames = {}
        for n, request in enumerate(requests):
            self._tag = (self._tag + 1) % 256
            frames[n] = self._tag, request.encode(self._tag)
        failures = 0
        while len(answers) < len(requests):
            done = len(answers)
            try:
                self._attempt(frames, requests, answers)
            except FrameError as error:
                failures = 0 if len(answers) > done else failures + 1
                if failures > _RETRIES:
                    raise DeviceError(f"The link at {self._serial.port} must answer, and it has "
                                      f"not in {_RETRIES + 1} attempts. {error}") from error
                self._settle()
        return [answers[n] for n in range(len(requests))]

    def _attempt(self, frames: dict[int, tuple[int, bytes]], requests: Sequence[Request],
                 answers: dict[int, bytes]) -> None:
        """Send what has no answer yet, and gather the answers until one fails."""
        missing = iter([n for n in frames if n not in answers])
        under_way: dict[int, int] = {}
        while True:
            for n in islice(missing, _WINDOW - len(under_way)):
                tag, frame = frames[n]
                under_way[tag] = n
                self._serial.write(frame)
            if not under_way:
                return
            answer = Answer.receive(self._serial.read)
            if answer.status == Status.BROKEN or answer.tag not in under_way:
                raise FrameError(f"The answer must be to a request, and it has status "
                                 f"{answer.status.name} and tag {answer.tag}")
            n = under_way.pop(answer.tag)
            request = requests[n]
            if answer.status == Status.REFUSED:
                raise DeviceError(f"The link must accept {request.words} words of "
                                  f"{request.space.name} at {request.address:#x}, and it refuses")
            if len(answer.data) != (0 if request.data is not None else 4 * request.words):
                raise FrameError(f"The answer must have the words of its request, not "
                                 f"{len(answer.data)} bytes")
            answers[n] = answer.data

    def _settle(self) -> None:
        """Let the link come to rest, and forget what it said."""
        time.sleep(_QUIET)
        self._serial.reset_input_buffer()
