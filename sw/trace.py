"""The schedule of a program as a trace that https://ui.perfetto.dev and chrome://tracing show.

The file is JSON in Google's `Trace Event Format
<https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>`_. Its process
*expected* has a track for each queue with an event for each instruction, a track of the layers on
the array, and counters: the instructions that wait in each queue, and the share of cycles in which
the array takes steps. All of these times are those of the model in :mod:`heddle.cost`. Of a run on
the RTL there is the process *measured* as well: what each window of cycles was spent on.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .assembler import Instruction
from .cost import Span, estimate
from .device import Run
from .occupancy import KINDS, shares
from .program import Program
from .rtl.geometry import Geometry
from .rtl.isa import Opcode, Queue

__all__ = ["trace", "write"]

_EXPECTED, _MEASURED = 1, 2
_LAYERS = len(Queue)  # the track after those of the queues
_WINDOW = 256  # cycles for which the use of the array is averaged

Event = dict[str, Any]


def write(path: str | Path, program: Program, run: Run | None = None) -> None:
    """Write the trace of a program, and what was measured in a run, as JSON."""
    Path(path).write_text(json.dumps(trace(program, run)) + "\n")


def trace(program: Program, run: Run | None = None) -> dict[str, Any]:
    """Return the trace of a program, ready for JSON.

    Events of a track do not overlap. Each instruction is called by its layer and operation; its
    arguments are its number in the program, its text, its bytes, steps or rows, the cycles that it
    takes and those that it waited for its tokens and its engine.

    Parameters
    ----------
    program : :class:`~heddle.program.Program`
    run : :class:`~heddle.device.Run`
        A run of the program; without samples, as of the golden model, it adds nothing.
    """
    g = program.geometry
    instructions, layers = program.decoded(), program.layer_names()
    expected = estimate(instructions, g)
    events = [_title("process_name", _EXPECTED, 0, "expected: model of queues, memory and array")]
    for track, name in enumerate([*(queue.name for queue in Queue), "layers on the array"]):
        events += [_title("thread_name", _EXPECTED, track, name),
                   {**_title("thread_sort_index", _EXPECTED, track, ""),
                    "args": {"sort_index": track}}]
    for number, (i, layer, span) in enumerate(zip(instructions, layers, expected.spans)):
        events.append(_event(g, i.queue, f"{layer} {i.opcode.name}", span.begin, span.end, {
            "number": number, **_amount(i, g), "waited": round(span.begin) - round(span.taken),
            "instruction": str(i)}))
    events += _layers(instructions, layers, expected.spans, g)
    events += _waiting(instructions, expected.spans, g)
    times, steps = np.array(expected.steps).T
    edges = np.append(np.arange(0, expected.cycles, _WINDOW), expected.cycles)
    used = np.diff(np.interp(edges, times, steps)) / np.diff(edges)
    events += [_counter(g, _EXPECTED, "array", time, {"in use": round(float(share), 6)})
               for time, share in zip(edges, [*used, 0.0])]
    if run is not None and len(run.samples):
        events += _measured(run, g)
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": {
        "program": program.name, "geometry": g.name, "clock_mhz_assumed": g.clock_mhz_assumed,
        "cycles_expected": expected.cycles,
        "cycles_measured": None if run is None else run.counters.cycles,
        "times": "Those of the process 'expected' come from a model, not from a run; cycles are "
                 "converted to time with the assumed clock."}}


def _amount(i: Instruction, geometry: Geometry) -> dict[str, int]:
    """Return how much an instruction does, by the name of the unit."""
    g = geometry
    match i.opcode:
        case Opcode.FILL:
            return {"steps": i.count * i["steps"]}
        case Opcode.MATMUL:
            return {"steps": i.count * i["tiles"] * i["steps"]}
        case Opcode.ATTEND:
            return {"steps": i["jobs"] * i["tiles"] * (i["steps"] + i["blocks"] * g.tile_steps)}
        case Opcode.NORM:
            return {"rows": i.count * i["words"] * g.vectors_per_word}
    return {"bytes": i.count * i["rows"] * i["words"] * g.word_bytes}


def _layers(instructions: Sequence[Instruction], layers: Sequence[str], spans: Sequence[Span],
            geometry: Geometry) -> Iterator[Event]:
    """Yield when each layer has the array, from its first step to its last one."""
    products = ((layer, span) for i, layer, span in zip(instructions, layers, spans)
                if i.queue == Queue.COMPUTE)
    for layer, group in itertools.groupby(products, key=lambda product: product[0]):
        own = [span for _, span in group]
        yield _event(geometry, _LAYERS, layer, own[0].begin, own[-1].end, {})


def _waiting(instructions: Sequence[Instruction], spans: Sequence[Span], geometry: Geometry,
             ) -> Iterator[Event]:
    """Yield for each queue the number of instructions in it, whenever it changes."""
    for queue in Queue:
        changes: defaultdict[int, int] = defaultdict(int, {0: 0})
        for i, span in zip(instructions, spans):
            if i.queue == queue:
                changes[round(span.queued)] += 1
                changes[round(span.taken)] -= 1
        times = sorted(changes)
        for time, number in zip(times, itertools.accumulate(changes[time] for time in times)):
            yield _counter(geometry, _EXPECTED, f"in queue {queue.name}", time,
                           {"instructions": number})


def _measured(run: Run, geometry: Geometry) -> Iterator[Event]:
    yield _title("process_name", _MEASURED, 0, "measured: RTL")
    windows, edges = shares(run)
    for time, window in zip(edges, [*windows, np.zeros(len(KINDS))]):
        yield _counter(geometry, _MEASURED, "array", time, dict(zip(KINDS, map(float, window))))


# -- events ----------------------------------------------------------------------------------------

def _title(kind: str, process: int, track: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": track, "args": {"name": name}}


def _event(geometry: Geometry, track: int, name: str, begin: float, end: float,
           arguments: dict[str, Any]) -> Event:
    start, cycles = round(begin), round(end) - round(begin)
    return {"ph": "X", "name": name, "pid": _EXPECTED, "tid": int(track),
            "ts": start / geometry.clock_mhz_assumed, "dur": cycles / geometry.clock_mhz_assumed,
            "args": {"cycle": start, "cycles": cycles, **arguments}}


def _counter(geometry: Geometry, process: int, name: str, cycle: float,
             values: dict[str, float]) -> Event:
    return {"ph": "C", "name": name, "pid": process, "tid": 0,
            "ts": float(cycle) / geometry.clock_mhz_assumed, "args": values}
