"""The whole accelerator: control and counters around the core with its engines."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .axi import Axi4, Axi4Lite
from .core import Core, Error
from .geometry import Geometry
from .global_net import global_net
from .isa import Queue
from .registers import ADDRESS_BITS, IDENTITY, Registers

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """A sparse-attention accelerator with AXI4-Lite control and AXI4 memory ports.

    A run begins when software sets ``CONTROL.start`` and ends when all instructions are completed,
    at the first error, or by ``CONTROL.reset``; in the last two cases the transfers under way
    complete first, so the bus stays usable.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`

    Members
    -------
    s_axi : :py:`In(Axi4Lite(ADDRESS_BITS))`
        Registers; see :mod:`heddle.rtl.registers`.
    m_axi : :py:`Out(Axi4(...)).array(geometry.dma_ports)`
        Memory.
    interrupt : :py:`Out(1)`
        A run has ended; high until software clears ``STATUS.interrupt``.
    """

    CLEAR_CYCLES = 64
    """Cycles for which the core is held in reset after an aborted run, so that nothing is left in
    the pipelines that have no reset."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        super().__init__({
            "s_axi":     In(Axi4Lite(ADDRESS_BITS)),
            "m_axi":     Out(Axi4(geometry.address_bits, geometry.dma_bytes)).array(
                geometry.dma_ports),
            "interrupt": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        clear = Signal()
        core = Core(self.geometry)
        m.submodules.registers = registers = Registers()
        m.submodules.core = ResetInserter(global_net(m, platform, clear, name="clear"))(core)
        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        for inner, outer in zip(core.axi, self.m_axi, strict=True):
            wiring.connect(m, inner, wiring.flipped(outer))
        m.d.comb += [
            core.base.eq(Cat(registers.base_lo, registers.base_hi)),
            core.program.eq(registers.program),
            core.length.eq(registers.length),
            registers.id.eq(IDENTITY),
            registers.geometry.eq(self.geometry.fingerprint),
            self.interrupt.eq(registers.status_interrupt & registers.control_interrupt_enable),
        ]
        self._control(m, core, registers, clear)
        self._count(m, core, registers)
        return m

    def _control(self, m: Module, core: Core, registers: Registers, clear: Signal) -> None:
        """Start the core, and bring it to rest when the run ends or must end."""
        error = Signal.like(core.error)
        left = Signal(range(self.CLEAR_CYCLES))
        m.d.sync += core.stop.eq(0)
        m.d.comb += [
            registers.error_code.eq(error.code),
            registers.error_response.eq(error.response),
            registers.error_port.eq(error.port),
            Cat(registers.error_address_lo, registers.error_address_hi).eq(error.address),
        ]
        with m.If(registers.status_busy & (error.code == Error.NONE)):
            m.d.sync += error.eq(core.error)

        with m.FSM() as fsm:
            m.d.comb += registers.status_busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.sync += left.eq(self.CLEAR_CYCLES - 1)
                with m.If(registers.control_start):
                    m.d.comb += core.start.eq(1)
                    m.d.sync += error.eq(0)
                    m.next = "START"
            with m.State("START"):
                m.next = "RUN"
            with m.State("RUN"):
                with m.If((error.code != Error.NONE) | registers.control_reset):
                    m.next = "STOP"
                with m.Elif(~core.busy):
                    m.d.comb += registers.status_done_set.eq(1)
                    m.next = "IDLE"
            with m.State("STOP"):
                m.d.sync += core.stop.eq(1)
                with m.If(core.stop & core.quiet):
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.comb += clear.eq(1)
                m.d.sync += [core.stop.eq(1), left.eq(left - 1)]
                with m.If(left == 0):
                    m.d.comb += [registers.status_done_set.eq(1),
                                 registers.status_error_set.eq(error.code != Error.NONE)]
                    m.next = "IDLE"
        m.d.comb += registers.status_interrupt_set.eq(registers.status_done_set)

    def _count(self, m: Module, core: Core, registers: Registers) -> None:
        """Count what happens in a run; the counters keep their values until the next one."""
        beat_shift = (self.geometry.dma_bytes - 1).bit_length()
        names = ("retired_load", "retired_fill", "retired_compute", "retired_store")
        for register, amount in [
            (registers.cycles, registers.status_busy),
            (registers.array_busy, core.step),
            (registers.wait_dma, core.wait_dma),
            (registers.wait_operands, core.wait_operands),
            (registers.wait_drain, core.wait_drain),
            (registers.wait_softmax, core.wait_softmax),
            (registers.read_bytes, core.read_beats << beat_shift),
            (registers.write_bytes, core.write_beats << beat_shift),
            *((getattr(registers, name), core.retired[queue])
              for queue, name in zip(Queue, names, strict=True)),
        ]:
            counter, step = Signal(32), Signal(len(amount))
            m.d.comb += register.eq(counter)
            m.d.sync += [step.eq(amount), counter.eq(counter + step)]
            with m.If(core.start):
                m.d.sync += [step.eq(0), counter.eq(0)]
