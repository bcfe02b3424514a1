"""AXI4 and AXI4-Lite interfaces with AMBA signal names, one flat signature each."""

from __future__ import annotations

import enum

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Axi4", "Axi4Lite", "Axi4Read", "Axi4Write", "Response"]


class Response(enum.IntEnum):
    """Values of RRESP and BRESP."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def _address(prefix: str, address_bits: int) -> dict[str, wiring.Member]:
    return {
        f"{prefix}id":    Out(1),
        f"{prefix}addr":  Out(address_bits),
        f"{prefix}len":   Out(8),
        f"{prefix}size":  Out(3),
        f"{prefix}burst": Out(2),
        f"{prefix}cache": Out(4),
        f"{prefix}prot":  Out(3),
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
    }


def _read(address_bits: int, data_bytes: int) -> dict[str, wiring.Member]:
    return _address("ar", address_bits) | {
        "rid":    In(1),
        "rdata":  In(8 * data_bytes),
        "rresp":  In(2),
        "rlast":  In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


def _write(address_bits: int, data_bytes: int) -> dict[str, wiring.Member]:
    return _address("aw", address_bits) | {
        "wdata":  Out(8 * data_bytes),
        "wstrb":  Out(data_bytes),
        "wlast":  Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid":    In(1),
        "bresp":  In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }


class _Axi(wiring.Signature):
    def __init__(self, members: dict[str, wiring.Member], address_bits: int, data_bytes: int):
        self.address_bits = address_bits
        self.data_bytes = data_bytes
        super().__init__(members)


class Axi4Read(_Axi):
    """The read channels (AR, R) of an AXI4 manager; all bursts carry ID 0."""

    def __init__(self, address_bits: int, data_bytes: int):
        super().__init__(_read(address_bits, data_bytes), address_bits, data_bytes)


class Axi4Write(_Axi):
    """The write channels (AW, W, B) of an AXI4 manager; all bursts carry ID 0."""

    def __init__(self, address_bits: int, data_bytes: int):
        super().__init__(_write(address_bits, data_bytes), address_bits, data_bytes)


class Axi4(_Axi):
    """All five channels of an AXI4 manager."""

    def __init__(self, address_bits: int, data_bytes: int):
        super().__init__(_write(address_bits, data_bytes) | _read(address_bits, data_bytes),
                         address_bits, data_bytes)


class Axi4Lite(_Axi):
    """An AXI4-Lite manager with 32 bits of data; flip it for a subordinate."""

    def __init__(self, address_bits: int):
        super().__init__({
            "awaddr":  Out(address_bits),
            "awprot":  Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata":   Out(32),
            "wstrb":   Out(4),
            "wvalid":  Out(1),
            "wready":  In(1),
            "bresp":   In(2),
            "bvalid":  In(1),
            "bready":  Out(1),
            "araddr":  Out(address_bits),
            "arprot":  Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata":   In(32),
            "rresp":   In(2),
            "rvalid":  In(1),
            "rready":  Out(1),
        }, address_bits, 4)
