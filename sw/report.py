"""What a run reports, the same for every device."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .device import Counters
from .program import Program

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """Figures of one run; :meth:`as_dict` is what is written as JSON.

    What a device does not measure is ``None``: the golden model has no cycles. Its array cycles and
    DRAM bytes are counts of what the program does, as the hardware counts them too.
    """

    workload: str
    """Name of the program."""
    geometry: str
    device: str
    cycles: int | None
    """From the first fetch of an instruction to the last acknowledged store."""
    array_cycles: int
    """Cycles in which the array took a step."""
    wait_dma: int | None
    """Cycles in which the array waited for a transfer."""
    wait_operands: int | None
    """Cycles in which the array waited for the operand buffer."""
    wait_drain: int | None
    """Cycles in which the array waited for a free context."""
    wait_softmax: int | None
    """Cycles in which the array waited for probabilities."""
    macs: int
    """Useful multiply-accumulates that were computed, without any padding: of layers with weights,
    those of weights that are not pruned, which are those that are not 0 before their quantisation;
    of attention, those of the visible pairs of a query and a key."""
    macs_dense: int
    """Multiply-accumulates of the same layers with all weights, and with all keys visible."""
    peak_macs_per_cycle: int
    utilisation: float | None
    """``macs / (cycles · peak_macs_per_cycle)``."""
    dram_read_bytes: int
    """Bytes read from DRAM, the instructions included."""
    dram_write_bytes: int
    scratchpad_bytes: int
    """Most bytes of the scratchpad that the program uses at once."""
    softmax_rows: int
    """Rows of scores that the softmax takes a cycle."""
    tiles_visited: int
    """Tiles of queries and keys that attention visits, over all heads."""
    tiles_total: int
    """Tiles of queries and keys that there are."""
    weight_bytes: int
    """Bytes of the packed weights, their lists and selectors included, and without the parameters
    of requantisation."""
    weight_bytes_dense: int
    """Bytes of the same weights in dense INT8, without any padding."""
    matches_golden: bool | None
    """Whether every output is equal, bit for bit, to the golden model's; ``None`` if not compared.
    The golden device is compared with the layers computed directly in integers."""
    error: float | None
    """RMS of the error against float64, relative to the RMS of the outputs."""
    error_int8: float | None
    """The same against float64 of the inputs as they are after their quantisation."""
    clock_mhz_assumed: int
    """Clock with which cycles are converted to time; not measured."""
    milliseconds: float | None
    gops: float | None
    """Useful operations (two for each multiply-accumulate) a nanosecond."""

    @classmethod
    def of(cls, program: Program, device: str, counters: Counters, *,
           matches_golden: bool | None = None, error: float | None = None,
           error_int8: float | None = None) -> Report:
        """Return the report of a run of a program."""
        g = program.geometry
        seconds = utilisation = None
        if counters.cycles is not None:
            seconds = counters.cycles / (g.clock_mhz_assumed * 1e6)
            utilisation = program.macs / (counters.cycles * g.peak_macs_per_cycle)
        return cls(
            workload=program.name,
            geometry=g.name,
            device=device,
            cycles=counters.cycles,
            array_cycles=counters.array_cycles,
            wait_dma=counters.wait_dma,
            wait_operands=counters.wait_operands,
            wait_drain=counters.wait_drain,
            wait_softmax=counters.wait_softmax,
            macs=program.macs,
            macs_dense=program.macs_dense,
            peak_macs_per_cycle=g.peak_macs_per_cycle,
            utilisation=utilisation,
            dram_read_bytes=counters.read_bytes,
            dram_write_bytes=counters.write_bytes,
            scratchpad_bytes=program.scratchpad_bytes,
            softmax_rows=g.softmax_rows,
            tiles_visited=program.tiles_visited,
            tiles_total=program.tiles_total,
            weight_bytes=program.weight_bytes,
            weight_bytes_dense=program.weight_bytes_dense,
            matches_golden=matches_golden,
            error=error,
            error_int8=error_int8,
            clock_mhz_assumed=g.clock_mhz_assumed,
            milliseconds=None if seconds is None else seconds * 1e3,
            gops=None if seconds is None else 2 * program.macs / seconds / 1e9,
        )

    def as_dict(self) -> dict[str, str | int | float | bool | None]:
        """Return the figures by name, ready for JSON."""
        return asdict(self)
