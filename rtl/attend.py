"""Executes ATTEND: key tiles become segments, once for scores and later once for outputs."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .fifo import StreamFifo
from .isa import TOKENS, Opcode, instruction_layout
from .output_walker import OutputWalker
from .score_walker import ScoreWalker
from .segment import segment_layout
from .tokens import TokenPort

__all__ = ["Attend"]


class Attend(wiring.Component):
    """The ATTEND engine: both walkers, and the runs on their way from the first to the second.

    A *slot* holds the probabilities of a key tile; scores are only asked for when one is free for
    them. Slots are filled and used in the order of the tiles.

    Parameters
    ----------
    pool_bits, step_bits : :class:`int`
        Widths in a segment.
    contexts : :class:`int`
        Contexts of the array, from 4 up; the upper half holds outputs.
    slots : :class:`int`
        Slots of probabilities; a power of two.
    tile_steps : :class:`int`
        Steps of probabilities in a slot; a power of two.

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout(Opcode.ATTEND)))`
    tokens : :py:`Out(TokenPort())`
        Only taken from: the tokens to give travel with the last segment.
    blocked : :py:`Out(32)`
        Tokens for which the next instruction waits, or the values of an earlier one.
    scores : :py:`Out(stream.Signature(segment_layout(...)))`
        Segments whose totals go to the softmax; their context is filled in later.
    outputs : :py:`Out(stream.Signature(segment_layout(...)))`
        Segments that add to outputs.
    ready : :py:`In(1)`
        The probabilities of another tile may be read by steps from now on.
    released : :py:`In(1)`
        The last step on a slot was issued.
    emptied : :py:`In(1)`
        The oldest output was drained.
    starved : :py:`Out(1)`
        Outputs wait for probabilities, and there is no slot or no tile for further scores.
    full : :py:`Out(1)`
        Outputs wait for an older one to be drained.
    busy : :py:`Out(1)`
        An instruction is in execution.
    retired : :py:`Out(1)`
        High for one cycle when the last segment of an instruction is out.
    """

    def __init__(self, *, pool_bits: int, step_bits: int, contexts: int, slots: int,
                 tile_steps: int):
        sizes = {"pool_bits": pool_bits, "step_bits": step_bits, "slots": slots}
        context_bits = (contexts - 1).bit_length()
        segment = segment_layout(pool_bits, step_bits, context_bits)
        self.slots = slots
        self._scores = ScoreWalker(**sizes, context_bits=context_bits)
        self._outputs = OutputWalker(**sizes, contexts=contexts, tile_steps=tile_steps)
        super().__init__({
            "i":        In(stream.Signature(instruction_layout(Opcode.ATTEND))),
            "tokens":   Out(TokenPort()),
            "blocked":  Out(TOKENS),
            "scores":   Out(stream.Signature(segment)),
            "outputs":  Out(stream.Signature(segment)),
            "ready":    In(1),
            "released": In(1),
            "emptied":  In(1),
            "starved":  Out(1),
            "full":     Out(1),
            "busy":     Out(1),
            "retired":  Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.scores = scores = self._scores
        m.submodules.outputs = outputs = self._outputs
        # A run has a tile at least, so no more of them wait than there are slots.
        m.submodules.runs = runs = StreamFifo(scores.run.p.shape(), depth=self.slots)
        wiring.connect(m, wiring.flipped(self.i), scores.i)
        wiring.connect(m, scores.run, runs.i)
        wiring.connect(m, runs.o, outputs.i)
        wiring.connect(m, scores.o, wiring.flipped(self.scores))
        wiring.connect(m, outputs.o, wiring.flipped(self.outputs))
        m.d.comb += [
            scores.released.eq(self.released),
            outputs.ready.eq(self.ready),
            outputs.emptied.eq(self.emptied),
            scores.tokens.available.eq(self.tokens.available),
            outputs.tokens.available.eq(self.tokens.available),
            self.tokens.take.eq(scores.tokens.take | outputs.tokens.take),
            self.blocked.eq(scores.blocked | outputs.blocked),
            self.starved.eq(outputs.starved & ~scores.o.valid),
            self.full.eq(outputs.full),
            self.busy.eq(scores.busy | runs.any | outputs.busy),
            self.retired.eq(outputs.retired),
        ]
        return m
