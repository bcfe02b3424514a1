"""The runtime of boards on the RTL: the code that runs on a ZCU102, from files to registers.

The files are in a folder, the registers and the memory of the accelerator are those of a simulated
system, and between the memory and what the processor sees of it lies a cache.
"""

import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import heddle
from heddle.device import DeviceError, Rtl, open_device
from heddle.rtl.geometry import PRESETS
from heddle.rtl.registers import ADDRESS_BITS, OFFSETS
from heddle.runtime import Board, probe
from heddle.runtime.linux import Linux
from heddle.runtime.pynq import Pynq
from heddle.runtime.uio import Uio
from heddle.sim.simulator import Simulator

TINY = PRESETS["tiny"]
BASE, SIZE = 0x7040_0000, 1 << 16
POLL = 50
"""Cycles between two accesses of a processor."""


class Registers:
    """Registers as an array of words."""

    def __init__(self, session):
        self.session = session

    def __getitem__(self, index):
        self.session.run(POLL)
        return np.uint32(self.session.read(4 * index))

    def __setitem__(self, index, value):
        self.session.write(4 * index, value)


class Mock(Linux):
    """Linux on a board whose programmable logic is simulated."""

    def __init__(self, root, session, *, folder="u-dma-buf", uio=True):
        super().__init__(root)
        self.session = session
        self.interrupts = 0
        self.moved = {"for_device": [], "for_cpu": []}
        self.buffer = f"sys/class/{folder}/udmabuf-heddle"
        files = {f"{self.buffer}/phys_addr": f"{BASE:#018x}", f"{self.buffer}/size": f"{SIZE}",
                 "sys/class/fpga_manager/fpga0/state": "operating", "dev/mem": "",
                 "dev/udmabuf-heddle": "", "sys/class/uio/uio0/name": "axi-pmon"}
        files |= {f"{self.buffer}/sync_{part}": "0" for part in (
            "offset", "size", "direction", "for_cpu", "for_device")}
        if uio:
            files |= {"sys/class/uio/uio1/name": "heddle", "dev/uio1": "",
                      "sys/class/uio/uio1/maps/map0/size": "0x0000000000010000"}
        for name, text in files.items():
            self.path(name).parent.mkdir(parents=True, exist_ok=True)
            self.path(name).write_text(text + "\n")

    def map(self, file, size, dtype, offset=0):
        device = os.path.basename(os.readlink(f"/proc/self/fd/{file}"))
        if device == "udmabuf-heddle":
            self.cached = np.full(size, 0xA5, dtype)
            return self.cached
        assert (device, size, offset) in [("uio1", 0x10000, 0), ("mem", 4096, 0xA000_0000)]
        return Registers(self.session)

    def write(self, name, content, need):
        super().write(name, content, need)
        first, size = (int(self.read(f"{self.buffer}/sync_{part}", need))
                       for part in ("offset", "size"))
        if name.endswith(("for_cpu", "for_device")):
            self.moved[name.removeprefix(f"{self.buffer}/sync_")].append((first, size))
        if name == f"{self.buffer}/sync_for_device":
            self.session.put(first, self.cached[first:first + size])
        elif name == f"{self.buffer}/sync_for_cpu":
            self.cached[first:first + size] = self.session.get(first, size)

    def interrupt(self, file, timeout):
        assert os.path.basename(os.readlink(f"/proc/self/fd/{file}")) == "uio1"
        self.interrupts += self.session.run(100_000)


@pytest.fixture(scope="module")
def task():
    """A program of two layers, its image, and its run on the device ``rtl``."""
    rng = np.random.default_rng(0)
    graph = heddle.Graph()
    x = graph.input("x", tokens=9, features=24)
    hidden = graph.linear("hidden", x, rng.normal(size=(20, 24)), activation="gelu")
    graph.output(graph.linear("y", hidden, rng.normal(size=(16, 20))))
    given = {"x": rng.normal(size=(9, 24))}
    program = heddle.compile(graph, given, "tiny")
    image = program.image(given)
    return program, image, Rtl(TINY).run(program, image)


