"""Segments become steps of the array, one a cycle."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .delay import delay
from .segment import segment_layout

__all__ = ["StepIssuer"]


class StepIssuer(wiring.Component):
    """Issues the steps of segments, one a cycle and back to back.

    A segment starts when its context can take it; from then on it never stops, so the array needs
    no enable and nothing to be held up. Products and scores precede outputs of attention: the way
    of the scores is the longer one, and the slots for their probabilities limit their number.

    Parameters
    ----------
    pool_bits, step_bits, context_bits : :class:`int`
        Widths in a segment.
    ring : :class:`int`
        Contexts that ``fresh`` segments may hold at a time.
    distance : :class:`int`
        Least cycles, at least 2, from the last step of a segment to a step that adds to its
        context.
    entry : :class:`~amaranth.lib.data.StructLayout`
        Layout of an entry of a list (:func:`~heddle.rtl.list_loader.entry_layout`).

    Members
    -------
    i, outputs : :py:`In(stream.Signature(segment_layout(...)))`
        Segments of products and scores, and of outputs. Each stream stays in order.
    entries : :py:`In(stream.Signature(entry))`
        Entries of the steps of the ``listed`` segments. A segment starts when its first one is
        there; the others must come as fast as they are taken.
    step : :py:`Out(1)`
        ``a``, ``b``, ``entry`` and the tag are those of a step.
    a, b : Out
        Addresses of the step's operands; with a list, ``b`` is that of the first step.
    entry : :py:`Out(entry)`
        Where the step departs from ``b``: 0 without a list.
    first, last, accumulate, context : Out
        Tag of the step (see :class:`~heddle.rtl.array.Array`).
    done : :py:`Out(1)`
        The step is the last one of ``segment``.
    segment : Out
        The segment in execution.
    freed : :py:`In(1)`
        The drain is done with the oldest context of the ring.
    full : :py:`Out(1)`
        Nothing but the lack of a context keeps a segment from its start.
    unlisted : :py:`Out(1)`
        Nothing but the lack of its list does.
    """

    def __init__(self, *, pool_bits: int, step_bits: int, context_bits: int, ring: int,
                 distance: int, entry: data.StructLayout):
        self.ring = ring
        self.distance = distance
        self._segment = segment_layout(pool_bits, step_bits, context_bits)
        super().__init__({
            "i":          In(stream.Signature(self._segment)),
            "outputs":    In(stream.Signature(self._segment)),
            "entries":    In(stream.Signature(entry)),
            "step":       Out(1),
            "a":          Out(pool_bits),
            "b":          Out(step_bits),
            "entry":      Out(entry),
            "first":      Out(1),
            "last":       Out(1),
            "accumulate": Out(1),
            "context":    Out(context_bits),
            "done":       Out(1),
            "segment":    Out(self._segment),
            "freed":      In(1),
            "full":       Out(1),
            "unlisted":   Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        segment, upcoming = Signal(self._segment), Signal(self._segment)
        left = Signal(16)
        used = Signal(range(self.ring + 1))
        room, ready, able, able_output = Signal(), Signal(), Signal(), Signal()
        entries, listed, stands = self.entries, Signal(), Signal()
        settled, settled_output = self._settled(m, segment)
        m.d.comb += [
            room.eq(~self.i.p.fresh | (used != self.ring)),
            listed.eq(~self.i.p.listed | entries.valid),
            able.eq(self.i.valid & settled & room & listed),
            able_output.eq(self.outputs.valid & settled_output),
            ready.eq(~self.step | self.last),
            self.i.ready.eq(ready & able),
            self.outputs.ready.eq(ready & able_output & ~able),
            upcoming.eq(Mux(able, self.i.p, self.outputs.p)),
            entries.ready.eq(Mux(ready, able & self.i.p.listed, segment.listed)),
            stands.eq(~self.step & ~self.outputs.valid & self.i.valid),
            self.full.eq(stands & ~room),
            self.unlisted.eq(stands & room & ~listed),
            self.done.eq(self.step & self.last),
            self.accumulate.eq(segment.accumulate),
            self.context.eq(segment.context),
            self.segment.eq(segment),
        ]
        m.d.sync += [used.eq(used + (self.i.ready & self.i.p.fresh) - self.freed),
                     self.entry.eq(Mux(entries.ready, entries.p, 0))]
        with m.If(self.step):
            m.d.sync += [left.eq(left - 1), self.first.eq(0), self.last.eq(left == 2),
                         self.a.eq(self.a + 1), self.b.eq(self.b + ~segment.listed)]
        with m.If(ready & (able | able_output)):
            m.d.sync += [segment.eq(upcoming), self.a.eq(upcoming.a), self.b.eq(upcoming.b),
                         left.eq(upcoming.steps), self.last.eq(upcoming.steps == 1),
                         self.first.eq(1), self.step.eq(1)]
        with m.Elif(self.last):
            m.d.sync += [self.step.eq(0), self.last.eq(0)]
        return m

    def _settled(self, m: Module, segment: data.View) -> list[Value]:
        """Return of each stream whether the context of its segment holds all that was added."""
        last = Signal(data.StructLayout({"done": 1, "context": segment.context.shape()}))
        m.d.comb += [last.done.eq(self.done), last.context.eq(segment.context)]
        recent = [last]
        for n in range(self.distance - 2):
            recent.append(delay(m, recent[-1], name=f"recent_{n}", reset_less=False))
        return [~(offered.p.accumulate
                  & Cat(r.done & (r.context == offered.p.context) for r in recent).any())
                for offered in (self.i, self.outputs)]
