"""The systolic array: operands walk from cell to cell, results leave down the columns."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .cell import Cell, scale_layout, tag_layout
from .collector import Collector
from .delay import delay
from .target import place

__all__ = ["Array", "Row", "drain_layout"]


def drain_layout(contexts: int) -> data.StructLayout:
    """Command to drain a context, if ``valid``: its rows leave the array, two a cycle."""
    return data.StructLayout({"valid": 1, "context": range(contexts)})


class Row(wiring.Component):
    """A row of cells. Weights, tags and the contexts to drain walk along it.

    Parameters
    ----------
    pairs : :class:`int`
        Number of cells, of two lanes each.
    depth, contexts, candidates : :class:`int`
        As of :class:`~heddle.rtl.cell.Cell`.

    Members
    -------
    a, tag, drain : In
        As of the first cell.
    b, scale, next_b, next_scale, data
        As of the cells, an array over these.
    """

    def __init__(self, pairs: int, depth: int, contexts: int, candidates: int = 1):
        self.pairs = pairs
        self.depth = depth
        self.contexts = contexts
        self.candidates = candidates
        columns = {"b": 16 * depth * candidates, "scale": data.ArrayLayout(scale_layout, 2)}
        super().__init__({
            "a":     In(depth * (8 + exact_log2(candidates))),
            "tag":   In(tag_layout(contexts)),
            "drain": In(range(contexts)),
            "data":  Out(64).array(pairs),
        } | {name: In(shape).array(pairs) for name, shape in columns.items()}
          | {f"next_{name}": Out(shape).array(pairs) for name, shape in columns.items()})

    @property
    def module_name(self) -> str:
        """Name of the module that all equal rows share."""
        choice = f"_m{self.candidates}" if self.candidates > 1 else ""
        return f"heddle_row_p{self.pairs}_d{self.depth}_c{self.contexts}{choice}"

    def elaborate(self, platform) -> Module:
        m = Module()
        a, tag, drain = self.a, self.tag, self.drain
        for pair in range(self.pairs):
            cell = Cell(self.depth, self.contexts, self.candidates)
            m.submodules[f"cell_{pair}"] = place(cell, platform)
            m.d.comb += [
                cell.a.eq(a),
                cell.tag.eq(tag),
                cell.drain.eq(drain),
                cell.b.eq(self.b[pair]),
                cell.scale.eq(self.scale[pair]),
                self.next_b[pair].eq(cell.next_b),
                self.next_scale[pair].eq(cell.next_scale),
                self.data[pair].eq(cell.data),
            ]
            a, tag, drain = cell.next_a, cell.next_tag, cell.next_drain
        return m


class Array(wiring.Component):
    """``rows × lanes`` accumulators that each add ``depth`` products a cycle.

    A step adds ``Σk a[k][row]·b[k][lane]`` to the total of each output, as its tag says (see
    :func:`~heddle.rtl.cell.tag_layout`) and with the scale of the lane (see
    :data:`~heddle.rtl.cell.scale_layout`). Each cycle may bring a step; nothing ever stops. Weights
    ``a`` walk across the lanes, activations ``b`` and scales down the rows, and the array delays
    them at the edges so that the right ones meet.

    A drain command makes one context of all outputs leave, two rows a cycle, without a pause of the
    steps. Commands are at least ``rows / 2`` cycles apart. The context stays as it is.

    No register is reset: what is in the array when it is reset runs through to its end.

    Parameters
    ----------
    rows : :class:`int`
        Outputs along A, an even number.
    lanes : :class:`int`
        Outputs along B, an even number.
    depth : :class:`int`
        Products a step and output, 1 to 8 (:class:`~heddle.rtl.dsp48e2.Cascade`).
    contexts : :class:`int`
        Totals that each output can hold, a power of two.
    candidates : :class:`int`
        Activations of a product and lane of which each row takes its own, a power of two.

    Members
    -------
    a : :py:`In(depth * rows * (8 + log2(candidates)))`
        Weights, each with its selector above it: in place ``k * rows + row``.
    b : :py:`In(8 * depth * candidates * lanes)`
        Activations: byte ``(k * candidates + c) * lanes + lane``.
    scale : :py:`In(scale_layout).array(lanes)`
        Scale of each lane in the step whose operands come in the same cycle.
    tag : :py:`In(tag_layout(contexts))`
        Tag of this step.
    drain : :py:`In(drain_layout(contexts))`
        Command to drain a context.
    o : :py:`Out(signed(32)).array(2, lanes)`
        Drained totals of an even row and of the odd one after it. Lanes 0 and 1 have rows 0 and 1
        :attr:`drain_latency` cycles after the command and two further rows every cycle; each
        further pair of lanes is one cycle later.

    Raises
    ------
    ValueError
        If ``rows`` or ``lanes`` is odd.
    """

    accumulate_distance = Cell.settle
    """Least cycles from a step with ``last`` to a step that accumulates on its context."""

    reuse_distance = 0
    """Least cycles from a drain command to a step with ``last`` of the same context."""

    def __init__(self, rows: int, lanes: int, depth: int, contexts: int, candidates: int = 1):
        if rows < 2 or rows % 2:
            raise ValueError(f"rows must be an even number, not {rows}: two rows drain in a cycle")
        if lanes < 2 or lanes % 2:
            raise ValueError(f"lanes must be an even number, not {lanes}: two lanes share a "
                             "multiplier")
        self.rows = rows
        self.lanes = lanes
        self.depth = depth
        self.contexts = contexts
        self.candidates = candidates
        super().__init__({
            "a":     In(depth * rows * (8 + exact_log2(candidates))),
            "b":     In(8 * depth * candidates * lanes),
            "tag":   In(tag_layout(contexts)),
            "scale": In(scale_layout).array(lanes),
            "drain": In(drain_layout(contexts)),
            "o":     Out(signed(32)).array(2, lanes),
        })

    @property
    def _tag_delay(self) -> int:
        # Operands are registered at the edge.
        return Cell.tag_delay(self.depth, self.candidates) + 1

    @property
    def drain_latency(self) -> int:
        """Cycles from a drain command to rows 0 and 1 of lanes 0 and 1."""
        return self.rows // 2

    @property
    def drain_distance(self) -> int:
        """Least cycles from a step with ``last`` to the drain command of its context."""
        # An odd row has its tag a cycle after the even one, but both have the command at once.
        return self._tag_delay + Cell.settle + 1

    def elaborate(self, platform) -> Module:
        m = Module()
        pairs = self.lanes // 2
        a = self._staggered(m, self.a, "a", self.rows, 1)
        b = self._staggered(m, self.b, "b", pairs, self.candidates)
        scale = self._staggered_scales(m, pairs)
        tag = delay(m, self.tag, self._tag_delay, name="tag")
        rows = []
        for i in range(self.rows):
            row = Row(pairs, self.depth, self.contexts, self.candidates)
            m.submodules[f"row_{i}"] = place(row, platform)
            m.d.comb += [row.a.eq(a[i]), row.tag.eq(tag)]
            for pair in range(pairs):
                m.d.comb += [row.b[pair].eq(b[pair]), row.scale[pair].eq(scale[pair])]
            b, scale = row.next_b, row.next_scale
            tag = delay(m, tag, name=f"tag_row_{i}")
            rows.append(row)
        self._drain(m, rows, platform)
        return m

    def _drain(self, m: Module, rows: list[Row], platform) -> None:
        """Collect the even rows and the odd ones: stages of a few rows each, a cycle apart."""
        pairs = self.lanes // 2
        commands = [self.drain]
        for n in range(self.rows - 2):
            commands.append(delay(m, commands[-1], name=f"drain_{n}"))
        row_pairs = range(self.rows // 2)
        stages = [row_pairs[n:n + Collector.most] for n in row_pairs[::Collector.most]]
        above = [[Const(0, 64)] * pairs] * 2
        for stage, numbers in enumerate(stages):
            # A row is read as many cycles before it leaves as it has stages to pass.
            asked = [commands[self.drain_latency + n - len(stages) + stage] for n in numbers]
            choice = reduce(or_, (Mux(command.valid, k, 0) for k, command in enumerate(asked, 1)))
            for odd in range(2):
                collector = Collector(pairs, len(numbers))
                m.submodules[f"collector_{odd}_{stage}"] = place(collector, platform)
                chosen = [rows[2 * n + odd] for n in numbers]
                m.d.comb += [
                    collector.choice.eq(choice),
                    *(row.drain.eq(command.context)
                      for row, command in zip(chosen, asked, strict=True)),
                    *(collector.above[pair].eq(above[odd][pair]) for pair in range(pairs)),
                    *(collector.data[k][pair].eq(row.data[pair])
                      for k, row in enumerate(chosen) for pair in range(pairs)),
                ]
                above[odd] = collector.below
        for o, totals in zip(self.o, above, strict=True):
            for pair in range(pairs):
                m.d.comb += Cat(o[2 * pair], o[2 * pair + 1]).eq(totals[pair])

    def _staggered(self, m: Module, value: Value, name: str, parts: int,
                   candidates: int) -> list[Value]:
        """Return the operands of each row or lane pair ``n``, product ``k`` ``1 + k + n`` late."""
        step = len(value) // self.depth
        width = step // (parts * candidates)
        products = [delay(m, value.word_select(k, step), 1 + k, name=f"{name}_product_{k}")
                    for k in range(self.depth)]
        return [delay(m, Cat(product.word_select(c * parts + n, width) for product in products
                             for c in range(candidates)), n, name=f"{name}_part_{n}")
                for n in range(parts)]

    def _staggered_scales(self, m: Module, pairs: int) -> list[Value]:
        """Return the scales of each lane pair, at the time at which the cells take them."""
        delays = 1 + Cell.scale_delay(self.depth, self.candidates)
        return [delay(m, Cat(self.scale[2 * n], self.scale[2 * n + 1]), delays + n,
                      name=f"scale_part_{n}") for n in range(pairs)]