@pytest.fixture
def serve():
    sessions = []

    def serve(**settings):
        settings = {"size": SIZE, "base": BASE, "bandwidth": TINY.bandwidth_assumed} | settings
        sessions.append(Simulator(TINY).serve(**settings))
        return sessions[-1]
    yield serve
    for session in sessions:
        session.close()


def same(run, wanted):
    """Compare a run with that of the device ``rtl``.

    Turns that change in every cycle make a run some cycles longer or shorter by when it starts.
    """
    np.testing.assert_array_equal(run.image, wanted.image)
    varying = {name: getattr(wanted.counters, name) for name in ("cycles", "wait_dma")}
    for name, value in varying.items():
        assert abs(getattr(run.counters, name) - value) <= 3
    assert replace(run.counters, **varying) == wanted.counters


def test_uio(task, serve, tmp_path):
    """One run after the other, each ended by its interrupt."""
    program, image, wanted = task
    linux = Mock(tmp_path, serve())
    with Uio(linux=linux) as transport:
        board = Board(TINY, transport)
        for runs in 1, 2:
            same(board.run(program, image), wanted)
            assert linux.interrupts == runs
        assert probe(transport)["geometry"] == "tiny"
        assert int(probe(transport)["ARRAY_BUSY"], 16) == wanted.counters.array_cycles


