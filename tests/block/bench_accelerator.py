"""cocotb bench of the accelerator: a product of matrices over AXI models, runs cut short."""

import mmap
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from heddle.assembler import assemble, encode
from heddle.rtl.geometry import PRESETS
from heddle.rtl.registers import REGISTERS
from heddle.sim import golden, layouts

G = PRESETS["tiny"]
BASE = 0x1000
OFFSET = {register.name: register.offset for register in REGISTERS}
START, INTERRUPT_ENABLE, RESET = 1, 2, 4
DONE, ERROR, INTERRUPT = 2, 4, 8
K, OUTPUTS, TOKENS = 24, 8, 8
STEPS, BLOCKS, TILES = K // G.depth, OUTPUTS // G.rows, TOKENS // G.lanes
X_WORDS, SLOT = STEPS * G.step_words, STEPS + G.channel_words
X, W, Y = 1024, 2048, 3072

PROGRAM = f"""
LOAD dram={X} pool=0 count={TILES} rows=1 words={X_WORDS} dram_stride={X_WORDS * G.word_bytes} \
 pool_stride={X_WORDS} post=LOAD>FILL.0*
FILL pool=0 pool_stride={X_WORDS} operand=0 stride={STEPS} count={TILES} steps={STEPS} \
 wait=LOAD>FILL.0* post=FILL>COMPUTE.0
LOAD dram={W} pool=100 count={BLOCKS} rows=1 words={SLOT} dram_stride={SLOT * G.word_bytes} \
 pool_stride={SLOT} post=LOAD>COMPUTE.0*
MATMUL a=100 a_stride={SLOT} b_stride={STEPS} blocks={BLOCKS} tiles={TILES} steps={STEPS} \
 c=200 c_stride={G.tile_words} c_tile_stride={BLOCKS * G.tile_words} drain=1 \
 wait=LOAD>COMPUTE.0* wait=FILL>COMPUTE.0 post=COMPUTE>STORE.0*
STORE dram={Y} pool=200 count={BLOCKS} rows={TILES} words={G.tile_words} \
 dram_stride={G.tile_words * G.word_bytes} dram_row_stride={BLOCKS * G.tile_words * G.word_bytes} \
 pool_stride={G.tile_words} pool_row_stride={BLOCKS * G.tile_words} wait=COMPUTE>STORE.0*
"""


def workload(seed):
    """Return the DRAM image and the bytes expected at ``Y``."""
    rng = np.random.default_rng(seed)
    a = rng.integers(-127, 128, (K, OUTPUTS)).astype(np.int8)
    b = rng.integers(-128, 128, (K, TOKENS)).astype(np.int8)
    bias = rng.integers(-3000, 3000, OUTPUTS)
    multiplier, shift = rng.integers(1 << 16, 1 << 17, OUTPUTS), np.full(OUTPUTS, 24)
    image = bytearray(4096)
    code = b"".join(encode(instruction) for instruction in assemble(PROGRAM))
    image[:len(code)] = code
    x = layouts.pack_vectors(b, G.rows, G.lanes, G.depth).tobytes()
    image[X:X + len(x)] = x
    blocks = layouts.pack_blocks(a, G.rows, G.depth)
    channels = layouts.pack_channels(bias, multiplier, shift).reshape(BLOCKS, -1)
    w = b"".join(blocks[n].tobytes() + channels[n].tobytes() for n in range(BLOCKS))
    image[W:W + len(w)] = w
    y = golden.requantise(golden.matmul(a, b), bias, multiplier, shift)
    return image, layouts.pack_vectors(y, G.rows, G.lanes, G.depth).tobytes()


class Bench:
    """The accelerator, its registers as a dictionary of sorts, and one memory behind its ports."""

    def __init__(self, dut, *, idle=0.0):
        self.dut = dut
        Clock(dut.aclk, 10, unit="ns").start()
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn,
                                 reset_active_level=False)
        self.memory = mmap.mmap(-1, 1 << 16)
        self.rams = [AxiRam(AxiBus.from_prefix(dut, f"m_axi_{n}"), dut.aclk, dut.aresetn,
                            reset_active_level=False, size=1 << 16, mem=self.memory)
                     for n in range(G.dma_ports)]
        rng = random.Random(1)
        for ram in self.rams:
            for channel in (ram.write_if.aw_channel, ram.write_if.w_channel,
                            ram.write_if.b_channel, ram.read_if.ar_channel,
                            ram.read_if.r_channel):
                channel.set_pause_generator(iter(lambda: rng.random() < idle, None))

    async def reset(self):
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, 4)
        self.dut.aresetn.value = 1
        await ClockCycles(self.dut.aclk, 2)

    async def write(self, name, value):
        await self.bus.write_dword(OFFSET[name], value)

    async def read(self, name):
        return await self.bus.read_dword(OFFSET[name])

    async def start(self, image):
        self.memory[BASE:BASE + len(image)] = bytes(image)
        for name, value in {"BASE_LO": BASE, "BASE_HI": 0, "PROGRAM": 0, "LENGTH": 5,
                            "CONTROL": START | INTERRUPT_ENABLE}.items():
            await self.write(name, value)

    async def finish(self):
        while not self.dut.interrupt.value:
            await RisingEdge(self.dut.aclk)
        status = await self.read("STATUS")
        await self.write("STATUS", DONE | ERROR | INTERRUPT)
        assert not self.dut.interrupt.value
        return status

    async def complete_run(self, seed):
        image, wanted = workload(seed)
        await self.start(image)
        assert await self.finish() == DONE | INTERRUPT
        assert self.memory[BASE + Y:BASE + Y + len(wanted)] == wanted
        assert await self.read("ARRAY_BUSY") == BLOCKS * TILES * STEPS
        assert await self.read("WRITE_BYTES") == len(wanted)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.5])
async def runs_follow_each_other(dut, idle):
    bench = Bench(dut, idle=idle)
    await bench.reset()
    assert await bench.read("ID") == 0x4845444C
    assert await bench.read("GEOMETRY") == G.fingerprint
    for seed in range(3):
        await bench.complete_run(seed)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_reset_of_the_device_in_mid_run_leaves_nothing_behind(dut):
    bench = Bench(dut, idle=0.3)
    for cycles in range(40, 700, 60):
        await bench.reset()
        await bench.start(workload(0)[0])
        await ClockCycles(dut.aclk, cycles)
    await bench.reset()
    assert await bench.read("STATUS") == 0
    await bench.complete_run(1)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def software_can_end_a_run_at_any_time(dut):
    bench = Bench(dut, idle=0.3)
    await bench.reset()
    for cycles in range(0, 500, 45):
        await bench.start(workload(0)[0])
        await ClockCycles(dut.aclk, cycles)
        await bench.write("CONTROL", RESET | INTERRUPT_ENABLE)
        assert await bench.finish() == DONE | INTERRUPT
        await bench.complete_run(cycles)
