# amaranth: UnusedElaboratable=no
"""Frames from a host, byte by byte, against the registers and a memory."""

import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.sim import Simulator

from heddle.rtl.frames import IDENTITY, WORDS, Space, Status
from heddle.rtl.link import Link
from heddle.rtl.registers import ADDRESS_BITS, OFFSETS, Registers
from heddle.runtime.frames import Answer, FrameError, Request
from heddle.sim.word_memory import WordMemory

SIZE = 4096
SILENCE = 50


class _System(wiring.Component):
    def __init__(self):
        super().__init__({})
        self.link = Link(size=SIZE, silence=SILENCE)
        self.registers = Registers()
        self.starts = Signal(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = self.link
        m.submodules.registers = self.registers
        m.submodules.memory = block = WordMemory(size=SIZE, pace=3)
        wiring.connect(m, self.link.registers, self.registers.bus)
        wiring.connect(m, self.link.memory, block.port)
        m.d.comb += self.registers.id.eq(0x1234_5678)
        m.d.sync += self.starts.eq(self.starts + self.registers.control_start)
        return m


class _Host:
    """Talks to a link over its streams."""

    def __init__(self, ctx, system):
        self.ctx = ctx
        self.link = system.link
        self.system = system

    async def send(self, data, broken=()):
        ctx, port = self.ctx, self.link.i
        for n, byte in enumerate(data):
            ctx.set(port.payload, {"value": byte, "broken": n in broken})
            ctx.set(port.valid, 1)
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(port.ready)
        ctx.set(port.valid, 0)

    async def take(self, count):
        """Return the next bytes; fewer if none comes for longer than the link ever needs."""
        ctx, port = self.ctx, self.link.o
        found, quiet = bytearray(), 0
        ctx.set(port.ready, 1)
        while len(found) < count and quiet < 2 * SILENCE + 10 * WORDS * (not found):
            _, _, valid, byte = await ctx.tick().sample(port.valid, port.payload)
            quiet = 0 if valid else quiet + 1
            if valid:
                found.append(byte)
        ctx.set(port.ready, 0)
        return bytes(found)

    async def answer(self, words=0):
        taken = await self.take(7 + 4 * words)
        position = 0

        def read(count):
            nonlocal position
            position += count
            return taken[position - count:position]

        return Answer.receive(read)

    async def ask(self, request, tag=1):
        await self.send(request.encode(tag))
        return await self.answer(0 if request.data is not None else request.words)


def _run(bench):
    system = _System()
    simulator = Simulator(system)
    simulator.add_clock(1e-6)

    async def testbench(ctx):
        await bench(_Host(ctx, system))

    simulator.add_testbench(testbench)
    simulator.run()


def test_registers_are_written_and_read():
    async def bench(host):
        value = 0xCAFE_0123.to_bytes(4, "little")
        wrote = await host.ask(Request(Space.REGISTERS, OFFSETS["PROGRAM"], 1, value), 7)
        assert wrote == Answer(7, Status.OK, b"")
        assert host.ctx.get(host.system.registers.program) == 0xCAFE_0123
        assert (await host.ask(Request(Space.REGISTERS, OFFSETS["PROGRAM"], 1))).data == value
        both = await host.ask(Request(Space.REGISTERS, OFFSETS["ID"], 2))
        assert both.data == 0x1234_5678.to_bytes(8, "little")

    _run(bench)


def test_memory_is_written_and_read_up_to_its_end():
    content = random.Random(0).randbytes(4 * WORDS)

    async def bench(host):
        for address, words in (0, 1), (SIZE - 4 * WORDS, WORDS), (8, 3):
            data = content[:4 * words]
            wrote = await host.ask(Request(Space.MEMORY, address, words, data), words % 256)
            assert wrote == Answer(words % 256, Status.OK, b"")
            assert (await host.ask(Request(Space.MEMORY, address, words))).data == data
        assert (await host.ask(Request(Space.MEMORY, 0, 1))).data == content[:4]

    _run(bench)


def test_the_link_tells_its_version_and_the_size_of_the_memory():
    async def bench(host):
        answer = await host.ask(Request(Space.LINK, 0, 2))
        assert answer.data == IDENTITY.to_bytes(4, "little") + SIZE.to_bytes(4, "little")
        assert (await host.ask(Request(Space.LINK, 4, 1))).data == SIZE.to_bytes(4, "little")

    _run(bench)


@pytest.mark.parametrize("request_", [
    Request(Space.MEMORY, SIZE - 4, 2),
    Request(Space.MEMORY, 0xFFFF_FFFC, 2),
    Request(Space.MEMORY, 2, 1),
    Request(Space.REGISTERS, 1 << ADDRESS_BITS, 1),
    Request(Space.LINK, 8, 1),
    Request(Space.LINK, 0, 1, bytes(4)),
    Request(3, 0, 1),
    Request(4, 0, 1),
], ids=str)
def test_what_does_not_exist_is_refused(request_):
    async def bench(host):
        await host.send(request_.encode(3))
        assert await host.answer() == Answer(3, Status.REFUSED, b"")
        assert (await host.ask(Request(Space.LINK, 0, 1))).status == Status.OK

    _run(bench)


def _broken():
    good = Request(Space.MEMORY, 0, 2, bytes(range(8))).encode(9)
    yield "a flipped bit of the data", bytes([*good[:10], good[10] ^ 1, *good[11:]]), ()
    yield "a flipped bit of the address", bytes([*good[:5], good[5] ^ 16, *good[6:]]), ()
    yield "too many words", bytes([*good[:3], 0xFF, 0xFF, *good[5:]]), ()
    yield "no words", bytes([*good[:3], 0, 0, *good[5:]]), ()
    yield "another first byte", bytes([0x47, *good[1:]]), ()
    yield "a byte too few", good[:-1], ()
    yield "only the first byte", good[:1], ()
    yield "a byte whose stop bit is low", good, (12,)
    yield "a first byte whose stop bit is low", good, (0,)
    yield "a last byte whose stop bit is low", good, (len(good) - 1,)
    yield "noise", random.Random(1).randbytes(40), ()


@pytest.mark.parametrize(("frame", "marks"), [case[1:] for case in _broken()],
                         ids=[case[0] for case in _broken()])
def test_what_is_no_request_is_answered_and_changes_nothing(frame, marks):
    async def bench(host):
        before = bytes(range(100, 132))
        assert (await host.ask(Request(Space.MEMORY, 0, 8, before))).status == Status.OK
        await host.send(frame, marks)
        assert (await host.answer()).status == Status.BROKEN
        await host.ctx.tick().repeat(2 * SILENCE)
        assert not host.ctx.get(host.link.o.valid)  # answered once
        assert (await host.ask(Request(Space.MEMORY, 0, 8))).data == before

    _run(bench)


def test_the_same_write_twice_in_a_row_is_carried_out_once():
    start = Request(Space.REGISTERS, OFFSETS["CONTROL"], 1, (1).to_bytes(4, "little"))

    async def bench(host):
        for tag, starts in (5, 1), (5, 1), (6, 2), (5, 3):
            assert await host.ask(start, tag) == Answer(tag, Status.OK, b"")
            assert host.ctx.get(host.system.starts) == starts
        await host.ask(Request(Space.LINK, 0, 1), 5)
        await host.ask(start, 5)
        assert host.ctx.get(host.system.starts) == 4

    _run(bench)


def test_random_noise_never_hangs_it():
    rng = random.Random(2)
    request = Request(Space.LINK, 0, 1)

    async def bench(host):
        for _ in range(10):
            noise = bytearray(request.encode(1) + rng.randbytes(rng.randrange(12)))
            noise[rng.randrange(len(noise))] = rng.randrange(256)
            host.ctx.set(host.link.o.ready, 1)
            await host.send(noise)
            await host.take(1000)
            assert (await host.ask(request)).data == IDENTITY.to_bytes(4, "little")

    _run(bench)


@pytest.mark.parametrize(("frame", "message"), [
    (b"", "An answer must begin with 0x44 and have at least 7 bytes, not be nothing"),
    (b"\x48\0\0\0\0\0\0", "not be 48 00 00 00 00"),
    (b"\x44\0\0\1\1\0\0", "An answer must have at most 256 words, not 257"),
    (b"\x44\0\0\0\0\0\0", "The CRC of an answer must be right, and it is not"),
])
def test_what_is_no_answer_says_why(frame, message):
    position = 0

    def read(count):
        nonlocal position
        position += count
        return frame[position - count:position]

    with pytest.raises(FrameError, match=message):
        Answer.receive(read)


def test_a_request_has_words_and_their_bytes():
    with pytest.raises(ValueError, match="must be for 1 to 256 words, not 257"):
        Request(Space.MEMORY, 0, 257)
    with pytest.raises(ValueError, match="write 2 words must have 8 bytes, not 4"):
        Request(Space.MEMORY, 0, 2, bytes(4))
