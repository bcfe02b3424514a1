"""The frames by which a host asks for accesses to registers and memory, and what it is answered.

All numbers have their least byte first, but for the CRC: that is CRC-16/IBM-3740 (polynomial
0x1021, from 0xFFFF) over all bytes of the frame but the first, its upper byte first.

=========  =====================================================================================
request
---------  -------------------------------------------------------------------------------------
byte       0x48
byte       tag, any number
byte       command: bit 0 write, bits 1 and 2 the :class:`Space`, the others 0
2 bytes    words, 1 to 256
4 bytes    byte address of the first word, a multiple of 4
words      if it is a write
2 bytes    CRC
=========  =====================================================================================

=========  =====================================================================================
answer
---------  -------------------------------------------------------------------------------------
byte       0x44
byte       tag of the request
byte       a :class:`Status`
2 bytes    words
words      if it is a read and the status is OK
2 bytes    CRC
=========  =====================================================================================

A request is carried out when its CRC is right, and not before. What is no request is answered with
``Status.BROKEN`` as soon as the line has been silent for a while, and has no other effect; so is a
request that stops half way. The same write with the same tag twice in a row is carried out once,
so that a host which got no answer may send it again.
"""

from __future__ import annotations

import enum

from amaranth.lib import data

__all__ = ["ANSWER", "IDENTITY", "REQUEST", "WORDS", "Space", "Status", "header_layout"]

REQUEST, ANSWER = 0x48, 0x44
"""First byte of a request, and of an answer."""

WORDS = 256
"""Words of the longest frame."""

IDENTITY = 0x314B4C48
"""Word 0 of :attr:`Space.LINK`; changes with the frames."""


class Space(enum.IntEnum):
    """What is addressed."""

    REGISTERS = 0
    """The registers of the accelerator."""
    MEMORY = 1
    """The memory that the accelerator sees, from its address 0 on."""
    LINK = 2
    """The link itself, to be read: the word :data:`IDENTITY`, then the bytes of the memory."""


class Status(enum.IntEnum):
    """How a request ended."""

    OK = 0
    BROKEN = 1
    """This was no request."""
    REFUSED = 2
    """There is no such command, address or number of words."""


header_layout = data.StructLayout({
    "tag": 8, "write": 1, "space": 2, "unused": 5, "words": 16, "address": 32})
"""A request between its first byte and its words."""
