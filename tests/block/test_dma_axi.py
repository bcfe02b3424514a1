"""The transfer engines on cocotbext-axi memories in Verilator."""

import json
from pathlib import Path

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from heddle.rtl.axi import Axi4
from heddle.rtl.dma import Load, Store, error_layout
from heddle.rtl.dma_read import burst_layout
from heddle.rtl.export import verilog
from heddle.rtl.geometry import PRESETS
from heddle.rtl.isa import Opcode, Queue, instruction_layout
from heddle.rtl.scratchpad import Scratchpad
from heddle.rtl.tokens import Tokens
from heddle.sim.bench import run_bench


class Loopback(wiring.Component):
    """Both engines at one scratchpad and one set of token counters."""

    def __init__(self, geometry):
        self.geometry = g = geometry
        super().__init__({
            "load":    In(stream.Signature(instruction_layout(Opcode.LOAD))),
            "store":   In(stream.Signature(instruction_layout(Opcode.STORE))),
            "fetch":   In(stream.Signature(burst_layout(g.address_bits))),
            "fetched": Out(stream.Signature(8 * g.dma_bytes)),
            "base":    In(g.address_bits),
            "stop":    In(1),
            "idle":    Out(1),
            "retired": Out(2),
            "read_error":  Out(error_layout(g.address_bits)),
            "write_error": Out(error_layout(g.address_bits)),
            "m_axi":   Out(Axi4(g.address_bits, g.dma_bytes)).array(g.dma_ports),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        sizes = {"address_bits": g.address_bits, "pool_bits": g.pool_bits,
                 "word_bytes": g.word_bytes, "beat_bytes": g.dma_bytes,
                 "burst_beats": g.burst_beats, "outstanding": g.outstanding}
        m.submodules.load = load = Load(g.dma_ports, **sizes)
        m.submodules.store = store = Store(g.dma_ports, **sizes, latency=Scratchpad.B_LATENCY)
        m.submodules.pool = pool = Scratchpad(g.scratchpad_words, 8 * g.word_bytes,
                                              g.scratchpad_banks)
        m.submodules.tokens = tokens = Tokens()
        wiring.connect(m, load.pool, pool.load)
        wiring.connect(m, store.pool, pool.store)
        wiring.connect(m, load.tokens, tokens.port[Queue.LOAD])
        wiring.connect(m, store.tokens, tokens.port[Queue.STORE])
        wiring.connect(m, wiring.flipped(self.load), load.i)
        wiring.connect(m, wiring.flipped(self.store), store.i)
        wiring.connect(m, wiring.flipped(self.fetch), load.fetch)
        wiring.connect(m, load.fetched, wiring.flipped(self.fetched))
        for engine in (load, store):
            m.d.comb += [engine.base.eq(self.base), engine.stop.eq(self.stop)]
            for half, whole in zip(engine.axi, self.m_axi):
                for name, member in half.signature.members.items():
                    inner, outer = getattr(half, name), getattr(whole, name)
                    m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        m.d.comb += [
            self.idle.eq(load.idle & store.idle),
            self.retired.eq(Cat(load.retired, store.retired)),
            self.read_error.eq(load.error),
            self.write_error.eq(store.error),
        ]
        return m


@pytest.mark.cocotb
@pytest.mark.parametrize("name", ["tiny", "zcu102"])
def test_dma_axi(name):
    geometry = PRESETS[name].replace(scratchpad_bytes=1024 * PRESETS[name].word_bytes)
    run_bench(Path(__file__).with_name("bench_dma_axi.py"), verilog(Loopback(geometry), "dma"),
              "dma", name=f"dma_axi_{name}",
              environment={"HEDDLE_GEOMETRY": json.dumps(geometry.as_dict())})
