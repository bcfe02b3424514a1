"""What the registers of an accelerator say about a run: its counters, its errors, where it stands.

One place for every device that has the registers, in simulation or on a board.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .footprint import Space, footprint
from .program import Program
from .rtl.isa import Queue

__all__ = ["Counters", "DeviceError", "check", "standing"]


class DeviceError(RuntimeError):
    """A run ended with an error or not at all; the message says where it stood."""


@dataclass(frozen=True)
class Counters:
    """What the hardware counts during a run; ``None`` is what a device cannot count."""

    cycles: int | None
    array_cycles: int
    read_bytes: int
    write_bytes: int
    wait_dma: int | None = None
    """Cycles in which the array waited for a transfer."""
    wait_operands: int | None = None
    """Cycles in which the array waited for the operand buffer."""
    wait_drain: int | None = None
    """Cycles in which the array waited for a free context."""
    wait_softmax: int | None = None
    """Cycles in which the array waited for probabilities."""

    @classmethod
    def of(cls, registers: Mapping[str, int]) -> Counters:
        """Return what the registers hold after a run."""
        return cls(*(registers[name] for name in (
            "CYCLES", "ARRAY_BUSY", "READ_BYTES", "WRITE_BYTES", "WAIT_DMA", "WAIT_OPERANDS",
            "WAIT_DRAIN", "WAIT_SOFTMAX")))


def check(program: Program, registers: Mapping[str, int], base: int = 0) -> None:
    """Check that a run has ended without error.

    Parameters
    ----------
    program : :class:`~heddle.program.Program`
    registers : mapping of str to int
        The value of each register after the run.
    base : :class:`int`
        AXI address of the image.

    Raises
    ------
    DeviceError
        If the run has ended early: what the error was, and which instruction it belongs to.
    """
    error = registers["ERROR"]
    if not error:
        return
    code, response, port = error & 15, error >> 4 & 3, error >> 6 & 3
    if code == 3:
        raise DeviceError("The run ended at an instruction with an unknown opcode")
    address = registers["ERROR_ADDRESS_HI"] << 32 | registers["ERROR_ADDRESS_LO"]
    offset = address - base
    word = offset // program.geometry.word_bytes
    users = [f"instruction {n} ({i.opcode.name})" for n, i in enumerate(program.decoded())
             for access in footprint(i, program.geometry)
             if access.space == Space.DRAM and access.write == (code == 2)
             and (access.addresses == word).any()]
    if not users and program.offset <= offset < program.offset + program.instructions.size:
        users = ["the instruction fetch"]
    raise DeviceError(
        f"The run ended because a {'read' if code == 1 else 'write'} was answered with "
        f"{'DECERR' if response == 3 else 'SLVERR'}: the burst at {address:#x} on port {port}, "
        f"a transfer of {' or '.join(users) or 'no instruction'}")


def standing(program: Program, registers: Mapping[str, int]) -> str:
    """Say for each queue which instruction it has not completed."""
    instructions = program.decoded()
    places = []
    for queue in Queue:
        numbers = [n for n, i in enumerate(instructions) if i.queue == queue]
        done = registers[f"RETIRED_{queue.name}"]
        if done < len(numbers):
            place = f"is at instruction {numbers[done]} ({instructions[numbers[done]]})"
        else:
            place = f"has completed all of its {done} instructions"
        places.append(f"{queue.name} {place}")
    return "; ".join(places)
