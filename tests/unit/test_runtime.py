"""What stands between a program and a board, and what is said of it; no accelerator is needed."""

import os
import re
import socket
import struct
import threading

import numpy as np
import pytest
from click.testing import CliRunner

import heddle
from heddle.cli import main
from heddle.outcome import DeviceError
from heddle.rtl.geometry import PRESETS
from heddle.rtl.registers import IDENTITY, OFFSETS
from heddle.runtime import Board, Transport, open_transport, probe
from heddle.runtime.fpga import load
from heddle.runtime.linux import Linux
from heddle.runtime.uio import Uio

TINY = PRESETS["tiny"]
MANAGER = "sys/class/fpga_manager/fpga0"
OVERLAYS = "sys/kernel/config/device-tree/overlays"


def refusal(call, *arguments, error=DeviceError, **options):
    with pytest.raises(error) as caught:
        call(*arguments, **options)
    return str(caught.value)


@pytest.fixture
def linux(tmp_path):
    """A system with a buffer, a UIO device and an FPGA manager."""
    linux = Linux(tmp_path)
    for name, text in {
        "sys/class/u-dma-buf/udmabuf-heddle/phys_addr": "0x0000000070000000",
        "sys/class/u-dma-buf/udmabuf-heddle/size": "8192",
        "sys/class/uio/uio0/name": "heddle",
        "sys/class/uio/uio0/maps/map0/size": "0x1000",
        f"{MANAGER}/state": "operating", f"{MANAGER}/flags": "", f"{MANAGER}/firmware": "",
        **{f"sys/class/u-dma-buf/udmabuf-heddle/sync_{part}": "" for part in (
            "offset", "size", "direction", "for_cpu", "for_device")},
        "dev/udmabuf-heddle": "\0" * 8192, "dev/uio0": "\0" * 4096,
    }.items():
        linux.path(name).parent.mkdir(parents=True, exist_ok=True)
        linux.path(name).write_text(text)
    return linux


# -- registers and memory --------------------------------------------------------------------------

def test_uio_maps_registers_and_memory(linux):
    """Whatever is behind the files is seen, and every transfer is announced to the driver."""
    sysfs = linux.path("sys/class/u-dma-buf/udmabuf-heddle")
    with Uio(linux=linux) as transport:
        assert (transport.base, transport.size) == (0x7000_0000, 8192)
        transport.write(OFFSETS["LENGTH"], 0xDEADBEEF)
        assert transport.read(OFFSETS["LENGTH"]) == 0xDEADBEEF
        transport.upload(0x7000_0100, np.arange(7, dtype=np.uint8))
        assert (sysfs / "sync_for_device").read_text() == "1"
        assert (sysfs / "sync_for_cpu").read_text() == ""
        assert transport.download(0x7000_00FF, 5).tolist() == [0, 0, 1, 2, 3]
        assert (sysfs / "sync_for_cpu").read_text() == "1"
        assert [(sysfs / f"sync_{part}").read_text() for part in ("offset", "size")] == ["255", "5"]
        assert "must lie within the buffer of 8,192 bytes at 0x70000000, and 2 at 0x70001fff" in (
            refusal(transport.download, 0x7000_1FFF, 2, error=ValueError))
    assert linux.path("dev/uio0").read_bytes()[0x28:0x2C] == struct.pack("<I", 0xDEADBEEF)
    assert linux.path("dev/udmabuf-heddle").read_bytes()[0x101:0x107] == bytes(range(1, 7))


def test_a_closed_board_can_be_opened_again(linux):
    transport = Uio(linux=linux)
    assert "must be free, and another process uses it" in refusal(Uio, linux=linux)
    del transport
    Uio(linux=linux).close()


@pytest.mark.parametrize(("missing", "message"), [
    ("sys/class/u-dma-buf/udmabuf-heddle/phys_addr",
     "phys_addr must be there, and it is not: load the driver u-dma-buf and a device tree overlay"),
    ("dev/udmabuf-heddle", "dev/udmabuf-heddle must be there, and it is not: load the driver"),
    ("sys/class/u-dma-buf/udmabuf-heddle/sync_for_device",
     "sync_for_device must be there, and it is not: this version of u-dma-buf has no manual"),
    ("dev/uio0", "dev/uio0 must be there, and it is not: load the device tree overlay"),
])
def test_what_is_missing_is_named(linux, missing, message):
    linux.path(missing).unlink()

    def use():
        Uio(linux=linux).upload(0x7000_0000, np.zeros(4, np.uint8))

    assert message in refusal(use)


