# amaranth: UnusedElaboratable=no
"""The SDRAM controller against a chip that checks its data sheet, and that chip itself."""

import random
from itertools import pairwise

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from heddle.rtl.sdram import MODE, Command, Sdram, SdramChip
from heddle.sim.sdram import Fault, SimulatedSdram

# Rows of two words, so that the few words of the memory of Amaranth's simulator are many rows.
SMALL = SdramChip(column_bits=2, power_up=500)
WORDS = 512


class _Board(wiring.Component):
    """A controller, the registers at the pins of the FPGA, and the chip."""

    def __init__(self, chip, clock_mhz):
        self.controller = Sdram(chip, clock_mhz=clock_mhz)
        self.chip = SimulatedSdram(chip, clock_mhz=clock_mhz)
        super().__init__({"port": In(self.controller.port.signature.flip()),
                          "fault": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller, m.submodules.chip = self.controller, self.chip
        wiring.connect(m, wiring.flipped(self.port), self.controller.port)
        inner, outer = self.controller.pins, self.chip.pins
        for name, member in inner.signature.members.items():
            source, target = getattr(inner, name), getattr(outer, name)
            m.d.sync += target.eq(source) if member.flow is Out else source.eq(target)
        m.d.comb += self.fault.eq(self.chip.fault)
        return m


def _simulate(dut, *benches, sdram=True):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    if sdram:
        simulator.add_clock(1e-6, phase=0.75e-6, domain="sdram")
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize(("clock_mhz", "idle"), [(50, 0.0), (50, 0.3), (50, 0.99), (100, 0.0)])
def test_random_traffic_reads_what_was_written(clock_mhz, idle):
    dut = _Board(SMALL, clock_mhz)
    rng = random.Random(f"{clock_mhz} {idle}")
    memory, accesses, expected = {}, [], []
    for _ in range(300 if idle < 0.9 else 40):
        address = 4 * rng.choice([rng.randrange(WORDS), rng.randrange(4)])
        write = address not in memory or rng.random() < 0.4
        value = rng.getrandbits(32)
        strobe = rng.getrandbits(4) if address in memory else 15
        if write:
            keep = sum(0xFF << 8 * n for n in range(4) if not strobe >> n & 1)
            memory[address] = memory.get(address, 0) & keep | value & ~keep & 0xFFFFFFFF
        else:
            expected.append(memory[address])
        accesses.append({"write": write, "address": address, "data": value, "strobe": strobe})

    async def ask(ctx):
        for access in accesses:
            while rng.random() < idle:
                await ctx.tick()
            ctx.set(dut.port.request.payload, access)
            ctx.set(dut.port.request.valid, 1)
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.port.request.ready)
            ctx.set(dut.port.request.valid, 0)

    async def take(ctx):
        found = []
        for _ in range(20_000):
            _, _, valid, word = await ctx.tick().sample(dut.port.valid, dut.port.data)
            if valid:
                found.append(word)
            if len(found) == len(expected):
                break
        assert found == expected
        assert ctx.get(dut.fault) == Fault.NONE

    _simulate(dut, ask, take)


def test_an_open_row_gives_a_word_every_other_cycle():
    dut = _Board(SdramChip(power_up=500), 50)
    cycles = []

    async def ask(ctx):
        ctx.set(dut.port.request.valid, 1)
        for n in range(100):
            ctx.set(dut.port.request.payload, {"address": 4 * n})
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.port.request.ready)

    async def take(ctx):
        cycle = 0
        while len(cycles) < 100:
            _, _, valid = await ctx.tick().sample(dut.port.valid)
            cycle += 1
            if valid:
                cycles.append(cycle)

    _simulate(dut, ask, take)
    assert {after - before for before, after in pairwise(cycles)} == {2}


