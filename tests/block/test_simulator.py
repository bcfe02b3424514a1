"""The simulator of whole systems, with a stand-in for the accelerator that copies words."""

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from heddle.rtl.axi import Axi4, Axi4Lite
from heddle.rtl.geometry import PRESETS
from heddle.rtl.registers import ADDRESS_BITS, OFFSETS, Registers
from heddle.sim.simulator import SAMPLED, Simulator

TINY = PRESETS["tiny"]
BASE = 0x8000_0000


class Copier(wiring.Component):
    """Inverts ``LENGTH`` words from offset ``PROGRAM`` on, one at a time, by AXI port 1.

    Each word counts 3 in ``ARRAY_BUSY``. A fault is reported as error 1 (read) or 2 (write).
    """

    def __init__(self):
        super().__init__({
            "s_axi":     In(Axi4Lite(ADDRESS_BITS)),
            "m_axi":     Out(Axi4(TINY.address_bits, TINY.dma_bytes)).array(TINY.dma_ports),
            "interrupt": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.registers = r = Registers()
        wiring.connect(m, wiring.flipped(self.s_axi), r.bus)
        axi = self.m_axi[1]
        left = Signal(32)
        m.d.comb += [
            self.interrupt.eq(r.status_interrupt & r.control_interrupt_enable),
            axi.arsize.eq(2), axi.arburst.eq(1), axi.awsize.eq(2), axi.awburst.eq(1),
            axi.awaddr.eq(axi.araddr), axi.wstrb.eq(15), axi.wlast.eq(1),
            r.status_interrupt_set.eq(r.status_done_set), r.geometry.eq(TINY.fingerprint),
        ]
        with m.FSM() as fsm:
            m.d.comb += r.status_busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"), m.If(r.control_start):
                m.d.sync += [axi.araddr.eq(r.base_lo + r.program), left.eq(r.length)]
                m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += axi.arvalid.eq(1)
                with m.If(axi.arready):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += axi.rready.eq(1)
                with m.If(axi.rvalid):
                    m.d.sync += axi.wdata.eq(~axi.rdata)
                    with m.If(axi.rresp.any()):
                        m.d.sync += r.error_code.eq(1)
                    m.next = "TELL"
            with m.State("TELL"):
                m.d.comb += axi.awvalid.eq(1)
                with m.If(axi.awready):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += axi.wvalid.eq(1)
                with m.If(axi.wready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += axi.bready.eq(1)
                with m.If(axi.bvalid):
                    m.d.sync += [axi.araddr.eq(axi.araddr + 4), left.eq(left - 1),
                                 r.array_busy.eq(r.array_busy + 3)]
                    with m.If(axi.bresp.any()):
                        m.d.sync += r.error_code.eq(2)
                    m.next = "ASK"
                    with m.If(left == 1):
                        m.d.comb += r.status_done_set.eq(1)
                        m.next = "IDLE"
        return m


@pytest.fixture(scope="module")
def simulator():
    return Simulator(TINY, Copier)


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, 1024, np.uint8)


def test_run(simulator, image):
    latency = 40
    run = simulator.run(image.tobytes(), program=64, length=20, limit=5000, latency=latency,
                        window=100, base=BASE)
    image[64:144] ^= 0xFF
    np.testing.assert_array_equal(run.image, image)
    assert run.finished
    assert run.registers["STATUS"] == 0b1010
    assert run.registers["GEOMETRY"] == TINY.fingerprint
    assert 20 * 2 * latency < run.cycles < 20 * (2 * latency + 10)
    assert run.samples.shape == (-(-run.cycles // 100), len(SAMPLED))
    assert run.samples.sum(axis=0).tolist() == [60, 0, 0, 0]
    assert run.samples[:-1, 0].min() >= 3


def test_latency_and_bandwidth_matter(simulator, image):
    def cycles(**settings):
        return simulator.run(image, program=0, length=50, limit=50_000, **settings).cycles
    fast = cycles(latency=0, bandwidth=0)
    assert cycles(latency=25, bandwidth=0) >= fast + 50 * (20 + 23)
    assert cycles(latency=0, bandwidth=1) <= fast + 50 * 8  # 4 bytes a beat


def test_limit(simulator, image):
    run = simulator.run(image, program=0, length=200, limit=300)
    assert not run.finished
    assert 300 <= run.cycles < 320
    assert run.registers["STATUS"] & 0b11 == 0b01


@pytest.mark.parametrize(("errors", "code"), [(range(BASE + 8, BASE + 12), 2), (range(0), 0)])
def test_errors(simulator, image, errors, code):
    run = simulator.run(image, program=0, length=4, limit=5000, base=BASE, errors=errors)
    assert run.registers["ERROR"] & 15 == code
    image[:16] ^= 0xFF
    if code:
        image[8:12] ^= 0xFF
    np.testing.assert_array_equal(run.image, image)


def test_progress(simulator, image):
    seen = []
    run = simulator.run(image, program=0, length=200_000_000, limit=2_000_000,
                        progress=seen.append)
    assert run.cycles >= 2_000_000
    assert seen == sorted(seen)
    assert run.seconds < 0.5 or seen


def test_serve(simulator, image):
    """A host that does what :meth:`Simulator.run` does finds the same."""
    session = simulator.serve(size=image.size, base=BASE)
    session.put(0, image)
    for name, value in {"BASE_LO": BASE, "PROGRAM": 64, "LENGTH": 20, "CONTROL": 3}.items():
        session.write(OFFSETS[name], value)
    assert not session.run(10)
    assert session.run(100_000)
    run = simulator.run(image, program=64, length=20, limit=100_000, base=BASE)
    np.testing.assert_array_equal(session.get(0, image.size), run.image)
    np.testing.assert_array_equal(session.get(60, 8), run.image[60:68])
    assert session.read(OFFSETS["ARRAY_BUSY"]) == run.registers["ARRAY_BUSY"]
    with pytest.raises(RuntimeError, match="must answer 'get 1020 8', and it has ended: Beyond"):
        session.get(1020, 8)
    session.close()


def test_trace(simulator, image, tmp_path):
    simulator.run(image, program=0, length=1, limit=1000, trace=tmp_path / "copy.vcd")
    assert "m_axi" in (tmp_path / "copy.vcd").read_text()


def test_refusals(simulator, image):
    with pytest.raises(ValueError, match="latency must be between 0 and 65535, not 70000"):
        simulator.run(image, program=0, length=1, limit=1000, latency=70_000)
    with pytest.raises(ValueError, match="window must be between 64 and 4294967295, not 1"):
        simulator.run(image, program=0, length=1, limit=1000, window=1)


def test_failure(simulator, image):
    """What the program says on its end is passed on."""
    with pytest.raises(RuntimeError, match="failed with code 2: Not a number: many"):
        simulator.run(image, program=0, length=1, limit="many")
