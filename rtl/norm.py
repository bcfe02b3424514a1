"""The engine of NORM: residual sums and normalisation of the rows of tiles in the scratchpad."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .fifo import StreamFifo
from .isa import TOKENS, Opcode, instruction_layout
from .norm_lanes import NormLanes
from .norm_reader import NormReader
from .scratchpad import PoolReader, PoolWriter
from .tokens import Gate, TokenPort

__all__ = ["Norm"]


class Norm(wiring.Component):
    """Executes NORM: a row each cycle as fast as the pool gives the words, in one or two passes.

    A tile begins when all words of the one before are in the pool, and its tokens are given then.

    Parameters
    ----------
    lanes : :class:`int`
        Tokens of a tile.
    pool_bits, word_bits : :class:`int`
        Widths of a pool address and of a pool word.

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout(Opcode.NORM)))`
    tokens : :py:`Out(TokenPort())`
    blocked : :py:`Out(32)`
        Tokens for which the engine waits.
    source : :py:`Out(PoolReader(pool_bits, word_bits))`
    target : :py:`Out(PoolWriter(pool_bits, word_bits))`
    busy : :py:`Out(1)`
        An instruction is in execution.
    retired : :py:`Out(1)`
        High for one cycle at the end of an instruction.
    """

    def __init__(self, *, lanes: int, pool_bits: int, word_bits: int):
        self.vectors = word_bits // (8 * lanes)
        self._reader = NormReader(lanes=lanes, pool_bits=pool_bits, word_bits=word_bits)
        self._lanes = NormLanes(lanes)
        super().__init__({
            "i":       In(stream.Signature(instruction_layout(Opcode.NORM))),
            "tokens":  Out(TokenPort()),
            "blocked": Out(TOKENS),
            "source":  Out(PoolReader(pool_bits, word_bits)),
            "target":  Out(PoolWriter(pool_bits, word_bits)),
            "busy":    Out(1),
            "retired": Out(1),
        })

    @property
    def words_under_way(self) -> int:
        """Words of results that may be in the lanes or on their way to the pool."""
        return self._lanes.latency // self.vectors + 4

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.gate = gate = Gate()
        m.submodules.reader = reader = self._reader
        m.submodules.lanes = lanes = self._lanes
        wiring.connect(m, gate.tokens, wiring.flipped(self.tokens))
        wiring.connect(m, reader.pool, wiring.flipped(self.source))
        job = Signal(instruction_layout(Opcode.NORM))
        tiles = Signal(16)
        begin, ended, pending = Signal(), Signal(), Signal(range(self.words_under_way + 1))
        m.d.comb += [
            gate.header.eq(job.header),
            gate.last.eq(tiles == 1),
            self.blocked.eq(gate.blocked),
            reader.start.eq(gate.granted),
            reader.job.eq(job),
            lanes.job.eq(job),
            begin.eq(gate.granted | lanes.rooted),
        ]
        self._issue(m, job.words, begin, ended, (lanes.second | job.sum), pending)
        self._write(m, begin, Mux(lanes.rooted, job.c, job.s))
        with m.If(begin):
            m.d.sync += lanes.second.eq(lanes.rooted)

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [job.eq(self.i.p), gate.first.eq(1), tiles.eq(self.i.p.count)]
                with m.If(self.i.valid):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += gate.request.eq(1)
                with m.If(gate.granted):
                    m.d.sync += gate.first.eq(0)
                    m.next = "ROWS"
            with m.State("ROWS"):
                with m.If(ended & (lanes.second | ~job.norm)):
                    m.next = "WRITE"
            with m.State("WRITE"):
                with m.If(~pending.any()):
                    m.d.comb += [gate.done.eq(1), self.retired.eq(gate.last)]
                    m.d.sync += [tiles.eq(tiles - 1), *(
                        job[name].eq(job[name] + job[f"{name}_stride"]) for name in "xosc")]
                    m.next = "WAIT"
                    with m.If(gate.last):
                        m.next = "IDLE"
        return m

    def _issue(self, m: Module, words: Value, begin: Value, ended: Value, stored: Value,
               pending: Signal) -> None:
        """Send the rows of a pass through the lanes, as long as there is room for their results."""
        lanes, groups = self._lanes, self._reader.groups
        group = Signal.like(groups.p, reset_less=True)
        left, rows = Signal(16), Signal(range(self.vectors + 1))
        place = Signal(range(self.vectors), reset_less=True)
        taken = groups.valid & groups.ready
        m.d.comb += [
            groups.ready.eq(left.any() & (rows <= 1)
                            & ~(stored & (pending == self.words_under_way))),
            lanes.valid.eq(rows.any()),
            lanes.last.eq((rows == 1) & ~left.any()),
            ended.eq(lanes.valid & lanes.last),
            *(row.eq(group[name].word_select(place, len(row)))
              for name in group.shape().members for row in [lanes.row[name]]),
        ]
        with m.If(lanes.valid):
            m.d.sync += [lanes.first.eq(0), rows.eq(rows - 1), place.eq(place + 1)]
        with m.If(taken):
            m.d.sync += [group.eq(groups.p), left.eq(left - 1), rows.eq(self.vectors), place.eq(0)]
        with m.If(begin):
            m.d.sync += [lanes.first.eq(1), left.eq(words)]
        gone = self.target.request.valid & self.target.request.ready
        m.d.sync += pending.eq(pending + (taken & stored) - gone)

    def _write(self, m: Module, begin: Value, place: Value) -> None:
        """Put the rows that come out of the lanes together to words, and queue these."""
        lanes, request = self._lanes, self.target.request
        m.submodules.results = queue = StreamFifo(request.p.shape(), depth=self.words_under_way)
        wiring.connect(m, queue.o, wiring.flipped(request))
        rows = Signal(range(self.vectors))
        data = queue.i.p.data
        before = Signal.like(data, reset_less=True)
        m.d.comb += [
            data.eq(Cat(before, lanes.result)[len(lanes.result):]),
            queue.i.valid.eq(lanes.stored & (rows == self.vectors - 1)),
        ]
        addr = Signal.like(request.p.addr, reset_less=True)
        m.d.comb += queue.i.p.addr.eq(addr)
        with m.If(lanes.stored):
            m.d.sync += [before.eq(data), rows.eq(Mux(queue.i.valid, 0, rows + 1)),
                         addr.eq(addr + queue.i.valid)]
        with m.If(begin):
            m.d.sync += [rows.eq(0), addr.eq(place)]
