"""From .bit to .bit.bin: the words, and what is refused."""

import struct
import subprocess
import sys

import pytest

from heddle.boards import bitfile

WORDS = (0xFFFFFFFF, 0x000000BB, 0x11220044, 0xAA995566, 0x20000000)  # as configuration data begins


FIELDS = (b"heddle;Version=2023.2", b"xczu9eg-ffvb1156-2-e", b"2026/11/26", b"03:00:00")


def bit(data, fields=FIELDS):
    """Return a .bit as Vivado writes it, around configuration data."""
    header = b"".join(struct.pack(">cH", bytes([key]), len(text) + 1) + text + b"\0"
                      for key, text in zip(b"abcd", fields, strict=True))
    return (struct.pack(">H9sH", 9, bytes.fromhex("0ff00ff00ff00ff000"), 1) + header
            + struct.pack(">cI", b"e", len(data)) + data)


DATA = struct.pack(">5I", *WORDS)


def test_words_are_reversed():
    assert struct.unpack("<5I", bitfile.bit_to_bin(bit(DATA))) == WORDS


def test_header_may_have_any_length():
    assert bitfile.bit_to_bin(bit(DATA, (b"", b"e", b"a" * 300, b"d"))) == bitfile.bit_to_bin(
        bit(DATA))


@pytest.mark.parametrize(("data", "message"), [
    (b"", "must begin with 00090ff00ff00ff00ff0000001, not be empty"),
    (DATA, "must begin with 00090ff0.*, not ffffffff000000bb1122004"),
    (bit(DATA)[:-1], "20 bytes by its header, and there are 19 after field b'e'"),
    (bit(DATA) + b"\0", "20 bytes by its header, and there are 21"),
    (bit(DATA)[:30], "Field b must begin at byte 38 of a .bit, not b''"),
    (bit(DATA).replace(b"b\0\x15", b"x\0\x15"), "Field b must begin at byte 38 .* not b'x'"),
    (bit(DATA[:-1]), "whole words of 4 bytes, not 19 bytes"),
], ids=["empty", "bare", "short", "long", "header", "field", "word"])
def test_refuses_what_is_no_bit_file(data, message):
    with pytest.raises(ValueError, match=message):
        bitfile.bit_to_bin(data)


def test_runs_as_a_program_on_its_own(tmp_path):
    (tmp_path / "a.bit").write_bytes(bit(DATA))
    subprocess.run([sys.executable, "-I", bitfile.__file__, "a.bit"], cwd=tmp_path, check=True)
    assert (tmp_path / "a.bit.bin").read_bytes() == bitfile.bit_to_bin(bit(DATA))