def test_rows_are_refreshed_whether_or_not_there_is_traffic():
    dut = _Board(SMALL, 50)
    commands = []

    async def watch(ctx):
        for _ in range(4000):
            _, _, command = await ctx.tick().sample(dut.controller.pins.command)
            commands.append(command)
        assert ctx.get(dut.fault) == Fault.NONE

    _simulate(dut, watch)
    assert commands.count(Command.REFRESH) == SMALL.refreshes + 4000 // 390


ALL = 1 << 10
START = [(30, Command.PRECHARGE, 0, ALL), (1, Command.REFRESH, 0, 0), (4, Command.REFRESH, 0, 0),
         (4, Command.MODE, 0, MODE)]


@pytest.mark.parametrize(("commands", "fault"), [
    ([*START, (2, Command.ACTIVATE, 1, 7), (1, Command.READ, 1, 0), (2, Command.PRECHARGE, 1, 0)],
     Fault.NONE),
    ([(3, Command.PRECHARGE, 0, ALL)], Fault.POWER_UP),
    ([(30, Command.REFRESH, 0, 0)], Fault.POWER_UP),
    ([*START[:2], (4, Command.MODE, 0, MODE)], Fault.POWER_UP),
    ([*START[:3], (4, Command.ACTIVATE, 0, 0)], Fault.POWER_UP),
    ([*START[:3], (4, Command.MODE, 0, MODE + 1)], Fault.MODE),
    ([*START[:3], (3, Command.MODE, 0, MODE)], Fault.PAUSE),
    ([*START, (1, Command.ACTIVATE, 0, 0)], Fault.PAUSE),
    ([*START, (2, Command.ACTIVATE, 0, 0), (1, Command.READ, 1, 0)], Fault.CLOSED),
    ([*START, (2, Command.ACTIVATE, 0, 0), (5, Command.ACTIVATE, 0, 1)], Fault.OPEN),
    ([*START, (2, Command.ACTIVATE, 0, 0), (2, Command.PRECHARGE, 0, 0)], Fault.CLOSE),
    ([*START, (2, Command.ACTIVATE, 0, 0), (2, Command.WRITE, 0, 0), (1, Command.PRECHARGE, 0, 0)],
     Fault.CLOSE),
    ([*START, (2, Command.ACTIVATE, 0, 0), (5, Command.REFRESH, 0, 0)], Fault.REFRESH),
    ([*START, (2, Command.ACTIVATE, 0, 0), (1, Command.READ, 0, 0), (1, Command.READ, 0, 0)],
     Fault.BURST),
    ([*START, (2, Command.ACTIVATE, 0, 0), (1, Command.READ, 0, 0), (2, Command.WRITE, 0, 0)],
     Fault.BUS),
    ([*START, (4000, Command.NONE, 0, 0)], Fault.REFRESH),
], ids=lambda value: value.name if isinstance(value, Fault) else f"{len(value)} commands")
def test_the_chip_knows_its_data_sheet(commands, fault):
    dut = SimulatedSdram(SMALL, clock_mhz=50)

    async def drive(ctx):
        for pause, command, bank, address in commands:
            for _ in range(pause - 1):
                await ctx.tick("sdram")
                ctx.set(dut.pins.oe, 0)
            ctx.set(dut.pins.command, command)
            if command == Command.WRITE:
                ctx.set(dut.pins.oe, 1)
            ctx.set(dut.pins.bank, bank)
            ctx.set(dut.pins.address, address)
            await ctx.tick("sdram")
            ctx.set(dut.pins.command, Command.NONE)
        await ctx.tick("sdram").repeat(2)
        assert ctx.get(dut.fault) == fault

    simulator = Simulator(dut)
    simulator.add_clock(1e-6, domain="sdram")
    simulator.add_testbench(drive)
    simulator.run()


def test_the_sizes_of_the_chip():
    assert SdramChip().size == 32 << 20
    assert SdramChip.cycles(20, 50) == 1
    assert SdramChip.cycles(20, 60) == 2
