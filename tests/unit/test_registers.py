"""Register block: access kinds, and answers however the bus is paced."""

from heddle.rtl.registers import REGISTERS, Registers
from heddle.sim.streams import run_streams


def offset(name):
    return next(r.offset for r in REGISTERS if r.name == name)


async def write(ctx, bus, name, value):
    ctx.set(bus.awaddr, offset(name))
    ctx.set(bus.wdata, value)
    ctx.set(bus.awvalid, 1)
    await ctx.tick()
    ctx.set(bus.wvalid, 1)  # data after the address
    await ctx.tick().until(bus.awready & bus.wready)
    ctx.set(bus.awvalid, 0)
    ctx.set(bus.wvalid, 0)
    await ctx.tick().repeat(2)
    ctx.set(bus.bready, 1)
    await ctx.tick().until(bus.bvalid)
    ctx.set(bus.bready, 0)


async def read(ctx, bus, address):
    ctx.set(bus.araddr, address)
    ctx.set(bus.arvalid, 1)
    await ctx.tick().until(bus.arready)
    ctx.set(bus.arvalid, 0)
    await ctx.tick().repeat(2)
    ctx.set(bus.rready, 1)
    (value,) = await ctx.tick().sample(bus.rdata).until(bus.rvalid)
    ctx.set(bus.rready, 0)
    return value


def test_each_kind_of_field():
    dut = Registers()
    pulses = []

    async def watch(ctx):
        while True:
            _, _, start = await ctx.tick().sample(dut.control_start)
            pulses.append(start)

    async def bench(ctx):
        bus = dut.bus
        ctx.set(dut.cycles, 0x12345678)
        ctx.set(dut.error_code, 3)
        ctx.set(dut.error_port, 2)
        assert await read(ctx, bus, offset("CYCLES")) == 0x12345678
        assert await read(ctx, bus, offset("ERROR")) == 3 | 2 << 6
        await write(ctx, bus, "BASE_LO", 0xDEADB000)
        assert ctx.get(dut.base_lo) == await read(ctx, bus, offset("BASE_LO")) == 0xDEADB000
        await write(ctx, bus, "CONTROL", 0b11)
        assert sum(pulses) == 1
        assert await read(ctx, bus, offset("CONTROL")) == 0b10
        ctx.set(dut.status_done_set, 1)
        await ctx.tick()
        ctx.set(dut.status_done_set, 0)
        assert await read(ctx, bus, offset("STATUS")) == 0b0010
        await write(ctx, bus, "STATUS", 0b1100)
        assert await read(ctx, bus, offset("STATUS")) == 0b0010
        await write(ctx, bus, "STATUS", 0b0010)
        assert await read(ctx, bus, offset("STATUS")) == 0
        assert await read(ctx, bus, 0xFC) == 0

    run_streams(dut, also=[bench], background=[watch])


def test_the_map_has_no_overlaps():
    assert len({r.offset for r in REGISTERS}) == len({r.name for r in REGISTERS}) == len(REGISTERS)
    for register in REGISTERS:
        taken = [bit for f in register.fields for bit in range(f.offset, f.offset + f.width)]
        assert len(taken) == len(set(taken))
        assert max(taken) < 32
        assert register.offset % 4 == 0
