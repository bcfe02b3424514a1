"""The dealer with ports that are ready now and then."""

import random

import pytest
from amaranth.sim import Simulator

from heddle.rtl.dealer import Dealer


@pytest.mark.parametrize("ports", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_each_burst_goes_to_a_ready_port_and_each_end_to_all(ports, seed):
    dut = Dealer(ports, address_bits=32, pool_bits=8, burst_words=4)
    rng = random.Random(seed)
    items = [{"end": int(rng.random() < 0.4), "address": n} for n in range(300)]
    got, ended = [[] for _ in range(ports)], 0

    async def bench(ctx):
        nonlocal ended
        waiting, room = list(items), [0] * ports
        offered = False
        for _ in range(20_000):
            for n, port in enumerate(dut.o):
                # What is ready stays so until a transfer.
                if not room[n] and rng.random() < 0.3:
                    room[n] = rng.randint(1, 3)
                ctx.set(port.ready, room[n] > 0)
            ctx.set(dut.ends.ready, 1)
            offered = bool(waiting) and (offered or rng.random() < 0.7)
            ctx.set(dut.i.valid, offered)
            if offered:
                for name, value in waiting[0].items():
                    ctx.set(dut.i.p[name], value)
            taken = offered and ctx.get(dut.i.ready)
            valid = [ctx.get(port.valid) for port in dut.o]
            if taken and waiting[0]["end"]:
                assert all(valid)
                assert ctx.get(dut.ends.valid)
                ended += 1
            else:
                assert sum(valid) == bool(taken)
                assert not ctx.get(dut.ends.valid)
            for n, port in enumerate(dut.o):
                if valid[n]:
                    assert room[n] > 0
                    room[n] -= 1
                    got[n].append((ctx.get(port.p.end), ctx.get(port.p.address)))
            if taken:
                waiting.pop(0)
                offered = False
            await ctx.tick()
            if not waiting:
                return
        raise AssertionError(f"{len(waiting)} items are left")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    ends = [item["address"] for item in items if item["end"]]
    assert ended == len(ends)
    bursts = sorted(address for port in got for end, address in port if not end)
    assert bursts == [item["address"] for item in items if not item["end"]]
    for port in got:
        assert [address for end, address in port if end] == ends
        assert [address for _, address in port] == sorted(address for _, address in port)
        assert ports == 1 or len(port) < len(items)
