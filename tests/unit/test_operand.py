"""Operand buffer and fill engine: tiles arrive whole, where the instruction says."""

import random

import pytest

from heddle.rtl.isa import Opcode, Queue, token
from heddle.rtl.operand import Fill, OperandBuffer
from heddle.sim.streams import run_streams


@pytest.mark.parametrize("candidates", [1, 2, 4])
@pytest.mark.parametrize("listed", [False, True])
def test_slots_are_read_at_once_each_at_its_own_address(candidates, listed):
    dut = OperandBuffer(16, 4, 2, 4, candidates)  # words of two vectors, steps of two words
    rng = random.Random(1)
    words = [rng.randrange(1 << 32) for _ in range(32)]
    reads = [(step, [rng.randrange((16 - step) // candidates) if listed else 0 for _ in range(4)])
             for step in range(13)] * 2
    seen = []

    async def bench(ctx):
        ctx.set(dut.write_en, 1)
        for n, word in enumerate(words):
            ctx.set(dut.write_addr, n // 2)
            ctx.set(dut.write_part, n % 2)
            ctx.set(dut.write_data, word)
            await ctx.tick()
        ctx.set(dut.write_en, 0)
        await ctx.tick().repeat(2)
        for cycle, (step, addresses) in enumerate(reads + reads[:OperandBuffer.LATENCY]):
            ctx.set(dut.read_step, step)
            ctx.set(dut.read_addresses, addresses)
            if cycle >= OperandBuffer.LATENCY:
                seen.append(ctx.get(dut.read_data))
            await ctx.tick()

    def vector(step, k):
        return words[2 * step + k // 2] >> 16 * (k % 2) & 0xffff

    run_streams(dut, also=[bench])
    assert seen == [
        sum(vector((step // candidates + addresses[k]) * candidates + c, k)
            << 16 * (k * candidates + c) for k in range(4) for c in range(candidates))
        for step, addresses in reads]


def instruction(**fields):
    header = {"opcode": Opcode.FILL,
              "waits": [{"token": token(Queue.LOAD, Queue.FILL), "each": 1}, {}, {}],
              "posts": [{"token": token(Queue.FILL, Queue.COMPUTE), "each": 1},
                        {"token": token(Queue.FILL, Queue.LOAD), "each": 0}, {}]}
    return {"header": header, **fields}


@pytest.mark.parametrize("latency", [3, 7])
@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_fill_copies_tiles_and_gives_their_tokens(latency, idle):
    dut = Fill(pool_bits=8, word_bits=16, operand_bits=6, step_words=2, latency=latency)
    rng = random.Random(latency)
    wait, tile, end = (token(Queue.LOAD, Queue.FILL), token(Queue.FILL, Queue.COMPUTE),
                       token(Queue.FILL, Queue.LOAD))
    jobs = [instruction(pool=7, pool_stride=10, operand=3, stride=9, count=3, steps=4),
            instruction(pool=90, pool_stride=0, operand=40, stride=0, count=1, steps=1)]
    wanted = [(3 + 9 * t + s, p, 1000 + 7 + 10 * t + 2 * s + p)
              for t in range(3) for s in range(4) for p in range(2)]
    wanted += [(40, p, 1090 + p) for p in range(2)]
    written, gives = [], []

    async def pool(ctx):
        flight = [None] * latency
        while True:
            ctx.set(dut.pool.request.ready, rng.random() >= idle)
            word = flight.pop(0)
            ctx.set(dut.pool.valid, word is not None)
            ctx.set(dut.pool.data, word or 0)
            _, _, take, addr = await ctx.tick().sample(
                dut.pool.request.valid & dut.pool.request.ready, dut.pool.request.p)
            flight.append(1000 + addr if take else None)

    async def tokens(ctx):
        held = 0
        while True:
            held += rng.random() < 0.1
            ctx.set(dut.tokens.available, (held > 0) << wait)
            _, _, take, give, en, *where = await ctx.tick().sample(
                dut.tokens.take, dut.tokens.give, dut.write_en, dut.write_addr, dut.write_part,
                dut.write_data)
            assert take in (0, 1 << wait)
            held -= take >> wait & 1
            assert held >= 0
            if en:
                written.append(tuple(where))
            if give:
                gives.append((len(written), give))

    retired = []

    async def watch(ctx):
        while len(retired) < 2:
            _, _, done, busy = await ctx.tick().sample(dut.retired, dut.busy)
            assert busy or not done
            if done:
                retired.append(len(written))
            assert len(written) < 100

    run_streams(dut, put={"i": jobs}, also=[watch], background=[pool, tokens], limit=3000)
    assert written == wanted
    assert gives == [(8, 1 << tile), (16, 1 << tile), (24, 1 << tile | 1 << end),
                     (26, 1 << tile | 1 << end)]
