"""The frames of the link, as :mod:`heddle.rtl.frames` describes them."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Callable
from dataclasses import dataclass

from ..rtl.frames import ANSWER, REQUEST, WORDS, Space, Status

__all__ = ["Answer", "FrameError", "Request"]

_HEADER = struct.Struct("<BBHI")
_ANSWER = struct.Struct("<BBH")


class FrameError(ValueError):
    """What came is no answer; the message says why."""


def _crc(body: bytes) -> bytes:
    return binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")


@dataclass(frozen=True)
class Request:
    """Access to some words, written from ``data`` or, if that is ``None``, read."""

    space: Space
    address: int
    words: int
    data: bytes | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.words <= WORDS:
            raise ValueError(f"A request must be for 1 to {WORDS} words, not {self.words}")
        if self.data is not None and len(self.data) != 4 * self.words:
            raise ValueError(f"A request to write {self.words} words must have {4 * self.words} "
                             f"bytes, not {len(self.data)}")

    def encode(self, tag: int) -> bytes:
        """Return the frame."""
        command = (self.data is not None) | self.space << 1
        body = _HEADER.pack(tag, command, self.words, self.address) + (self.data or b"")
        return bytes([REQUEST]) + body + _crc(body)


@dataclass(frozen=True)
class Answer:
    """What came of a request."""

    tag: int
    status: Status
    data: bytes

    @classmethod
    def receive(cls, read: Callable[[int], bytes]) -> Answer:
        """Take one frame from the line.

        Parameters
        ----------
        read : callable
            Returns so many bytes, or fewer if they do not come in time.

        Raises
        ------
        FrameError
            If what comes is not an answer, or none comes.
        """
        head = read(5)
        if len(head) < 5 or head[0] != ANSWER:
            raise FrameError(f"An answer must begin with {ANSWER:#04x} and have at least 7 bytes, "
                             f"not be {head.hex(' ') or 'nothing'}")
        tag, status, words = _ANSWER.unpack(head[1:])
        if words > WORDS:
            raise FrameError(f"An answer must have at most {WORDS} words, not {words}")
        rest = read(4 * words + 2)
        data, crc = rest[:4 * words], rest[4 * words:]
        if crc != _crc(head[1:] + data):
            raise FrameError("The CRC of an answer must be right, and it is not")
        return cls(tag, Status(status), data)
