"""The cell of the systolic array: two lanes of one output row, with their accumulators."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .delay import delay
from .dsp48e2 import Cascade

__all__ = ["NEUTRAL_SHIFT", "Cell", "scale_layout", "tag_layout"]

NEUTRAL_SHIFT = 11
"""Shift of a :data:`scale_layout` that leaves the sums as they are."""

scale_layout = data.StructLayout({"shift": 5, "raise": 2, "up": 1})
"""Scale of a lane in a step.

The sum of products ``x`` counts as ``x·2^(11 - shift)``, a half rounded up, or if not ``up`` all
rounded down. A total that is
continued from a context begins as the context shifted right by ``8 * raise`` bits, rounded down; if
``raise`` is 3, it begins as 0.
"""


def tag_layout(contexts: int) -> data.StructLayout:
    """Tag of a step: what the accumulator does with its sum of products.

    ``first`` starts a new total, from the context if ``accumulate``, otherwise from 0; other steps
    add to the total so far. ``last`` stores the total in the context. In a cycle without a step
    ``last`` is 0 and nothing else matters.
    """
    return data.StructLayout({
        "first":      1,
        "last":       1,
        "accumulate": 1,
        "context":    range(contexts),
    })


class Cell(wiring.Component):
    """A :class:`~heddle.rtl.dsp48e2.Cascade`, two accumulators and their contexts.

    Everything that enters leaves to a neighbour one cycle later: ``a``, ``tag`` and ``drain`` to
    the next pair of lanes, ``b`` and ``scale`` to the next row.
    The operands of product ``k`` of a step come ``k`` cycles after those of product 0, its scale
    :meth:`scale_delay` and its tag :meth:`tag_delay` cycles after them.

    With several candidates a slot has as many activations in each lane, and the weight comes with
    a selector, which chooses the one that it is multiplied by, in a stage before the cascade.

    ``data`` shows both lanes of the context that ``drain`` names in the same cycle. A context holds
    the total of a step with ``last`` for ``drain`` and for accumulating tags that come at least
    :attr:`settle` cycles after the tag of this step.

    Parameters
    ----------
    depth : :class:`int`
        Products a step.
    contexts : :class:`int`
        Totals that the cell can hold, a power of two.
    candidates : :class:`int`
        Activations a product and lane to choose from, a power of two.

    Members
    -------
    a : :py:`In(depth * (8 + log2(candidates)))`
        For each product the weight, and above it the selector.
    b : :py:`In(16 * depth * candidates)`
        For each product all candidates of both lanes: byte ``(k * candidates + c) * 2 + lane``.
    scale : :py:`In(data.ArrayLayout(scale_layout, 2))`
        Scale of each lane.
    tag : :py:`In(tag_layout(contexts))`
    drain : :py:`In(range(contexts))`
        Context to show.
    next_a, next_b, next_scale, next_tag, next_drain : Out
        The same for the neighbours.
    data : :py:`Out(64)`
        Totals of the context, 32 bits a lane.
    """

    settle = 3
    """Least cycles from the tag of a last step to the use of its context."""

    def __init__(self, depth: int, contexts: int, candidates: int = 1):
        self.depth = depth
        self.contexts = contexts
        self.candidates = candidates
        shapes = {
            "a":     depth * (8 + exact_log2(candidates)),
            "b":     16 * depth * candidates,
            "scale": data.ArrayLayout(scale_layout, 2),
            "tag":   tag_layout(contexts),
            "drain": range(contexts),
        }
        super().__init__({name: In(shape) for name, shape in shapes.items()}
                         | {f"next_{name}": Out(shape) for name, shape in shapes.items()}
                         | {"data": Out(64)})

    @property
    def module_name(self) -> str:
        """Name of the module that all equal cells share."""
        choice = f"_m{self.candidates}" if self.candidates > 1 else ""
        return f"heddle_cell_d{self.depth}_c{self.contexts}{choice}"

    @staticmethod
    def scale_delay(depth: int, candidates: int = 1) -> int:
        """Return the cycles from the operands of product 0 of a step to its scale."""
        return depth + 2 + (candidates > 1)

    @staticmethod
    def tag_delay(depth: int, candidates: int = 1) -> int:
        """Return the cycles from the operands of product 0 of a step to its tag."""
        return Cell.scale_delay(depth, candidates) + 2

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.cascade = cascade = Cascade(self.depth)
        m.submodules.contexts = contexts = memory.Memory(
            shape=64, depth=self.contexts, init=[], attrs={"ram_style": "distributed"})
        stored = contexts.write_port()
        fetched = contexts.read_port(domain="comb")
        drained = contexts.read_port(domain="comb")

        scale = delay(m, self.scale, name="scale")
        tag = delay(m, self.tag, name="tag")
        done = delay(m, tag, name="done")
        totals = [self._total(m, lane, cascade.sums[lane], scale[lane], tag.first,
                              self.tag.accumulate,
                              fetched.data.word_select(lane, 32).as_signed()) for lane in range(2)]
        next_a, next_b = self._multiply(m, cascade)
        m.d.comb += [
            fetched.addr.eq(self.tag.context),
            stored.addr.eq(done.context),
            stored.data.eq(Cat(totals)),
            stored.en.eq(done.last),
            drained.addr.eq(self.drain),
            self.next_a.eq(next_a),
            self.next_b.eq(next_b),
            self.next_scale.eq(scale),
            self.next_tag.eq(tag),
            self.next_drain.eq(delay(m, self.drain, name="drain")),
            self.data.eq(drained.data),
        ]
        return m

    def _multiply(self, m: Module, cascade: Cascade) -> tuple[Value, Value]:
        """Connect the operands of the cascade; return those for the neighbours."""
        if self.candidates == 1:
            m.d.comb += [cascade.a.eq(self.a), cascade.b.eq(self.b)]
            return cascade.next_a, cascade.next_b
        for k in range(self.depth):
            a = self.a.word_select(k, len(self.a) // self.depth)
            b = self.b.word_select(k, 16 * self.candidates)
            m.d.comb += [
                cascade.a.word_select(k, 8).eq(delay(m, a[:8], name=f"weight_{k}")),
                cascade.b.word_select(k, 16).eq(delay(m, b.word_select(a[8:], 16),
                                                      name=f"chosen_{k}")),
            ]
        return delay(m, self.a, name="a"), delay(m, self.b, name="b")

    @staticmethod
    def _total(m: Module, lane: int, products: Value, scale: data.View, first: Value,
               accumulate: Value, context: Value) -> Value:
        """Return the total of a lane.

        The context and ``accumulate`` come a cycle after the sum of products, ``first`` two.
        """
        fine, coarse = scale.shift[:3], delay(m, scale.shift[3:], name=f"coarse_{lane}")
        shifted = delay(m, (products << 7) >> fine, name=f"shifted_{lane}")
        twice = (shifted << 5) >> (coarse << 3)
        whole = delay(m, twice[1:].as_signed(), name=f"whole_{lane}")
        half = delay(m, twice[0] & delay(m, scale.up, name=f"up_{lane}"), name=f"half_{lane}")
        raised = delay(m, scale["raise"], name=f"raised_{lane}")
        base = delay(m, Mux(accumulate & (raised != 3), context >> (raised << 3), 0),
                     name=f"base_{lane}")
        total = Signal(signed(32), name=f"total_{lane}", reset_less=True)
        # One adder with a carry-in. Its choice of operand fits the LUTs in front of the carries as
        # it is the second one.
        m.d.sync += total.eq((Cat(half, whole).as_signed()
                              + Cat(half, Mux(first, base, total)).as_signed())[1:])
        return total