def test_constants_stay_and_only_what_is_written_comes_back(task, serve, tmp_path):
    program, image, wanted = task
    other = image.copy()
    other[:program.constants.size // 2] = 0
    linux = Mock(tmp_path, serve())
    with Uio(linux=linux) as transport:
        board = Board(TINY, transport)
        for each in image, image, other, image, image:
            after = board.run(program, each).image
        np.testing.assert_array_equal(after, wanted.image)
    kept = program.constants.size // 64 * 64
    assert kept > 1000
    assert [first for first, _ in linux.moved["for_device"]] == [0, kept, 0, 0, kept]
    changed = np.flatnonzero(wanted.image != image)
    assert {first <= changed.min() <= changed.max() < first + size < first + image.size
            for first, size in linux.moved["for_cpu"]} == {True}
    assert {first >= kept for first, _ in linux.moved["for_cpu"]} == {True}


def test_device_memory_and_an_old_driver(task, serve, tmp_path):
    program, image, wanted = task
    linux = Mock(tmp_path, serve(), folder="udmabuf", uio=False)
    with Uio(linux=linux) as transport:
        same(Board(TINY, transport).run(program, image), wanted)


def test_registers_are_not_read_from_an_fpga_without_configuration(serve, tmp_path):
    linux = Mock(tmp_path, serve(), uio=False)
    linux.path("sys/class/fpga_manager/fpga0/state").write_text("unknown\n")
    with pytest.raises(DeviceError, match="FPGA must be configured before its registers are read, "
                                          "and its state is 'unknown': load a bitstream first"):
        Uio(linux=linux)


def test_bus_error(task, serve, tmp_path):
    program, image, _ = task
    address = BASE + program.inputs["x"].offset
    linux = Mock(tmp_path, serve(errors=range(address, address + 4)))
    with (Uio(linux=linux) as transport,
          pytest.raises(DeviceError, match=rf"read was answered with SLVERR: the burst at "
                                           rf"{address:#x} on port \d, a transfer of instruction")):
        Board(TINY, transport).run(program, image)


def test_a_run_that_takes_too_long_is_ended(task, serve, tmp_path):
    """The message says where it stood; the next run finds everything in order."""
    program, image, wanted = task
    with Uio(linux=Mock(tmp_path, serve())) as transport:
        board = Board(TINY, transport, timeout=0)
        with pytest.raises(DeviceError, match=r"run must end within 0 s, and it has not: LOAD is "
                                              r"at instruction \d+ .*; STORE is at instruction"):
            board.run(program, image)
        board.timeout = 60
        same(board.run(program, image), wanted)


def test_a_run_that_somebody_left_is_ended(task, serve, tmp_path):
    program, image, wanted = task
    session = serve()
    with Uio(linux=Mock(tmp_path, session)) as transport:
        transport.upload(BASE, image)
        for name, value in {"BASE_LO": BASE, "PROGRAM": program.offset, "CONTROL": 1,
                            "LENGTH": len(program.instructions)}.items():
            transport.write(OFFSETS[name], value)
        same(Board(TINY, transport).run(program, image), wanted)


def test_another_geometry(serve, tmp_path):
    other = PRESETS["tiny-nm"]
    transport = Uio(linux=Mock(tmp_path, serve()))
    with pytest.raises(DeviceError, match=(
            f"accelerator must be of geometry tiny-nm .fingerprint {other.fingerprint:#010x}., and "
            f"it shows {TINY.fingerprint:#010x}: load the bitstream of that geometry")):
        Board(other, transport)


def test_a_buffer_that_is_too_small(task, serve, tmp_path):
    program, image, _ = task
    linux = Mock(tmp_path, serve())
    linux.path("sys/class/u-dma-buf/udmabuf-heddle/size").write_text("2048\n")
    with (Uio(linux=linux) as transport,
          pytest.raises(DeviceError, match=f"must hold the {image.size:,} bytes of the image of "
                                           ".*, and it has 2,048: make the buffer larger")):
        Board(TINY, transport).run(program, image)


# -- PYNQ ------------------------------------------------------------------------------------------

class Buffer(np.ndarray):
    """Contiguous memory of PYNQ, cached."""

    def flush(self):
        self.session.put(0, self.view(np.ndarray))

    def invalidate(self):
        self[:] = self.session.get(0, self.size)

    def freebuffer(self):
        self.session.close()


@pytest.fixture
def pynq(monkeypatch, serve, tmp_path):
    """A module ``pynq`` on a simulated board, and a bitstream for it."""
    session = serve(base=BASE + 64)  # PYNQ promises no alignment
    loaded = []

    class Overlay:
        ip_dict = {"ps": {"phys_addr": 0}, "accelerator": {"phys_addr": 0xA000_0000}}

        def __init__(self, name):
            loaded.append(name)

    def allocate(shape, dtype):
        buffer = np.zeros(shape, dtype).view(Buffer)
        buffer.session, buffer.device_address = session, BASE + 64
        return buffer

    class MMIO:
        def __init__(self, address, length):
            assert (address, length) == (0xA000_0000, 1 << ADDRESS_BITS)

        def read(self, offset):
            session.run(POLL)
            return session.read(offset)

        write = staticmethod(session.write)

    bitstream = tmp_path / "heddle.bit"
    bitstream.write_bytes(b"configuration")
    monkeypatch.setitem(sys.modules, "pynq", SimpleNamespace(
        Overlay=Overlay, MMIO=MMIO, allocate=allocate))
    yield bitstream
    assert loaded == [str(bitstream)] * len(loaded)


def test_pynq(task, pynq):
    program, image, wanted = task
    with Pynq(pynq, size=SIZE - 4096) as transport:
        assert transport.base % 4096 == 0
        same(Board(TINY, transport).run(program, image), wanted)


def test_pynq_by_name(task, pynq, monkeypatch):
    program, image, wanted = task
    monkeypatch.setattr("heddle.runtime.pynq.BUFFER_BYTES", SIZE - 4096)
    device = open_device(f"pynq:{pynq}", TINY)
    same(device.run(program, image), wanted)
    device.close()


def test_pynq_refuses(pynq, monkeypatch):
    with pytest.raises(DeviceError, match="must have a block named weaver, and it has ps, accel"):
        Pynq(pynq, name="weaver")
    with pytest.raises(DeviceError, match=r"must be named with a bitstream, pynq:FILE\.bit, "
                                          r"and 'none\.bit' is no file"):
        Pynq("none.bit")
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(DeviceError, match="needs the package pynq, which works on the board alone"):
        Pynq(pynq)
