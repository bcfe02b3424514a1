"""The softmax: tiles of scores become probabilities, their scales, and the factors of a job."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .cell import scale_layout
from .delay import delay
from .divider import FACTOR_EXPONENT, Divider
from .drain_control import softmax_layout
from .exponential import Energy, Exponential
from .lanes import factor_layout
from .probabilities import Probabilities
from .reference import ZEROS_BITS, Reference
from .schedule import Schedule
from .target import place

__all__ = ["Softmax", "SoftmaxPair", "control_layout"]

control_layout = data.StructLayout({
    "multiplier": signed(18),
    "shift":      2,
    "first":      1,
    "last":       1,
    "sum_first":  1,
    "turn":       1,
    "decide":     1,
    "begin":      1,
    "recent":     1,
    "zeros":      ZEROS_BITS,
    "load":       1,
    "divide":     1,
    "finish":     1,
    "gain":       17,
    "exponent":   7,
})
"""All that a lane pair is told; it walks on to the next pair.

``load``, ``divide``, ``finish``, ``gain``, ``exponent``
    As of :class:`~heddle.rtl.divider.Divider`.
"""


class SoftmaxPair(wiring.Component):
    """Two lanes of the softmax.

    Each has an :class:`~heddle.rtl.exponential.Exponential`, that of lane 1 a cycle later than that
    of lane 0; they take turns on one :class:`~heddle.rtl.reference.Reference` and one
    :class:`~heddle.rtl.divider.Divider`. Times are those of the
    :class:`~heddle.rtl.schedule.Schedule`.

    Parameters
    ----------
    rows : :class:`int`
        Keys of a tile.
    rows_per_cycle : :class:`int`
        Rows each cycle, 1 or 2.

    Members
    -------
    scores : :py:`In(signed(32)).array(rows_per_cycle, 2)`
        Rows of both lanes.
    visible : :py:`In(2 * rows_per_cycle)`
        Which of these scores take part, lane by lane in a row; ``Energy.VISIBLE_DELAY`` cycles
        later.
    control, control_next : :py:`In(control_layout)`, :py:`Out(control_layout)`
        Control, each member at its time, and the same a cycle later for the next pair.
    p : :py:`Out(14).array(rows_per_cycle)`
        Probabilities of both lanes; those of the first row at ``p``, plus 1.
    scale : :py:`Out(scale_layout).array(2)`
        Scales of a group, at ``scaled``, plus 1.
    factors : :py:`Out(factor_layout).array(2)`
        As of the divider.
    """

    def __init__(self, rows: int, rows_per_cycle: int):
        self.schedule = Schedule(rows, rows_per_cycle)
        super().__init__({
            "scores":       In(signed(32)).array(rows_per_cycle, 2),
            "visible":      In(2 * rows_per_cycle),
            "control":      In(control_layout),
            "control_next": Out(control_layout),
            "p":            Out(14).array(rows_per_cycle),
            "scale":        Out(scale_layout).array(2),
            "factors":      Out(factor_layout).array(2),
        })

    @property
    def module_name(self) -> str:
        """Name of the module that all equal pairs share."""
        return f"heddle_softmax_pair_r{self.schedule.rows}_x{self.schedule.rows_per_cycle}"

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.reference = reference = Reference(self.schedule)
        m.submodules.divider = divider = Divider()
        now, later = self.control, data.View(control_layout, Signal(control_layout.size))
        m.d.comb += later.eq(delay(m, now, name="control", reset_less=False))
        m.d.comb += self.control_next.eq(later)
        lanes = self._lanes(m, (now, later))

        # What a level or a sum is worth is known in one cycle for lane 0, in the next for lane 1.
        time = self.schedule
        sums = [delay(m, lane.sum, time.scale - time.sum, name=f"sum_{n}")
                for n, lane in enumerate(lanes)]
        scale = delay(m, now.turn, time.scale - time.turn, name="turn", reset_less=False)
        m.d.comb += [
            reference.level.eq(Mux(later.last, lanes[0].level, lanes[1].level)),
            reference.sum.eq(Mux(scale, sums[0], sums[1])),
            reference.turn.eq(Cat(now.turn, later.turn)),
            reference.decide.eq(Cat(now.decide, later.decide)),
            reference.begin.eq(Mux(now.turn, now.begin, later.begin)),
            reference.recent.eq(Mux(now.turn, now.recent, later.recent)),
            reference.zeros.eq(now.zeros),
            self.scale[0].eq(delay(m, reference.scale, name="scale")),
            self.scale[1].eq(reference.scale),
            divider.total.eq(reference.total),
            *(getattr(divider, name).eq(now[name])
              for name in ("load", "divide", "finish", "gain", "exponent")),
            Cat(self.factors).eq(Cat(divider.factors)),
        ]
        return m

    def _lanes(self, m: Module, controls: tuple[data.View, data.View]) -> list[Exponential]:
        lanes = [Exponential(self.schedule) for _ in controls]
        for n, (lane, control) in enumerate(zip(lanes, controls, strict=True)):
            m.submodules[f"lane_{n}"] = lane
            m.d.comb += [getattr(lane, name).eq(control[name])
                         for name in ("multiplier", "shift", "first", "last", "sum_first")]
            for row in range(self.schedule.rows_per_cycle):
                # Lane 0 waits for lane 1 at the end.
                m.d.comb += [
                    lane.scores[row].eq(delay(m, self.scores[row][n], n, name=f"score_{n}_{row}")),
                    lane.visible[row].eq(delay(m, self.visible[2 * row + n], n,
                                               name=f"visible_{n}_{row}")),
                    self.p[row].word_select(n, 7).eq(delay(m, lane.p[row], 1 - n,
                                                           name=f"p_{n}_{row}")),
                ]
        return lanes


class Softmax(wiring.Component):
    """Streaming softmax of all lanes, with the buffer of its results.

    A tile takes ``rows / rows_per_cycle`` cycles, and the next may follow at once. Whatever depends
    on time alone is made once, for lane pair 0, and walks from pair to pair along with the rows.

    Parameters
    ----------
    rows, lanes, depth : :class:`int`
        Sizes of the array: keys of a tile, queries, keys of a step.
    rows_per_cycle : :class:`int`
        Rows each cycle, 1 or 2.
    slots : :class:`int`
        Tiles whose results are kept; a power of two.

    Members
    -------
    start : :py:`In(1)`
        Row 0 (or rows 0 and 1) of a tile is at lanes 0 and 1; the others follow each cycle. Not
        again within ``rows / rows_per_cycle`` cycles; two tiles with ``end`` are at least
        :attr:`END_DISTANCE` cycles apart.
    tile : :py:`In(softmax_layout)`
        With ``start``.
    mask : :py:`In(rows * lanes)`
        With ``start``: which scores take part, bit ``row * lanes + lane``.
    scores : :py:`In(signed(32)).array(rows_per_cycle, lanes)`
        Rows; lanes ``2p`` and ``2p + 1`` are ``p`` cycles later than lanes 0 and 1.
    ready, read_addr, read_data, scales
        As of :class:`~heddle.rtl.probabilities.Probabilities`.
    factors : :py:`Out(factor_layout).array(lanes)`
        Factors of the lanes for the outputs of a job, those of pair ``p`` ``p`` cycles later.
    factor_valid : :py:`Out(1)`
        High for one cycle when those of lanes 0 and 1 are valid.

    Raises
    ------
    ValueError
        If ``rows`` is not a power of two, more than 16, or fewer than 4 for each row of a cycle; if
        ``lanes`` is odd; or as the buffer does.
    """

    END_DISTANCE = 40
    READ_LATENCY = Probabilities.READ_LATENCY

    def __init__(self, rows: int, lanes: int, depth: int, rows_per_cycle: int = 1,
                 slots: int = 16):
        if rows not in (4, 8, 16) or rows < 4 * rows_per_cycle:
            raise ValueError(f"Rows must be 4, 8 or 16 and at least 4 for each of the "
                             f"{rows_per_cycle} of a cycle, not {rows}")
        if lanes <= 0 or lanes % 2:
            raise ValueError(f"Lanes must be a positive even number, not {lanes}")
        self.rows = rows
        self.lanes = lanes
        self.rows_per_cycle = rows_per_cycle
        self._probabilities = Probabilities(
            rows=rows, lanes=lanes, depth=depth, groups=Schedule(rows, rows_per_cycle).groups,
            rows_per_cycle=rows_per_cycle, slots=slots)
        super().__init__({
            "start":        In(1),
            "tile":         In(softmax_layout),
            "mask":         In(rows * lanes),
            "scores":       In(signed(32)).array(rows_per_cycle, lanes),
            "ready":        Out(1),
            "read_addr":    In(self._probabilities.read_addr.shape()),
            "read_data":    Out(8 * depth * lanes),
            "scales":       Out(scale_layout).array(lanes),
            "factors":      Out(factor_layout).array(lanes),
            "factor_valid": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.probabilities = probabilities = self._probabilities
        control = Signal(control_layout)
        self._tell(m, control)
        visible = self._visible(m)
        for n in range(self.lanes // 2):
            pair = SoftmaxPair(self.rows, self.rows_per_cycle)
            m.submodules[f"pair_{n}"] = place(pair, platform)
            lanes = slice(2 * n, 2 * n + 2)
            m.d.comb += [
                pair.control.eq(control),
                Cat(pair.scores).eq(Cat(row[lanes] for row in self.scores)),
                pair.visible.eq(Cat(
                    delay(m, visible[row * self.lanes:][lanes], n, name=f"visible_{n}_{row}")
                    for row in range(self.rows_per_cycle))),
                *(row[n].eq(p) for row, p in zip(probabilities.p, pair.p, strict=True)),
                Cat(probabilities.scale[lanes]).eq(Cat(pair.scale)),
                Cat(self.factors[lanes]).eq(Cat(pair.factors)),
            ]
            control = pair.control_next
        m.d.comb += [
            self.ready.eq(probabilities.ready),
            probabilities.read_addr.eq(self.read_addr),
            self.read_data.eq(probabilities.read_data),
            Cat(self.scales).eq(Cat(probabilities.scales)),
        ]
        return m

    def _visible(self, m: Module) -> Value:
        """Return the bits of the mask for the rows of a cycle, when pair 0 wants them."""
        rest = Signal.like(self.mask, reset_less=True)
        bits = self.rows_per_cycle * self.lanes
        m.d.sync += rest.eq(Mux(self.start, self.mask, rest >> bits))
        return delay(m, rest[:bits], Energy.VISIBLE_DELAY - 1, name="visible")

    def _tell(self, m: Module, control: data.View) -> None:
        """Make the control of pair 0, and that of the buffer."""
        tile = Signal(softmax_layout, reset_less=True)
        with m.If(self.start):
            m.d.sync += tile.eq(self.tile)
        schedule = Schedule(self.rows, self.rows_per_cycle)
        begins, ends = self.start & self.tile.begin, self.start & self.tile.end
        groups = [n * schedule.cycles for n in range(schedule.groups)]
        started = _Past(m, self.start, "start")
        began = _Past(m, begins, "begin")
        ended = _Past(m, ends, "end")

        def each(time: int) -> Value:
            early = Cat(started[time - 1 + group] for group in groups).any()
            return delay(m, early, name=f"each_{time}", reset_less=False)

        turn, load = schedule.turn, schedule.end
        m.d.comb += [
            control.multiplier.eq(-tile.multiplier),
            control.shift.eq(delay(m, tile.multiplier_shift, Energy.SHIFT_DELAY - 1, name="shift")),
            control.first.eq(each(schedule.least)),
            control.last.eq(each(schedule.least + schedule.cycles - 1)),
            control.sum_first.eq(each(schedule.sum - schedule.cycles)),
            control.turn.eq(each(turn)),
            control.decide.eq(started[turn]),
            control.begin.eq(began[turn]),
            control.recent.eq(delay(m, started[turn + 3] | started[turn + 4], name="recent",
                                    reset_less=False)),
            control.load.eq(ended[load]),
            control.divide.eq(ended[load + Divider.DIVIDE]),
            control.finish.eq(Cat(ended[load + time] for time in Divider.FINISH).any()),
            self.factor_valid.eq(ended[load + Divider.LATENCY]),
            self._probabilities.scale_valid.eq(each(schedule.scaled + 1)),
        ]
        cycles = self.rows // self.rows_per_cycle
        p_valid = Signal()
        m.d.sync += p_valid.eq(started[schedule.p] | p_valid & ~started[schedule.p + cycles])
        m.d.comb += self._probabilities.p_valid.eq(p_valid)
        self._number(m, control)
        self._tell_gain(m, control, ends, ended[load - 1])

    def _number(self, m: Module, control: data.View) -> None:
        """Count the tiles of a job, and the zeros at the low end of the count."""
        number = Signal((1 << ZEROS_BITS) - 1, reset_less=True)
        zeros = Signal(ZEROS_BITS, reset_less=True)
        with m.If(control.decide):
            m.d.sync += number.eq(Mux(control.begin, 1, number + 1))
        m.d.sync += zeros.eq(len(number))
        for n in reversed(range(len(number))):
            with m.If(number[n]):
                m.d.sync += zeros.eq(n)
        m.d.comb += control.zeros.eq(zeros)

    def _tell_gain(self, m: Module, control: data.View, end: Value, load: Value) -> None:
        """Keep the gain of a tile with ``end`` until the division starts, and during it."""
        gain, shift = Signal(17, reset_less=True), Signal(6, reset_less=True)
        dividend, exponent = (Signal.like(control[name], name=name, reset_less=True)
                              for name in ("gain", "exponent"))
        with m.If(end):
            m.d.sync += [gain.eq(self.tile.gain), shift.eq(self.tile.gain_shift)]
        with m.If(load):
            m.d.sync += [dividend.eq(gain), exponent.eq(shift + FACTOR_EXPONENT)]
        m.d.comb += [control.gain.eq(dividend), control.exponent.eq(exponent)]


class _Past:
    """A pulse of some cycles ago, from registers that are made as they are asked for."""

    def __init__(self, m: Module, pulse: Value, name: str):
        self._m = m
        self._name = name
        self._past = [pulse]

    def __getitem__(self, cycles: int) -> Value:
        while len(self._past) <= cycles:
            self._past.append(delay(self._m, self._past[-1], name=f"{self._name}_{len(self._past)}",
                                    reset_less=False))
        return self._past[cycles]
