"""Instructions between their three forms: object, 64 bytes, and a line of text."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rtl.isa import (
    FORMATS,
    INSTRUCTION_BYTES,
    NO_TOKEN,
    POSTS,
    WAITS,
    Opcode,
    Queue,
    header_layout,
    instruction_layout,
    token,
    token_name,
)

__all__ = ["Instruction", "Token", "assemble", "decode", "disassemble", "encode"]


class Token(NamedTuple):
    """A wait or a post: a token counter, and whether it is for every iteration."""

    number: int
    each: bool = False

    def __str__(self) -> str:
        return token_name(self.number) + "*" * self.each

    @classmethod
    def parse(cls, text: str) -> Token:
        """Return the token of a name such as ``LOAD>COMPUTE.0``, with ``*`` after it for each."""
        try:
            queues, index = text.removesuffix("*").split(".")
            poster, waiter = queues.split(">")
            return cls(token(Queue[poster], Queue[waiter], int(index)), text.endswith("*"))
        except (KeyError, ValueError):
            raise ValueError("Token must be written as POSTER>WAITER.INDEX, with '*' for each "
                             f"iteration, not {text!r}") from None


@dataclass
class Instruction:
    """One instruction. Fields that are not given are 0; index it with a field's name.

    Raises
    ------
    ValueError
        If the operation has no field of that name, a value does not fit its field, there are more
        tokens than places, or a token is not posted or waited for by the instruction's queue.
    """

    opcode: Opcode
    fields: dict[str, int] = field(default_factory=dict)
    waits: tuple[Token, ...] = ()
    posts: tuple[Token, ...] = ()
    layer: str = field(default="", compare=False)
    """Name of the layer to which it belongs, if that is known; it is not encoded."""

    def __post_init__(self) -> None:
        known = FORMATS[self.opcode]
        for name, value in self.fields.items():
            if name not in known:
                raise ValueError(f"{self.opcode.name} has no field named {name!r}")
            if not 0 <= value < 1 << known[name][0]:
                raise ValueError(f"{self.opcode.name} field {name} must be between 0 and "
                                 f"{(1 << known[name][0]) - 1}, not {value}")
        self.fields = {name: int(self.fields.get(name, 0)) for name in known}
        for role, tokens, places in (("wait for", self.waits, WAITS), ("post", self.posts, POSTS)):
            if len(tokens) > places:
                raise ValueError(f"{self.opcode.name} must {role} at most {places} tokens, "
                                 f"not {len(tokens)}")
            for number, _ in tokens:
                owner = number >> 1 & 3 if role == "wait for" else number >> 3
                if owner != self.queue:
                    raise ValueError(f"{self.opcode.name} cannot {role} {token_name(number)}: "
                                     f"it is an operation of the queue {self.queue.name}")

    @property
    def queue(self) -> Queue:
        """The queue that executes the instruction."""
        return self.opcode.queue

    @property
    def count(self) -> int:
        """Iterations of the outermost loop that can wait and post: of ATTEND just one."""
        if self.opcode == Opcode.ATTEND:
            return 1
        return self["blocks" if self.opcode == Opcode.MATMUL else "count"]

    def __getitem__(self, name: str) -> int:
        return self.fields[name]

    def __str__(self) -> str:
        words = [self.opcode.name]
        words += [f"{name}={value}" for name, value in self.fields.items() if value]
        words += [f"wait={token}" for token in self.waits]
        words += [f"post={token}" for token in self.posts]
        return " ".join(words)


# -- bytes -----------------------------------------------------------------------------------------

_OPCODES = {int(opcode): opcode for opcode in Opcode}


@functools.cache
def _places(opcode: Opcode) -> Mapping[str, tuple[int, int]]:
    """Bit offset and width of each field, of ``opcode``, and of ``waits[n]`` and ``posts[n]``."""
    layout = instruction_layout(opcode)
    places = {name: (layout[name].offset, layout[name].width)
              for name in (*FORMATS[opcode], "header", "unused")}
    for name in ("opcode", "reserved"):
        places[name] = (header_layout[name].offset, header_layout[name].width)
    for name in ("waits", "posts"):
        array = header_layout[name]
        for n, place in array.shape:
            places[f"{name}[{n}]"] = (array.offset + place.offset, place.width)
    return places


def encode(instruction: Instruction) -> bytes:
    """Return the bytes of an instruction."""
    places = _places(instruction.opcode)
    values = {"opcode": int(instruction.opcode), **instruction.fields}
    for name, tokens in (("waits", instruction.waits), ("posts", instruction.posts)):
        for n, (number, each) in enumerate(tokens):
            values[f"{name}[{n}]"] = number | each << 5
    bits = 0
    for name, value in values.items():
        bits |= value << places[name][0]
    return bits.to_bytes(INSTRUCTION_BYTES, "little")


def decode(data: bytes | NDArray[np.uint8]) -> Instruction:
    """Return the instruction that some bytes hold.

    Raises
    ------
    ValueError
        If there are not 64 bytes, the opcode is unknown, or bits are set that have no meaning.
    """
    data = bytes(data)
    if len(data) != INSTRUCTION_BYTES:
        raise ValueError(f"An instruction must have {INSTRUCTION_BYTES} bytes, not {len(data)}")
    bits = int.from_bytes(data, "little")
    number = bits & (1 << header_layout["opcode"].width) - 1
    if number not in _OPCODES:
        raise ValueError(f"Opcode must be one of {', '.join(f'{o} ({o.name})' for o in Opcode)}, "
                         f"not {number}")
    opcode = _OPCODES[number]
    values = {name: bits >> offset & (1 << width) - 1
              for name, (offset, width) in _places(opcode).items()}
    for name in ("reserved", "unused"):
        if values[name]:
            raise ValueError(f"{opcode.name} has bits set that mean nothing: {name} must be 0, "
                             f"not {values[name]:#x}")

    def tokens(name: str, places: int) -> tuple[Token, ...]:
        entries = [values[f"{name}[{n}]"] for n in range(places)]
        return tuple(Token(entry & 31, entry > 31) for entry in entries if entry & 31 != NO_TOKEN)

    return Instruction(opcode, {name: values[name] for name in FORMATS[opcode]},
                       tokens("waits", WAITS), tokens("posts", POSTS))


# -- text ------------------------------------------------------------------------------------------

def disassemble(program: Iterable[Instruction]) -> str:
    """Return a program as text, a line each, from which :func:`assemble` makes the same program."""
    return "".join(f"{instruction}\n" for instruction in program)


def assemble(text: str) -> list[Instruction]:
    """Return the program that a text describes; ``#`` starts a comment.

    Raises
    ------
    ValueError
        If a line is not an instruction; the message names the line.
    """
    program = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            program.append(_parse(words))
        except ValueError as error:
            raise ValueError(f"Line {number}: {error}") from None
    return program


def _parse(words: list[str]) -> Instruction:
    if words[0] not in Opcode.__members__:
        raise ValueError(f"Operation must be one of {', '.join(Opcode.__members__)}, "
                         f"not {words[0]!r}")
    fields: dict[str, int] = {}
    tokens: dict[str, list[Token]] = {"wait": [], "post": []}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"Field must be written as name=value, not {word!r}")
        if name in tokens:
            tokens[name].append(Token.parse(value))
        else:
            fields[name] = int(value, 0)
    return Instruction(Opcode[words[0]], fields, tuple(tokens["wait"]), tuple(tokens["post"]))
