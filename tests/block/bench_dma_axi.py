"""cocotb bench of the transfer engines: copies through the scratchpad between AXI memories."""

import json
import os
import random
from collections import deque

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiRam

from heddle.rtl.dma import error_layout
from heddle.rtl.dma_read import burst_layout
from heddle.rtl.geometry import Geometry
from heddle.rtl.isa import Opcode, Queue, instruction_layout, token

G = Geometry.from_dict(json.loads(os.environ["HEDDLE_GEOMETRY"]))
SIZE = 1 << 18
BASE = (1 << G.address_bits - 1) + 3 * G.word_bytes
FULL, EMPTY = token(Queue.LOAD, Queue.STORE), token(Queue.STORE, Queue.LOAD)


class Ram(AxiRam):
    """A memory that answers with SLVERR between two addresses."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.broken = range(0)
        self.read_if._read, self.write_if._write = self._read, self._write

    async def _read(self, address, length):
        if address % SIZE in self.broken:
            raise OSError
        return self.read(address % SIZE, length)

    async def _write(self, address, data):
        if address % SIZE in self.broken:
            raise OSError
        self.write(address % SIZE, data)


class Bench:
    """The design, its memories with one content, and monitors of the address channels."""

    def __init__(self, dut, seed, pause):
        self.dut, self.rng = dut, random.Random(seed)
        self.memory = bytearray(self.rng.randbytes(SIZE))
        self.bursts = {"ar": [], "aw": []}
        self.errors = {"read": [], "write": []}
        self.retired = [0, 0]
        self.fetched = []
        self.queues = {"load": deque(), "store": deque(), "fetch": deque()}
        Clock(dut.clk, 10, unit="ns").start()
        self.rams = [Ram(AxiBus.from_prefix(dut, f"m_axi_{n}"), dut.clk, mem=self.memory)
                     for n in range(G.dma_ports)]
        for ram in self.rams:
            for channel in (ram.read_if.ar_channel, ram.read_if.r_channel, ram.write_if.aw_channel,
                            ram.write_if.w_channel, ram.write_if.b_channel):
                channel.set_pause_generator(self.pauses(pause))

    def pauses(self, chance):
        while True:
            yield self.rng.random() < chance

    async def start(self):
        dut = self.dut
        dut.base.value, dut.stop.value, dut.fetched_ready.value = BASE, 0, 1
        for name in self.queues:
            getattr(dut, f"{name}_valid").value = 0
        await self.reset()
        for name, queue in self.queues.items():
            cocotb.start_soon(self.feed(name, queue))
        cocotb.start_soon(self.monitor())

    async def reset(self):
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 10)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def feed(self, name, queue):
        valid, ready = (getattr(self.dut, f"{name}_{signal}") for signal in ("valid", "ready"))
        while True:
            if queue:
                getattr(self.dut, f"{name}_payload").value = queue.popleft()
                valid.value = 1
                await RisingEdge(self.dut.clk)
                while not ready.value:
                    await RisingEdge(self.dut.clk)
                valid.value = 0
            await RisingEdge(self.dut.clk)

    async def monitor(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            for n in range(G.dma_ports):
                for channel in ("ar", "aw"):
                    def port(name, prefix=f"m_axi_{n}_{channel}"):
                        return int(getattr(dut, prefix + name).value)
                    if port("valid") and port("ready"):
                        self.check(channel, port)
            for kind in ("read", "write"):
                bits = int(getattr(dut, f"{kind}_error").value)
                error = error_layout(G.address_bits).from_bits(bits)
                if error.valid:
                    self.errors[kind].append((error.response, error.address))
            for n in range(2):
                self.retired[n] += int(dut.retired.value) >> n & 1
            if dut.fetched_valid.value:
                self.fetched.append(int(dut.fetched_payload.value))

    def check(self, channel, port):
        address, size = port("addr"), (port("len") + 1) * G.dma_bytes
        assert port("burst") == 1
        assert 1 << port("size") == G.dma_bytes
        assert (port("cache"), port("prot"), port("id")) == (0b0011, 0, 0)
        assert address % G.dma_bytes == 0
        assert size <= G.burst_bytes
        assert address // G.burst_bytes == (address + size - 1) // G.burst_bytes
        assert address // 4096 == (address + size - 1) // 4096
        self.bursts[channel].append((address, size))

    def copy(self, source, target, *, pool=5, count, rows, words, gap):
        """Queue a copy that passes through four places in the scratchpad in turn.

        Return the offsets of source and target of each word.
        """
        fields = {"pool": pool, "count": count, "rows": rows, "words": words, "ring": 4,
                  "pool_stride": rows * words, "pool_row_stride": words,
                  "dram_row_stride": words * G.word_bytes,
                  "dram_stride": (rows * words + gap) * G.word_bytes}
        for queue, opcode, dram, wait, post in (
                ("load", Opcode.LOAD, source, EMPTY, FULL),
                ("store", Opcode.STORE, target, FULL, EMPTY)):
            header = {"opcode": opcode, "waits": [{"token": wait, "each": 1}, {}, {}],
                      "posts": [{"token": post, "each": 1}, {}, {}]}
            job = instruction_layout(opcode).const({"header": header, "dram": dram, **fields})
            self.queues[queue].append(job.as_bits())
        return [((source + (n * (rows * words + gap) + w) * G.word_bytes),
                 (target + (n * (rows * words + gap) + w) * G.word_bytes))
                for n in range(count) for w in range(rows * words)]

    def fill_ring(self):
        """Post the tokens of four empty places: a store of no rows gives its token once."""
        for _ in range(4):
            header = {"opcode": Opcode.STORE, "waits": [{}] * 3,
                      "posts": [{"token": EMPTY, "each": 0}, {}, {}]}
            self.queues["store"].append(
                instruction_layout(Opcode.STORE).const({"header": header}).as_bits())

    def at(self, offset):
        return (BASE + offset) % SIZE

    def word(self, offset):
        return self.memory[self.at(offset):self.at(offset) + G.word_bytes]

    async def until_retired(self, loads, stores, limit=40_000):
        for _ in range(limit):
            if self.retired == [loads, stores]:
                return
            await RisingEdge(self.dut.clk)
        raise AssertionError(f"only {self.retired} of {[loads, stores]} retired")


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(pause=[0.0, 0.3, 0.8])
async def copies(dut, pause):
    """Copies of many shapes, and the program's bursts beside them."""
    bench = Bench(dut, f"copies {pause}", pause)
    await bench.start()
    bench.fill_ring()
    before, pairs = bytes(bench.memory), []
    shapes = [(1, 1, 1), (3, 1, 20), (9, 2, 5), (5, 7, 1), (2, 1, 28)]
    for n, (count, rows, words) in enumerate(shapes):
        place = n * 200 * G.word_bytes
        pairs += bench.copy(place, SIZE // 2 + place, pool=200 * n + 5, count=count, rows=rows,
                            words=words, gap=bench.rng.randrange(4))
    program = (BASE // 4096 + 10) * 4096
    for n in range(8):
        bench.queues["fetch"].append(burst_layout(G.address_bits).const(
            {"address": program + n * G.burst_bytes, "beats": G.burst_beats - 1}).as_bits())
    await bench.until_retired(len(shapes), len(shapes) + 4)
    at, length = program % SIZE, 8 * G.burst_bytes
    assert b"".join(beat.to_bytes(G.dma_bytes, "little") for beat in bench.fetched) == (
        before[at:at + length])
    wanted = bytearray(before)
    for source, target in pairs:
        wanted[bench.at(target):bench.at(target) + G.word_bytes] = before[
            bench.at(source):bench.at(source) + G.word_bytes]
    assert bench.memory == wanted
    assert not bench.errors["read"]
    assert not bench.errors["write"]
    for channel, extra in ("ar", length), ("aw", 0):
        assert sum(size for _, size in bench.bursts[channel]) == len(pairs) * G.word_bytes + extra


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def errors(dut):
    """The bursts that fail are told, and the engines run to the end."""
    bench = Bench(dut, "errors", 0.2)
    await bench.start()
    bench.fill_ring()
    first, target = bench.at(4 * G.burst_bytes), SIZE // 2
    for ram in bench.rams:
        ram.broken = range(first, first + G.burst_bytes)
    bench.copy(0, target, count=4, rows=1, words=20, gap=0)
    bench.copy(target, 0, count=4, rows=1, words=20, gap=0)
    await bench.until_retired(2, 6)
    for kind, channel in ("read", "ar"), ("write", "aw"):
        assert bench.errors[kind]
        failing = {address for address, size in bench.bursts[channel]
                   if address % SIZE < first + G.burst_bytes and address % SIZE + size > first}
        assert {address for _, address in bench.errors[kind]} == failing
        assert {response for response, _ in bench.errors[kind]} == {2}


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_in_mid_run(dut):
    """After stop and idle a reset leaves neither engines nor memories with half a burst."""
    bench = Bench(dut, "reset", 0.3)
    await bench.start()
    for delay in (37, 90, 141):
        bench.fill_ring()
        bench.copy(0, SIZE // 2, count=60, rows=1, words=20, gap=0)
        await ClockCycles(dut.clk, delay)
        dut.stop.value = 1
        await ClockCycles(dut.clk, 2)
        while not dut.idle.value:
            await RisingEdge(dut.clk)
        bursts = {channel: len(seen) for channel, seen in bench.bursts.items()}
        await ClockCycles(dut.clk, 30)
        assert bursts == {channel: len(seen) for channel, seen in bench.bursts.items()}
        await bench.reset()
        dut.stop.value = 0
    done = bench.retired[1] + 5
    bench.fill_ring()
    pairs = bench.copy(8 * G.word_bytes, SIZE // 2, count=6, rows=1, words=20, gap=1)
    await bench.until_retired(1, done)
    for source, target in pairs:
        assert bench.word(target) == bench.word(source)
