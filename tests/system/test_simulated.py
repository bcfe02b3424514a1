"""Small programs on the whole machine: their end, counters and errors, as software sees them."""

import numpy as np
import pytest

from heddle.assembler import assemble, encode
from heddle.rtl.axi import Response
from heddle.rtl.geometry import PRESETS
from heddle.sim.simulator import Simulator

TINY = PRESETS["tiny"]
WORD = TINY.word_bytes
SOURCE, TARGET, WORDS = 1024, 2048, 24
BASE = 0x4000_0000

COPY = f"""
LOAD  dram={SOURCE} pool=5 count=1 rows=1 words={WORDS} post=LOAD>STORE.0
STORE dram={TARGET} pool=5 count=1 rows=1 words={WORDS} wait=LOAD>STORE.0
"""


@pytest.fixture(scope="module")
def simulator():
    return Simulator(TINY)


@pytest.fixture
def run(simulator):
    def run(text, **settings):
        program = assemble(text)
        image = np.zeros(4096, np.uint8)
        image[SOURCE:TARGET] = np.random.default_rng(1).integers(0, 256, TARGET - SOURCE, np.uint8)
        code = b"".join(map(encode, program))
        image[:len(code)] = np.frombuffer(code, np.uint8)
        expected = image.copy()
        expected[TARGET:TARGET + WORDS * WORD] = image[SOURCE:SOURCE + WORDS * WORD]
        outcome = simulator.run(image, program=0, length=len(program),
                                **{"limit": 20_000, "base": BASE, **settings})
        return outcome, image, expected
    return run


@pytest.mark.parametrize("latency", [0, 5, 60, 300])
@pytest.mark.parametrize("between", [0, 1, 2, 3])
def test_copy(run, latency, between):
    """A run does not end before its last instruction, even if that comes late, to idle engines."""
    fills = "FILL pool=5 count=1 steps=1\n" * between
    outcome, _, expected = run(COPY.replace("STORE dram", f"{fills}STORE dram"), latency=latency)
    assert outcome.finished
    np.testing.assert_array_equal(outcome.image, expected)
    registers = outcome.registers
    assert registers["ERROR"] == 0
    assert registers["READ_BYTES"] == (2 + between) * 64 + WORDS * WORD
    assert registers["WRITE_BYTES"] == WORDS * WORD
    assert [registers[f"RETIRED_{queue}"] for queue in ("LOAD", "FILL", "COMPUTE", "STORE")] == [
        1, between, 0, 1]
    assert abs(registers["CYCLES"] - outcome.cycles) < 10


@pytest.mark.parametrize(("place", "code"), [(SOURCE, 1), (TARGET, 2), (0, 1)])
def test_bus_error(run, place, code):
    """The run ends, and the registers say which burst failed."""
    address = BASE + place
    outcome, *_ = run(COPY, errors=range(address, address + 4))
    registers = outcome.registers
    assert outcome.finished
    assert registers["STATUS"] & 0b111 == 0b110
    assert registers["ERROR"] & 0b111111 == code | Response.SLVERR << 4
    assert registers["ERROR_ADDRESS_LO"] == address
    assert registers["ERROR_ADDRESS_HI"] == 0


def test_illegal_opcode(simulator):
    image = np.full(4096, 0xFF, np.uint8)
    outcome = simulator.run(image, program=64, length=1, limit=20_000)
    assert outcome.finished
    assert outcome.registers["STATUS"] & 0b111 == 0b110
    assert outcome.registers["ERROR"] & 15 == 3


def test_deadlock(run):
    """A program that waits for ever is given up; the registers tell how far it came."""
    outcome, image, _ = run(COPY.replace("post=LOAD>STORE.0", "post=LOAD>STORE.1"), limit=3000)
    assert not outcome.finished
    np.testing.assert_array_equal(outcome.image, image)
    assert outcome.registers["STATUS"] & 0b11 == 0b01
    assert outcome.registers["RETIRED_LOAD"] == 1
    assert outcome.registers["RETIRED_STORE"] == 0
