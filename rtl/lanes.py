"""The lanes: they scale the rows that leave the array, by channel or by lane."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .choose import choose
from .delay import delay
from .requantiser import SUM_BITS, Requantiser
from .target import place

__all__ = ["SUM_BITS", "LanePair", "Lanes", "channel_layout", "factor_layout", "row_layout",
           "store_layout"]

channel_layout = data.StructLayout({
    "bias":       signed(32),
    "multiplier": unsigned(17),
    "shift":      unsigned(6),
    "gate_shift": unsigned(4),
    "unused":     unsigned(5),
})
"""The 8 bytes of requantisation parameters of an output channel, as they lie in the scratchpad.

``bias``
    Added to the accumulator.
``multiplier``, ``shift``
    The scale is ``multiplier / 2^(shift + 1)``; with an activation, ``multiplier / 2^shift`` to
    1/256 of an output step.
``gate_shift``
    With an activation, its gate moves on by an index every ``2^gate_shift`` of these.
"""

factor_layout = data.StructLayout({
    "multiplier": unsigned(17),
    "shift":      unsigned(6),
})
"""The factor of a lane, which takes the place of the parameters of a channel.

``multiplier``, ``shift``
    The scale is ``multiplier / 2^(shift + 1)``.
"""


def row_layout(jobs: int) -> data.StructLayout:
    """How to scale a row: by its ``channel``, or if ``factor``, by the factors of ``job``.

    ``activation`` is what to apply; ``NONE`` if ``factor``.
    """
    return data.StructLayout({"channel": channel_layout, "activation": 2, "factor": 1,
                              "job": range(jobs)})


def store_layout(jobs: int) -> data.StructLayout:
    """Command to a lane pair: if ``valid``, keep the present factors for ``job``."""
    return data.StructLayout({"valid": 1, "job": range(jobs)})


class LanePair(wiring.Component):
    """The two lanes that leave one column of the array together.

    Parameters
    ----------
    jobs : :class:`int`
        Jobs whose factors the lanes keep.

    Members
    -------
    i : :py:`In(signed(32)).array(2)`
    row : :py:`In(row_layout(jobs))`
        Of the row at ``i``.
    row_next : :py:`Out(row_layout(jobs))`
        ``row`` one cycle later, for the next pair.
    factors : :py:`In(factor_layout).array(2)`
    store : :py:`In(store_layout(jobs))`
        Keep ``factors``, for the row at ``i`` and later ones.
    store_next : :py:`Out(store_layout(jobs))`
        ``store`` one cycle later, for the next pair.
    o : :py:`Out(16)`
        The two results, :attr:`Requantiser.LATENCY` cycles after ``i``.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        super().__init__({
            "i":          In(signed(32)).array(2),
            "row":        In(row_layout(jobs)),
            "row_next":   Out(row_layout(jobs)),
            "factors":    In(factor_layout).array(2),
            "store":      In(store_layout(jobs)),
            "store_next": Out(store_layout(jobs)),
            "o":          Out(16),
        })

    @property
    def module_name(self) -> str:
        """Name that equal lane pairs share."""
        return f"heddle_lane_pair_j{self.jobs}"

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.kept = kept = memory.Memory(
            shape=data.ArrayLayout(factor_layout, 2), depth=self.jobs, init=[],
            attrs={"ram_style": "distributed"})
        write, read = kept.write_port(), kept.read_port(domain="comb")
        row = delay(m, self.row, name="row")
        m.d.comb += [
            self.row_next.eq(row),
            self.store_next.eq(delay(m, self.store, name="store", reset_less=False)),
            write.en.eq(self.store.valid),
            write.addr.eq(self.store.job),
            *(stored.eq(factor) for stored, factor
              in zip(write.data, self.factors, strict=True)),
            read.addr.eq(row.job),
        ]
        gate_shifts = [delay(m, row.channel.gate_shift[low:low + 2],
                             Requantiser.GATE_DELAY - 1 + stage, name=f"gate_shift_{low}")
                       for stage, low in enumerate((2, 0))]
        activation = delay(m, row.activation, Requantiser.ACTIVATION_DELAY - 1, name="activation")
        for n in range(2):
            m.submodules[f"lane_{n}"] = lane = Requantiser()
            # Both scales meet here, one cycle before the multiplication takes its own.
            scale = Signal(factor_layout, name=f"scale_{n}", reset_less=True)
            own = Cat(row.channel[name] for name in factor_layout.members)
            m.d.sync += scale.eq(choose(m, platform, row.factor, read.data[n], own,
                                        name=f"own_{n}"))
            shifts = [delay(m, scale.shift[low:low + 2],
                            Requantiser.SHIFT_DELAY - Requantiser.MULTIPLIER_DELAY + stage,
                            name=f"shift_{n}_{low}") for stage, low in enumerate((4, 2, 0))]
            m.d.comb += [
                lane.i.eq(self.i[n]),
                lane.bias.eq(self.row.channel.bias),
                lane.factor.eq(self.row.factor),
                lane.multiplier.eq(scale.multiplier),
                *(port.eq(shift) for port, shift in zip(lane.shift, shifts, strict=True)),
                *(port.eq(shift) for port, shift in zip(lane.gate_shift, gate_shifts, strict=True)),
                lane.activation.eq(activation),
                self.o.word_select(n, 8).eq(lane.o),
            ]
        return m


