"""The host's end of the serial link, against a link that loses and breaks what it is told to."""

import binascii
import struct
from itertools import repeat

import numpy as np
import pytest

from heddle.outcome import DeviceError
from heddle.rtl.frames import IDENTITY, Space, Status
from heddle.runtime import open_transport, uart
from heddle.runtime.uart import Uart

SIZE = 1 << 16


class Line:
    """Takes the place of ``serial.Serial``: a link with a memory, and what happens to its answers.

    ``faults`` says for one answer after the other what happens to it: ``""`` nothing, ``"lost"``,
    ``"flipped"`` (a bit of it), ``"broken"`` (the link did not understand the request) or
    ``"other"`` (an answer to another request).
    """

    faults: iter = iter(())
    identity = IDENTITY

    def __init__(self, port, baud, *, timeout, exclusive):
        assert (port, baud, exclusive) == ("line", 2_000_000, True)
        self.port = port
        self.memory = bytearray(SIZE)
        self.answers = bytearray()
        self.under_way = self.most = 0
        self.open = True

    def close(self):
        self.open = False

    def reset_input_buffer(self):
        self.answers.clear()
        self.under_way = 0

    def write(self, frame):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        body, crc = frame[1:-2], int.from_bytes(frame[-2:], "big")
        assert frame[0] == 0x48
        assert crc == binascii.crc_hqx(body, 0xFFFF)
        tag, command, words, address = struct.unpack("<BBHI", body[:8])
        assert command >> 1 == Space.MEMORY or words == 1
        fault = next(self.faults, "")
        status, data = Status.OK, b""
        if fault == "broken":
            status = Status.BROKEN
        elif command & 1:
            self.memory[address:address + 4 * words] = body[8:]
        elif command >> 1 == Space.LINK:
            data = (SIZE if address else self.identity).to_bytes(4, "little")
        elif command >> 1 == Space.REGISTERS and address >= 256:
            status = Status.REFUSED
        else:
            data = bytes(self.memory[address:address + 4 * words])
        answer = struct.pack("<BBH", tag ^ (fault == "other"), status, len(data) // 4) + data
        answer = bytearray(b"\x44" + answer + binascii.crc_hqx(answer, 0xFFFF).to_bytes(2, "big"))
        if fault == "flipped":
            answer[-1] ^= 1
        if fault != "lost":
            self.answers += answer

    def read(self, count):
        self.under_way = 0
        data = bytes(self.answers[:count])
        del self.answers[:count]
        return data


@pytest.fixture
def line(monkeypatch):
    monkeypatch.setattr("serial.Serial", Line)
    monkeypatch.setattr(uart, "_QUIET", 0)

    def opened(faults=(), identity=IDENTITY):
        monkeypatch.setattr(Line, "identity", identity)
        transport = Uart("line")
        monkeypatch.setattr(Line, "faults", iter(faults))
        return transport, transport._serial
    return opened


@pytest.mark.parametrize("faults", [
    [], ["lost"], ["flipped"], ["broken"], ["other"], ["", "", "lost", "", "", "flipped", "broken"],
    ["", "lost"] * 20], ids=" ".join)
def test_all_arrives_whatever_happens(line, faults):
    transport, other = line(faults)
    data = np.random.default_rng(0).integers(0, 256, 20_000).astype(np.uint8)
    transport.upload(4096, data)
    assert other.memory[4096:24096] == data.tobytes()
    assert (transport.download(4096, data.size) == data).all()
    transport.write(8, 0xDEAD_BEEF)
    assert transport.read(8) == 0xDEAD_BEEF


def test_requests_are_sent_ahead_of_their_answers(line):
    transport, other = line()
    transport.upload(0, np.zeros(8192, np.uint8))
    assert other.most == 4


def test_a_dead_link_is_given_up(line):
    transport, _ = line(repeat("lost"))
    with pytest.raises(DeviceError, match=r"The link at line must answer, and it has not in 6 "
                                          "attempts. An answer must begin with 0x44"):
        transport.read(0)


def test_another_version_is_refused_and_the_port_is_closed(line):
    with pytest.raises(DeviceError, match="must be of version 0x314b4c48, and it is of 0x00000005"):
        line(identity=5)


def test_what_the_link_refuses_is_an_error(line):
    transport, _ = line()
    with pytest.raises(DeviceError, match="must accept 1 words of REGISTERS at 0x100, and it "
                                          "refuses"):
        transport.read(256)


def test_it_closes_its_port(line):
    transport, other = line()
    with transport:
        assert transport.size == SIZE
        assert transport.base == 0
    assert not other.open


def test_a_way_over_a_serial_port_needs_the_port(line):
    assert open_transport("uart:line").size == SIZE
    with pytest.raises(DeviceError, match="must be named with its port, as uart:/dev/ttyUSB0"):
        open_transport("uart")
