"""The probability buffer: what the softmax made of tiles, until the values are multiplied by it."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .cell import scale_layout
from .delay import delay
from .target import place

__all__ = ["Probabilities", "ProbabilityPair", "store_layout"]

_BITS = 7


def store_layout(rows: int, scales: int) -> data.StructLayout:
    """What a lane pair stores: rows at ``row`` if ``p``, scales at ``group`` if ``scale``."""
    return data.StructLayout({"p": 1, "row": range(rows), "scale": 1, "group": range(scales)})


class ProbabilityPair(wiring.Component):
    """The probability buffer of two lanes, in distributed RAM.

    Parameters
    ----------
    steps : :class:`int`
        Steps of ``depth`` keys that fit; a power of two.
    scales : :class:`int`
        Scales that fit: one for each, or for several, of the steps; a power of two.
    depth : :class:`int`
        Keys of a step.
    rows_per_cycle : :class:`int`
        Keys that come each cycle.

    Members
    -------
    store, store_next : :py:`In(store_layout(...))`, :py:`Out(...)`
        What to store, and the same a cycle later for the next pair.
    p : :py:`In(14).array(rows_per_cycle)`
        Probabilities of both lanes.
    scale : :py:`In(data.ArrayLayout(scale_layout, 2))`
    read_addr : :py:`In(range(steps))`
    read_data : :py:`Out(14 * depth)`
        Probabilities of that step, two cycles later: key by key those of both lanes.
    read_scale : :py:`Out(data.ArrayLayout(scale_layout, 2))`
        Scales of that step, likewise.
    """

    def __init__(self, *, steps: int, scales: int, depth: int, rows_per_cycle: int):
        self.steps = steps
        self.scales = scales
        self.depth = depth
        self.rows_per_cycle = rows_per_cycle
        store = store_layout(steps * depth // rows_per_cycle, scales)
        super().__init__({
            "store":      In(store),
            "store_next": Out(store),
            "p":          In(2 * _BITS).array(rows_per_cycle),
            "scale":      In(data.ArrayLayout(scale_layout, 2)),
            "read_addr":  In(range(steps)),
            "read_data":  Out(2 * _BITS * depth),
            "read_scale": Out(data.ArrayLayout(scale_layout, 2)),
        })

    @property
    def module_name(self) -> str:
        """Name of the module that all equal pairs share."""
        return (f"heddle_probability_pair_s{self.steps}_g{self.scales}_d{self.depth}"
                f"_r{self.rows_per_cycle}")

    def elaborate(self, platform) -> Module:
        m = Module()
        # Of its own in each pair; synthesis would make them one again.
        addr = Signal.like(self.read_addr, reset_less=True, attrs={"keep": "true"})
        m.d.sync += addr.eq(self.read_addr)
        m.d.comb += self.store_next.eq(delay(m, self.store, name="store", reset_less=False))

        writes = self.depth // self.rows_per_cycle
        bank_bits = exact_log2(writes)
        for k in range(self.depth):
            m.submodules[f"bank_{k}"] = bank = memory.Memory(
                shape=2 * _BITS, depth=self.steps, init=[], attrs={"ram_style": "distributed"})
            write, read = bank.write_port(), bank.read_port(domain="comb")
            due = self.store.row[:bank_bits] == k // self.rows_per_cycle
            m.d.comb += [
                write.en.eq(self.store.p & due),
                write.addr.eq(self.store.row[bank_bits:]),
                write.data.eq(self.p[k % self.rows_per_cycle]),
                read.addr.eq(addr),
                self.read_data.word_select(k, 2 * _BITS).eq(delay(m, read.data, name=f"p_{k}")),
            ]

        m.submodules.scales = scales = memory.Memory(
            shape=self.scale.shape(), depth=self.scales, init=[],
            attrs={"ram_style": "distributed"})
        write, read = scales.write_port(), scales.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.store.scale),
            write.addr.eq(self.store.group),
            write.data.eq(self.scale),
            read.addr.eq(addr[exact_log2(self.steps // self.scales):]),
            self.read_scale.eq(delay(m, read.data, name="scale")),
        ]
        return m


class Probabilities(wiring.Component):
    """Slots for the probabilities and scales of tiles, written pair by pair and read at once.

    Slots are filled in order, and again from the first. The user sees to it that a slot is no
    longer read when it is filled.

    Parameters
    ----------
    rows, lanes, depth : :class:`int`
        Sizes of the array.
    groups : :class:`int`
        Groups of a tile, each with scales of its own.
    rows_per_cycle : :class:`int`
        Rows that come each cycle.
    slots : :class:`int`
        Tiles that fit; a power of two.

    Members
    -------
    p_valid : :py:`In(1)`
        Rows come for lanes 0 and 1.
    p : :py:`In(14).array(rows_per_cycle, lanes // 2)`
        Rows of lane pairs; pair ``p`` is ``p`` cycles later than pair 0.
    scale_valid : :py:`In(1)`
        The scales of a group come for lanes 0 and 1, after all its rows.
    scale : :py:`In(scale_layout).array(lanes)`
        Scales, later likewise.
    ready : :py:`Out(1)`
        The oldest tile that was not yet ready may be read by an address given from now on.
    read_addr : :py:`In(range(slots * rows // depth))`
        Step to read.
    read_data : :py:`Out(8 * depth * lanes)`
        Its probabilities, :attr:`READ_LATENCY` cycles later: byte ``k * lanes + lane``.
    scales : :py:`Out(scale_layout).array(lanes)`
        Its scales, likewise.

    Raises
    ------
    ValueError
        If a step is shorter than the rows of a cycle.
    """

    READ_LATENCY = 3

    def __init__(self, *, rows: int, lanes: int, depth: int, groups: int, rows_per_cycle: int,
                 slots: int):
        if depth < rows_per_cycle:
            raise ValueError(f"Depth must be at least the {rows_per_cycle} rows of a cycle, "
                             f"not {depth}")
        self.lanes = lanes
        self.depth = depth
        self.groups = groups
        self._sizes = {"steps": slots * rows // depth, "scales": slots * groups, "depth": depth,
                       "rows_per_cycle": rows_per_cycle}
        super().__init__({
            "p_valid":     In(1),
            "p":           In(2 * _BITS).array(rows_per_cycle, lanes // 2),
            "scale_valid": In(1),
            "scale":       In(scale_layout).array(lanes),
            "ready":       Out(1),
            "read_addr":   In(range(slots * rows // depth)),
            "read_data":   Out(8 * depth * lanes),
            "scales":      Out(scale_layout).array(lanes),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        addr = delay(m, self.read_addr, name="read_addr")
        pairs = [ProbabilityPair(**self._sizes) for _ in range(self.lanes // 2)]
        store = Signal(pairs[0].store.shape())
        m.d.comb += [store.p.eq(self.p_valid), store.scale.eq(self.scale_valid)]
        m.d.sync += [store.row.eq(store.row + store.p), store.group.eq(store.group + store.scale)]
        for n, pair in enumerate(pairs):
            m.submodules[f"pair_{n}"] = place(pair, platform)
            lanes = slice(2 * n, 2 * n + 2)
            m.d.comb += [
                pair.store.eq(store),
                *(port.eq(row[n]) for port, row in zip(pair.p, self.p, strict=True)),
                Value.cast(pair.scale).eq(Cat(self.scale[lanes])),
                pair.read_addr.eq(addr),
                Cat(self.scales[lanes]).eq(pair.read_scale),
            ]
            for k in range(self.depth):
                for lane in range(2):
                    m.d.comb += self.read_data.word_select(k * self.lanes + 2 * n + lane, 8).eq(
                        pair.read_data.word_select(2 * k + lane, _BITS))
            last, store = store, pair.store_next
        m.d.comb += self.ready.eq(last.scale & last.group[:exact_log2(self.groups)].all())
        return m
