"""Instruction fetch: the program reaches its queues, in order, in legal bursts."""

import random

import pytest

from heddle.rtl.isa import Opcode, Queue
from heddle.rtl.sequencer import Fetch, Sequencer
from heddle.sim.streams import run_streams


def memory(dut, program, base, requests, *, idle, rng):
    """Answer the bursts of ``dut`` from the bytes of a program at ``base``."""
    size = dut.beats.payload.shape().width // 8

    async def bench(ctx):
        pending = []
        while True:
            ctx.set(dut.request.ready, rng.random() >= idle)
            offer = pending and rng.random() >= idle
            ctx.set(dut.beats.valid, bool(offer))
            if offer:
                ctx.set(dut.beats.payload, pending[0])
            _, _, asked, burst, taken = await ctx.tick().sample(
                dut.request.valid & dut.request.ready, dut.request.p,
                dut.beats.valid & dut.beats.ready)
            if offer:
                assert taken, "a beat was not taken"
                pending.pop(0)
            if asked:
                requests.append((burst.address, burst.beats + 1))
                for n in range(burst.beats + 1):
                    at = burst.address - base + n * size
                    pending.append(int.from_bytes(program[at:at + size], "little"))
    return bench


@pytest.mark.parametrize(("beat_bytes", "burst_beats"), [(16, 16), (4, 4), (64, 4)])
@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_instructions_come_in_order_in_bursts_that_end_at_boundaries(beat_bytes, burst_beats, idle):
    rng = random.Random(beat_bytes)
    base, count = 0x10000 + 64, 9
    program = rng.randbytes(64 * count)
    dut = Fetch(address_bits=32, beat_bytes=beat_bytes, burst_beats=burst_beats)
    requests = []

    async def start(ctx):
        ctx.set(dut.address, base)
        ctx.set(dut.length, count)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await ctx.tick()
        assert ctx.get(dut.busy)

    got = run_streams(dut, get={"o": count}, idle=idle, also=[start],
                      background=[memory(dut, program, base, requests, idle=idle, rng=rng)])
    assert b"".join(i.to_bytes(64, "little") for i in got["o"]) == program
    assert sum(beats for _, beats in requests) * beat_bytes == len(program)
    for address, beats in requests:
        span = beat_bytes * burst_beats
        assert address // span == (address + beats * beat_bytes - 1) // span


def test_the_queues_get_their_instructions_and_an_unknown_opcode_stops():
    opcodes = [1, 3, 4, 2, 5, 2, 1, 3, 9, 1]
    program = b"".join((op | n << 64).to_bytes(64, "little") for n, op in enumerate(opcodes))
    dut = Sequencer(address_bits=32, beat_bytes=8, burst_beats=8)

    async def start(ctx):
        ctx.set(dut.length, len(opcodes))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await ctx.tick().repeat(200)
        assert ctx.get(dut.illegal)
        assert ctx.get(dut.busy)

    wanted = {queue.name.lower(): [n for n, op in enumerate(opcodes[:8])
                                   if Opcode(op).queue == queue] for queue in Queue}
    got = run_streams(dut, get={name: len(numbers) for name, numbers in wanted.items()},
                      also=[start], background=[memory(dut, program, 0, [], idle=0.2,
                                                       rng=random.Random(0))])
    first = {"load": "dram", "fill": "fields", "compute": "fields", "store": "dram"}
    for name, numbers in wanted.items():
        assert [payload[first[name]] for payload in got[name]] == numbers
        assert [payload["header"]["opcode"] for payload in got[name]] == [
            opcodes[n] for n in numbers]