class Lanes(wiring.Component):
    """All lanes: rows come in skewed, a lane pair a cycle, and leave as vectors.

    The parameters of a row walk from pair to pair along with the skew, and so do the commands that
    store the factors of a job.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes; even.
    jobs : :class:`int`
        Jobs whose factors the lanes keep, those of job ``n`` in place ``n`` modulo ``jobs``; a
        power of two.

    Members
    -------
    i : :py:`In(signed(32)).array(lanes)`
        Rows; lanes ``2p`` and ``2p + 1`` are ``p`` cycles later than lane 0.
    row : :py:`In(row_layout(jobs))`
        How to scale the row at lane 0.
    factors : :py:`In(factor_layout).array(lanes)`
        Factors of a job; lanes ``2p`` and ``2p + 1`` are ``p`` cycles later than lane 0.
    factor_valid : :py:`In(1)`
        Those of lane 0 are the next job's, for the row at lane 0 and later ones.
    o : :py:`Out(8 * lanes)`
        Vector of the row that was at lane 0 :attr:`latency` cycles ago; byte ``j`` is lane ``j``.

    Raises
    ------
    ValueError
        If the number of lanes is odd or that of jobs not a power of two.
    """

    def __init__(self, lanes: int, jobs: int):
        if lanes <= 0 or lanes % 2:
            raise ValueError(f"Lanes must be a positive even number, not {lanes}")
        if jobs < 1 or jobs & (jobs - 1):
            raise ValueError(f"Jobs must be a power of two, not {jobs}")
        self.lanes = lanes
        self.jobs = jobs
        super().__init__({
            "i":            In(signed(32)).array(lanes),
            "row":          In(row_layout(jobs)),
            "factors":      In(factor_layout).array(lanes),
            "factor_valid": In(1),
            "o":            Out(8 * lanes),
        })

    @property
    def latency(self) -> int:
        """Cycles from a row at lane 0 to its vector."""
        return Requantiser.LATENCY + self.lanes // 2 - 1

    def elaborate(self, platform) -> Module:
        m = Module()
        row, store = self.row, Signal(store_layout(self.jobs))
        m.d.comb += store.valid.eq(self.factor_valid)
        m.d.sync += store.job.eq(store.job + store.valid)
        for p in range(self.lanes // 2):
            pair = LanePair(self.jobs)
            m.submodules[f"pair_{p}"] = place(pair, platform)
            m.d.comb += [pair.row.eq(row), pair.store.eq(store)]
            for n in range(2):
                m.d.comb += [pair.i[n].eq(self.i[2 * p + n]),
                             pair.factors[n].eq(self.factors[2 * p + n])]
            m.d.comb += self.o.word_select(p, 16).eq(
                delay(m, pair.o, self.lanes // 2 - 1 - p, name=f"deskew_{p}"))
            row, store = pair.row_next, pair.store_next
        return m