def test_what_is_not_for_this_user_is_named(linux, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert refusal(Uio, linux=linux).endswith(
        "dev/udmabuf-heddle must be open to this user, and it is not: run as root, or let a udev "
        "rule give it to your group")


def test_what_the_kernel_refuses_is_named(linux, monkeypatch):
    def refuse(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "open", refuse)
    assert "the kernel refuses with EIO (Input/output error): load" in refusal(Uio, linux=linux)


def test_interrupts_are_let_through_and_awaited(linux):
    ours, theirs = socket.socketpair()

    def answer():
        assert theirs.recv(4) == b"\1\0\0\0"
        theirs.send(b"\7\0\0\0")

    kernel = threading.Thread(target=answer)
    with ours, theirs:
        kernel.start()
        linux.interrupt(ours.fileno(), 10)
        kernel.join()
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(4)
        linux.interrupt(ours.fileno(), 0)  # comes back although there is none


# -- the device ------------------------------------------------------------------------------------

class Fake(Transport):
    """Registers that keep what is written."""

    base, size = 0x1000, 1 << 20

    def __init__(self, **registers):
        self.registers = {"ID": IDENTITY, "GEOMETRY": TINY.fingerprint} | registers
        self.closed = False

    def read(self, offset):
        [name] = [name for name, place in OFFSETS.items() if place == offset]
        return self.registers.get(name, 0)

    def write(self, offset, value):
        pass

    def upload(self, address, data):
        pass

    def download(self, address, size):
        raise AssertionError("Nothing has run")

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def program():
    graph = heddle.Graph()
    x = graph.input("x", tokens=4, features=8)
    graph.output(graph.linear("y", x, np.eye(8)))
    return heddle.compile(graph, {"x": np.ones((4, 8))}, "tiny")


def test_there_must_be_an_accelerator():
    transport = Fake(ID=0xFFFFFFFF)
    message = refusal(Board, TINY, transport)
    assert message.startswith("The register ID must hold 0x4845444c, and it holds 0xffffffff")
    assert transport.closed
    assert refusal(probe, transport) == message


def test_probe_names_the_geometry():
    assert probe(Fake(GEOMETRY=PRESETS["zcu102"].fingerprint))["geometry"] == "zcu102"
    assert probe(Fake(GEOMETRY=1))["geometry"] == "none of the presets"


def test_an_accelerator_that_cannot_be_stopped(program):
    board = Board(TINY, Fake(STATUS=1))
    assert refusal(board.run, program, np.zeros(64, np.uint8)) == (
        "CONTROL.reset must end an earlier run within a second, and it has not, so a burst has no "
        "answer: load the bitstream again")


def test_memory_must_be_aligned(program):
    transport = Fake()
    transport.base += 64
    assert "must begin at a multiple of 4096, not at 0x1040" in refusal(
        Board(TINY, transport).run, program, np.zeros(64, np.uint8))


def test_progress_is_told_while_a_run_lasts(program, monkeypatch):
    monkeypatch.setattr("heddle.runtime.board._TICK", 0.01)
    seen = []
    board = Board(TINY, Fake(CYCLES=1234), timeout=0.1)
    assert "must end within 0.1 s" in refusal(board.run, program, np.zeros(64, np.uint8),
                                              seen.append)
    assert seen
    assert set(seen) == {1234}


def test_ways_by_name():
    assert refusal(open_transport, "jtag:3", error=ValueError).startswith(
        "The way to a board must be one of uio, pynq")


# -- configuration ---------------------------------------------------------------------------------

@pytest.fixture
def bitstream(tmp_path):
    file = tmp_path / "build" / "heddle.bit.bin"
    file.parent.mkdir()
    file.write_bytes(b"\xff" * 32 + bytes.fromhex("665599aa"))
    return file


def test_a_bitstream_is_loaded(linux, bitstream):
    load(bitstream, linux=linux)
    assert linux.path("lib/firmware/heddle.bit.bin").read_bytes() == bitstream.read_bytes()
    assert linux.read(f"{MANAGER}/flags", "") == "0"
    assert linux.read(f"{MANAGER}/firmware", "") == "heddle.bit.bin"


class Configfs(Linux):
    """The kernel's part in overlays: attributes come and go with the folder."""

    status = "applied"

    def make(self, name, need):
        super().make(name, need)
        if name.startswith(OVERLAYS):
            self.path(f"{name}/status").write_text(f"{self.status}\n")
            self.path(f"{name}/dtbo").touch()

    def remove(self, name, need):
        for attribute in self.children(name):
            self.path(f"{name}/{attribute}").unlink()
        super().remove(name, need)


@pytest.mark.parametrize("before", [False, True])
def test_an_overlay_loads_its_bitstream(linux, bitstream, before):
    kernel = Configfs(linux.root)
    kernel.path(OVERLAYS).mkdir(parents=True)
    overlay = bitstream.with_name("heddle.dtbo")
    overlay.write_bytes(b"old")
    if before:
        load(bitstream, overlay, linux=kernel)
    overlay.write_bytes(b"new")
    load(bitstream, overlay, linux=kernel)
    assert kernel.path(f"{OVERLAYS}/heddle/dtbo").read_bytes() == b"new"
    assert kernel.path("lib/firmware/heddle.bit.bin").exists()
    assert kernel.read(f"{MANAGER}/firmware", "") == ""  # the kernel looks for it


def test_refusals_of_configuration(linux, bitstream):
    overlay = bitstream.with_name("heddle.dtbo")
    overlay.write_bytes(b"overlay")
    assert re.search("overlays must be there, and it is not: the kernel needs overlays in configfs",
                     refusal(load, bitstream, overlay, linux=linux))
    linux.path(OVERLAYS).mkdir(parents=True)
    kernel = Configfs(linux.root)
    kernel.status = "unapplied"
    assert "must be applied, and its status is 'unapplied'" in refusal(
        load, bitstream, overlay, linux=kernel)
    linux.path(f"{MANAGER}/firmware").unlink()
    assert "this kernel's FPGA manager takes no file" in refusal(load, bitstream, linux=linux)
    linux.path(f"{MANAGER}/firmware").touch()
    linux.path(f"{MANAGER}/state").write_text("write error\n")
    assert ("must be operating after heddle.bit.bin was loaded, and its state is 'write error'"
            in refusal(load, bitstream, linux=linux))
    linux.path(f"{MANAGER}/state").unlink()
    assert "the kernel needs the FPGA manager" in refusal(load, bitstream, linux=linux)
    bitstream.write_bytes(bytes.fromhex("00090ff00ff00ff00ff0000001"))
    assert "must hold bare configuration data (.bit.bin), and it is a .bit" in refusal(
        load, bitstream, linux=linux, error=ValueError)
    bitstream.write_bytes(b"")
    assert "and it is empty" in refusal(load, bitstream, linux=linux, error=ValueError)


# -- the command line ------------------------------------------------------------------------------

def test_commands(linux, bitstream, monkeypatch):
    for module in "fpga", "uio":
        monkeypatch.setattr(f"heddle.runtime.{module}.Linux", lambda: linux)
    done = CliRunner().invoke(main, ["load", str(bitstream)])
    assert "The FPGA is operating with heddle.bit.bin" in done.output
    done = CliRunner().invoke(main, ["probe"])
    assert done.exit_code == 1
    assert "and it holds 0x00000000" in done.output
    registers = bytearray(4096)
    registers[:8] = struct.pack("<II", IDENTITY, TINY.fingerprint)
    linux.path("dev/uio0").write_bytes(registers)
    done = CliRunner().invoke(main, ["probe"])
    assert done.exit_code == 0, done.output
    assert "tiny" in done.output
    assert "8,192 bytes at 0x70000000" in done.output
