"""The transfer engines: LOAD from DRAM to the scratchpad, STORE back, over several AXI ports."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .axi import Axi4Read, Axi4Write
from .dealer import Dispatch
from .dma_read import ReadBuffer, ReadMerge, ReadPort, burst_layout
from .dma_write import Gather, WritePort
from .fifo import StreamFifo
from .isa import TOKENS, Opcode, instruction_layout
from .scratchpad import PoolReader, PoolWriter
from .tokens import TokenPort

__all__ = ["Load", "Store", "error_layout"]


def error_layout(address_bits: int) -> data.StructLayout:
    """A failed burst, if ``valid``: its AXI ``response``, ``port``, and first ``address``.

    If several ports meet a failure in the same cycle, it is that of the lowest one.
    """
    return data.StructLayout({"valid": 1, "response": 2, "port": 2, "address": address_bits})


def _members(ports: int, address_bits: int) -> dict[str, wiring.Member]:
    return {
        "i":       In(stream.Signature(instruction_layout(Opcode.LOAD))),
        "tokens":  Out(TokenPort()),
        "blocked": Out(TOKENS),
        "base":    In(address_bits),
        "stop":    In(1),
        "idle":    Out(1),
        "busy":    Out(1),
        "retired": Out(1),
        "beats":   Out(range(ports + 1)),
        "error":   Out(error_layout(address_bits)),
    }


def _connect(m: Module, engine: Load | Store, dispatch: Dispatch,
             ports: list[ReadPort] | list[WritePort], transferred: list[Value]) -> None:
    """Connect what both engines have in common; ``transferred`` tells the beats of each port."""
    for name in ("i", "tokens"):
        inner, outer = getattr(dispatch, name), wiring.flipped(getattr(engine, name))
        wiring.connect(m, inner, outer)
    m.d.comb += [
        dispatch.base.eq(engine.base),
        engine.blocked.eq(dispatch.blocked),
        engine.busy.eq(dispatch.busy),
        engine.retired.eq(dispatch.retired),
        engine.idle.eq(Cat(port.idle for port in ports).all()),
    ]
    m.d.sync += [engine.beats.eq(sum(transferred)), engine.error.valid.eq(0)]
    for n, port in reversed(list(enumerate(ports))):
        m.d.comb += port.stop.eq(engine.stop)
        wiring.connect(m, port.axi, wiring.flipped(engine.axi[n]))
        with m.If(port.failed):
            m.d.sync += engine.error.eq(Cat(1, port.response, Const(n, 2), port.address))


class Load(wiring.Component):
    """Executes LOAD, and reads the program.

    Bursts end at multiples of their greatest length. They are dealt to the ports as these have
    room for them, so their words may reach the pool in any order; the tokens of an iteration are
    given when all its words have been accepted. The next iteration and the next instruction begin
    while the data of those before are still in flight. An instruction without iterations, rows or
    words waits for its tokens and gives them once.

    A failed burst is reported before the tokens of its iteration are given. Its data are written as
    they come, and the engine runs on; it is for its user to raise ``stop``.

    Parameters
    ----------
    ports : :class:`int`
        AXI ports; a power of two.
    address_bits, pool_bits : :class:`int`
        Widths of an AXI address and of a scratchpad address.
    word_bytes, beat_bytes : :class:`int`
        Bytes of a word and of a beat; powers of two.
    burst_beats : :class:`int`
        Beats of the longest burst; at least one word, at most 4 KB.
    outstanding : :class:`int`
        Bursts in flight on each port.

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout(Opcode.LOAD)))`
    tokens : :py:`Out(TokenPort())`
    blocked : :py:`Out(32)`
        Tokens for which the engine waits.
    base : :py:`In(address_bits)`
        Address of the DRAM image; a multiple of a word.
    pool : :py:`Out(PoolWriter(pool_bits, 8 * word_bytes))`
    fetch : :py:`In(stream.Signature(burst_layout(address_bits)))`
        Bursts of the program, which do not cross a multiple of the longest burst.
    fetched : :py:`Out(stream.Signature(8 * beat_bytes))`
        Their beats in order. They must be taken at once: whoever asks for them has room.
    axi : :py:`Out(Axi4Read(...)).array(ports)`
    stop : :py:`In(1)`
        Begin no further burst.
    idle : :py:`Out(1)`
        No burst is in flight. After ``stop`` the engine may be reset when ``idle`` is high.
    busy : :py:`Out(1)`
        An instruction is under way.
    retired : :py:`Out(1)`
        High for one cycle when an instruction is completed, tokens included.
    beats : Out
        Beats transferred, a cycle later.
    error : :py:`Out(error_layout(address_bits))`
    """

    def __init__(self, ports: int, *, address_bits: int, pool_bits: int, word_bytes: int,
                 beat_bytes: int, burst_beats: int, outstanding: int):
        burst_words = burst_beats * beat_bytes // word_bytes
        self._port = {"address_bits": address_bits, "beat_bytes": beat_bytes,
                      "outstanding": outstanding}
        self._burst = {"address_bits": address_bits, "pool_bits": pool_bits,
                       "word_bytes": word_bytes, "burst_words": burst_words}
        super().__init__(_members(ports, address_bits) | {
            "pool":    Out(PoolWriter(pool_bits, 8 * word_bytes)),
            "fetch":   In(stream.Signature(burst_layout(address_bits))),
            "fetched": Out(stream.Signature(8 * beat_bytes)),
            "axi":     Out(Axi4Read(address_bits, beat_bytes)).array(ports),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        count, outstanding = len(self.axi), self._port["outstanding"]
        m.submodules.dispatch = dispatch = Dispatch(count, **self._burst,
                                                    iterations=count * outstanding)
        m.submodules.merge = merge = ReadMerge(count, pool_bits=self._burst["pool_bits"],
                                               word_bits=8 * self._burst["word_bytes"])
        # Room for two bursts more than are in flight, while their words wait for the pool.
        depth = 1 << ((outstanding + 2) * self._burst["burst_words"] - 1).bit_length()
        ports = []
        for n in range(count):
            m.submodules[f"buffer_{n}"] = buffer = ReadBuffer(
                **self._burst, beat_bytes=self._port["beat_bytes"], depth=depth)
            m.submodules[f"port_{n}"] = port = ReadPort(**self._port)
            wiring.connect(m, dispatch.o[n], buffer.i)
            wiring.connect(m, buffer.o, merge.i[n])
            if n > 0:
                wiring.connect(m, buffer.request, port.request)
            else:
                self._share(m, buffer, port)
            m.d.comb += [buffer.valid.eq(port.valid & ~port.fetched), buffer.data.eq(port.data)]
            ports.append(port)
        wiring.connect(m, merge.pool, wiring.flipped(self.pool))
        m.d.comb += dispatch.passed.eq(merge.passed)
        _connect(m, self, dispatch, ports, [axi.rvalid for axi in self.axi])
        return m

    def _share(self, m: Module, buffer: ReadBuffer, port: ReadPort) -> None:
        """Let bursts of the program through the port, too."""
        m.submodules.fetches = fetches = StreamFifo(self.fetch.p.shape(), depth=2)
        wiring.connect(m, wiring.flipped(self.fetch), fetches.i)
        m.d.comb += [
            port.fetch.eq(fetches.o.valid),
            fetches.o.ready.eq(port.fetching),
            port.request.valid.eq(buffer.request.valid),
            port.request.p.eq(Mux(buffer.request.valid, buffer.request.p, fetches.o.p)),
            buffer.request.ready.eq(port.request.ready),
            self.fetched.valid.eq(port.valid & port.fetched),
            self.fetched.payload.eq(port.data),
        ]


class Store(wiring.Component):
    """Executes STORE.

    As :class:`Load`, in the other direction. A burst begins when all its words have been read from
    the pool. The tokens of an iteration are given when all its bursts have been answered; then the
    words may be read from DRAM, and their place in the pool may be written again.

    A failed burst is reported before the tokens of its iteration are given.

    Parameters
    ----------
    ports, address_bits, pool_bits, word_bytes, beat_bytes, burst_beats, outstanding : :class:`int`
        As of :class:`Load`.
    latency : :class:`int`
        Cycles from a pool request to its word; sizes the queue of requests under way.

    Members
    -------
    pool : :py:`Out(PoolReader(pool_bits, 8 * word_bytes))`
    axi : :py:`Out(Axi4Write(...)).array(ports)`
    i, tokens, blocked, base, stop, idle, busy, retired, beats, error
        As of :class:`Load`.
    """

    def __init__(self, ports: int, *, address_bits: int, pool_bits: int, word_bytes: int,
                 beat_bytes: int, burst_beats: int, outstanding: int, latency: int):
        burst_words = burst_beats * beat_bytes // word_bytes
        self._burst = {"address_bits": address_bits, "pool_bits": pool_bits,
                       "word_bytes": word_bytes, "burst_words": burst_words}
        self._port = self._burst | {"beat_bytes": beat_bytes, "outstanding": outstanding}
        # A burst has room for its words in the port, and there is one word at least.
        self._gather = Gather(ports, pool_bits=pool_bits, word_bits=8 * word_bytes,
                              burst_words=burst_words, latency=latency,
                              bursts=ports * WritePort.BURSTS * burst_words)
        super().__init__(_members(ports, address_bits) | {
            "pool": Out(PoolReader(pool_bits, 8 * word_bytes)),
            "axi":  Out(Axi4Write(address_bits, beat_bytes)).array(ports),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        count = len(self.axi)
        m.submodules.dispatch = dispatch = Dispatch(
            count, **self._burst, iterations=count * self._port["outstanding"])
        m.submodules.gather = gather = self._gather
        wiring.connect(m, gather.pool, wiring.flipped(self.pool))
        ports = []
        for n, item in enumerate(dispatch.o):
            m.submodules[f"port_{n}"] = port = WritePort(**self._port)
            m.d.comb += [
                item.ready.eq(port.i.ready),
                port.i.valid.eq(item.valid),
                port.i.p.eq(item.p),
                port.valid.eq(gather.valid[n]),
                port.last.eq(gather.last),
                port.data.eq(self.pool.data),
                dispatch.passed[n].eq(port.passed),
            ]
            with m.If(item.valid & ~item.p.end):
                m.d.comb += [gather.i.valid.eq(1), gather.i.p.port.eq(n),
                             gather.i.p.pool.eq(item.p.pool), gather.i.p.words.eq(item.p.words)]
            ports.append(port)
        _connect(m, self, dispatch, ports, [axi.wvalid & axi.wready for axi in self.axi])
        return m
