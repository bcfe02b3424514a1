"""The assembler against the layouts of the hardware, and the documentation against both."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle import isadoc
from heddle.assembler import Instruction, Token, assemble, decode, disassemble, encode
from heddle.rtl.isa import FORMATS, INSTRUCTION_BYTES, Opcode, Queue, instruction_layout, token


@st.composite
def instructions(draw):
    opcode = draw(st.sampled_from(list(Opcode)))
    fields = {name: draw(st.integers(0, (1 << width) - 1))
              for name, (width, _) in FORMATS[opcode].items()}
    others = [queue for queue in Queue if queue != opcode.queue]

    def tokens(waits):
        chosen = draw(st.lists(st.tuples(st.sampled_from(others), st.integers(0, 1),
                                         st.booleans()), max_size=3))
        return tuple(Token(token(other, opcode.queue, index) if waits
                           else token(opcode.queue, other, index), each)
                     for other, index, each in chosen)

    return Instruction(opcode, fields, tokens(True), tokens(False))


@given(instructions())
def test_bytes_and_text_round_trip(instruction):
    assert decode(encode(instruction)) == instruction
    assert assemble(disassemble([instruction])) == [instruction]


@given(instructions())
def test_encoding_is_the_layout_of_the_hardware(instruction):
    layout = instruction_layout(instruction.opcode)
    bits = layout.from_bits(int.from_bytes(encode(instruction), "little"))
    assert layout.size == 8 * INSTRUCTION_BYTES
    assert bits.header.opcode == instruction.opcode
    assert bits.header.reserved == bits.unused == 0
    for name, value in instruction.fields.items():
        assert bits[name] == value, name
    for name in ("waits", "posts"):
        entries = [(int(entry.token), bool(entry.each)) for entry in bits.header[name]]
        tokens = list(getattr(instruction, name))
        assert entries == tokens + [(0, False)] * (3 - len(tokens))


def test_text():
    text = "MATMUL blocks=96 tiles=4 drain=1 wait=LOAD>COMPUTE.0* post=COMPUTE>STORE.1"
    [instruction] = assemble(f"# all of it\n\n{text}  # comment\n")
    assert instruction["blocks"] == instruction.count == 96
    assert instruction.waits == ((token(Queue.LOAD, Queue.COMPUTE), True),)
    assert instruction.posts == ((token(Queue.COMPUTE, Queue.STORE, 1), False),)
    assert str(instruction) == text


@pytest.mark.parametrize(("text", "message"), [
    ("LOAD words=65536", "Line 1: LOAD field words must be between 0 and 65535, not 65536"),
    ("\nLOAD length=1", "Line 2: LOAD has no field named 'length'"),
    ("JUMP", "Operation must be one of LOAD, FILL, MATMUL, STORE, ATTEND, NORM, not 'JUMP'"),
    ("FILL steps", "Line 1: Field must be written as name=value, not 'steps'"),
    ("FILL wait=LOAD", "Token must be written as POSTER>WAITER.INDEX, with '*' for each "),
    ("FILL wait=LOAD>STORE.0",
     "FILL cannot wait for LOAD>STORE.0: it is an operation of the queue FILL"),
    ("FILL post=LOAD>FILL.0", "FILL cannot post LOAD>FILL.0"),
    ("FILL" + " wait=LOAD>FILL.0" * 4, "FILL must wait for at most 3 tokens, not 4"),
])
def test_bad_text_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        assemble(text)


def test_bad_bytes_are_refused():
    data = np.frombuffer(encode(Instruction(Opcode.FILL)), np.uint8)
    for place, value, message in (
            (0, 15, "5 (ATTEND), 6 (NORM), not 15"),
            (7, 1, "FILL has bits set that mean nothing: reserved must be 0"),
            (63, 1, "FILL has bits set that mean nothing: unused must be 0")):
        altered = data.copy()
        altered[place] = value
        with pytest.raises(ValueError, match=re.escape(message)):
            decode(altered)
    with pytest.raises(ValueError, match="An instruction must have 64 bytes, not 63"):
        decode(data[:63])


def test_documentation_is_up_to_date():
    page = Path(__file__).parents[2] / "docs" / "isa.md"
    assert page.read_text() == isadoc.document()


def test_documentation_covers_every_field():
    page = isadoc.document()
    for opcode in Opcode:
        section = page.partition(f"### {opcode.name}\n")[2].partition("\n#")[0]
        for name in FORMATS[opcode]:
            assert f"`{name}`" in section
