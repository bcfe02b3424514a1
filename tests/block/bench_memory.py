"""cocotb bench of the AXI memory: cocotbext-axi managers against a model in Python."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Combine
from cocotbext.axi import AxiBus, AxiMaster
from cocotbext.axi.constants import AxiResp

BASE, SIZE = 0x2_0000_1000, 8192


async def start(dut, **settings):
    Clock(dut.clk, 10, unit="ns").start()
    for name, value in {"base": BASE, "size": SIZE, "latency": 20, "bandwidth": 24,
                        "error_first": 0, "error_end": 0, **settings}.items():
        getattr(dut, f"settings_{name}").value = value
    ports = [AxiMaster(AxiBus.from_prefix(dut, f"axi_{i}"), dut.clk, dut.rst) for i in range(2)]
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    return ports


def pauses(rng, chance):
    while True:
        yield rng.random() < chance


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(latency=[0, 100], bandwidth=[0, 24])
async def random_transfers(dut, latency, bandwidth):
    """Transfers of any alignment and length on two ports, each in its half of the memory."""
    half = SIZE // 2

    async def traffic(number, port):
        rng = random.Random(number)
        for channel in (port.write_if.aw_channel, port.write_if.w_channel,
                        port.write_if.b_channel, port.read_if.ar_channel, port.read_if.r_channel):
            channel.set_pause_generator(pauses(rng, 0.2))
        start = BASE + half * number
        await port.write(start, bytes(half))
        model = bytearray(half)
        for _ in range(20):
            length = rng.randint(1, 700)
            offset = rng.randrange(half - length)
            data = rng.randbytes(length)
            model[offset:offset + length] = data
            # Whole beats: the memory refuses addresses within a beat.
            first, end = offset & ~15, offset + length + 15 & ~15
            written = await port.write(start + first, bytes(model[first:end]))
            assert written.resp == AxiResp.OKAY
            got = await port.read(start + first, end - first)
            assert got.resp == AxiResp.OKAY
            assert got.data == model[first:end]
        assert (await port.read(start, half)).data == model

    ports = await start(dut, latency=latency, bandwidth=bandwidth)
    await Combine(*(cocotb.start_soon(traffic(i, port)) for i, port in enumerate(ports)))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def errors(dut):
    ports = await start(dut, error_first=BASE + 0x100, error_end=BASE + 0x110)
    assert (await ports[0].read(BASE + 0xF0, 16)).resp == AxiResp.OKAY
    assert (await ports[0].read(BASE + 0xF0, 32)).resp == AxiResp.SLVERR
    assert (await ports[1].write(BASE + 0x100, bytes(16))).resp == AxiResp.SLVERR
    assert (await ports[1].write(BASE + SIZE, bytes(16))).resp == AxiResp.SLVERR
    assert (await ports[1].read(BASE - 16, 16)).resp == AxiResp.SLVERR
