"""The cells of a block design: the processors, two kinds of IP, and modules of Verilog."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["IP", "Cell", "Interface", "Module", "Pin"]


@dataclass(frozen=True)
class Pin:
    """A pin; ``kind`` is ``clock``, ``reset`` (with its polarity), or ``interrupt``."""

    output: bool
    kind: str
    required: bool = True


@dataclass(frozen=True)
class Interface:
    """An AXI interface and the pin with its clock."""

    master: bool
    clock: str
    protocol: str = "AXI4"


@dataclass
class Cell:
    """A cell with its parameters; pins and interfaces depend on them."""

    name: str
    parameters: dict[str, str] = field(default_factory=dict)

    def allowed(self) -> dict[str, str]:
        """Return for each parameter that may be set a regular expression of its values."""
        return {}

    def pins(self) -> dict[str, Pin]:
        raise NotImplementedError

    def interfaces(self) -> dict[str, Interface]:
        return {}

    def through(self, interface: str) -> list[str]:
        """Return the masters to which a slave passes requests on."""
        return []

    def spaces(self) -> dict[str, list[str]]:
        """Return the address spaces by name, and the masters of each."""
        return {}

    def segments(self) -> dict[str, tuple[str, int, int]]:
        """Return the address segments by name: the slave of each, its place if fixed, its size."""
        return {}

    def set(self, name: str, value: str) -> None:
        """Set a parameter."""
        pattern = self.allowed().get(name.removeprefix("CONFIG."))
        if not name.startswith("CONFIG.") or pattern is None:
            raise ValueError(f"{self.name} has no parameter {name} that can be set")
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{name} of {self.name} must be {pattern}, not {value!r}")
        self.parameters[name.removeprefix("CONFIG.")] = value

    def get(self, name: str) -> str:
        """Return a parameter."""
        if name.removeprefix("CONFIG.") not in self.parameters:
            raise ValueError(f"{self.name} has no parameter {name}")
        return self.parameters[name.removeprefix("CONFIG.")]


_MASTERS = ("hpm0_fpd", "hpm1_fpd", "hpm0_lpd")
_SLAVES = ("hpc0_fpd", "hpc1_fpd", "hp0_fpd", "hp1_fpd", "hp2_fpd", "hp3_fpd", "_lpd")


class Processors(Cell):
    """``zynq_ultra_ps_e``. Before the preset it has neither a memory nor an oscillator."""

    preset = False

    def __init__(self, name: str) -> None:
        super().__init__(name, {f"PSU__USE__S_AXI_GP{n}": "0" for n in range(len(_SLAVES))}
                         | {f"PSU__USE__M_AXI_GP{n}": "0" for n in range(len(_MASTERS))}
                         | {"PSU__USE__IRQ0": "0", "PSU__FPGA_PL0_ENABLE": "1",
                            "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ": "100",
                            "PSU__PSS_REF_CLK__FREQMHZ": "33.333"})

    def apply_preset(self) -> None:
        """Set what the preset of the ZCU102 sets."""
        self.preset = True
        self.parameters |= {"PSU__USE__M_AXI_GP0": "1", "PSU__USE__M_AXI_GP1": "1",
                            "PSU__USE__IRQ0": "1", "PSU__PSS_REF_CLK__FREQMHZ": "33.330"}

    def allowed(self) -> dict[str, str]:
        number = r"\d+(\.\d+)?"
        return {"PSU__USE__IRQ0": "[01]", "PSU__FPGA_PL0_ENABLE": "[01]",
                "PSU__PSS_REF_CLK__FREQMHZ": number,
                "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ": number,
                **{f"PSU__USE__M_AXI_GP{n}": "[01]" for n in range(len(_MASTERS))},
                **{f"PSU__MAXIGP{n}__DATA_WIDTH": "32|64|128" for n in range(len(_MASTERS))},
                **{f"PSU__USE__S_AXI_GP{n}": "[01]" for n in range(len(_SLAVES))},
                **{f"PSU__SAXIGP{n}__DATA_WIDTH": "32|64|128" for n in range(len(_SLAVES))}}

    def get(self, name: str) -> str:
        if name == "CONFIG.PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ":
            return f"{self.clock_mhz:.6f}"
        return super().get(name)

    @property
    def clock_mhz(self) -> float:
        """The clock: that of a PLL, 45 times the oscillator, over two dividers of 6 bits."""
        pll = 45 * float(self.get("PSU__PSS_REF_CLK__FREQMHZ"))
        wanted = float(self.get("PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"))
        return min((pll / (one * two) for one in range(1, 64) for two in range(1, 64)),
                   key=lambda made: abs(made - wanted))

    def _used(self, kind: str, names: tuple[str, ...]) -> list[tuple[int, str]]:
        return [(n, name) for n, name in enumerate(names)
                if self.parameters[f"PSU__USE__{kind}_AXI_GP{n}"] == "1"]

    def pins(self) -> dict[str, Pin]:
        pins = {"pl_resetn0": Pin(True, "reset low", False)}
        if self.parameters["PSU__FPGA_PL0_ENABLE"] == "1":
            pins["pl_clk0"] = Pin(True, "clock", False)
        if self.parameters["PSU__USE__IRQ0"] == "1":
            pins["pl_ps_irq0"] = Pin(False, "interrupt", False)
        for _, name in self._used("M", _MASTERS):
            pins[f"maxi{name}_aclk"] = Pin(False, "clock")
        for _, name in self._used("S", _SLAVES):
            pins[f"saxi{name}_aclk"] = Pin(False, "clock")
        return pins

    def interfaces(self) -> dict[str, Interface]:
        return {f"M_AXI_{name.upper()}": Interface(True, f"maxi{name}_aclk")
                for _, name in self._used("M", _MASTERS)} | {
                f"S_AXI_{name.upper().strip('_')}": Interface(False, f"saxi{name}_aclk")
                for _, name in self._used("S", _SLAVES)}

    def spaces(self) -> dict[str, list[str]]:
        return {"Data": [name for name, interface in self.interfaces().items() if interface.master]}

    def segments(self) -> dict[str, tuple[str, int, int]]:
        return {f"SAXIGP{n}/{name[:-4].upper()}_{memory}": (f"S_AXI_{name.upper()}", place, size)
                for n, name in self._used("S", _SLAVES[:6]) for memory, place, size in (
                    ("DDR_LOW", 0, 2 << 30), ("DDR_HIGH", 32 << 30, 32 << 30),
                    ("QSPI", 0xC000_0000, 512 << 20), ("LPS_OCM", 0xFF00_0000, 16 << 20))}


class SmartConnect(Cell):
    """``smartconnect``, which connects all its masters with all its slaves."""

    def __init__(self, name: str) -> None:
        super().__init__(name, {"NUM_SI": "2", "NUM_MI": "1"})

    def allowed(self) -> dict[str, str]:
        return {"NUM_SI": "[1-9]|1[0-6]", "NUM_MI": "[1-9]|1[0-6]"}

    def pins(self) -> dict[str, Pin]:
        return {"aclk": Pin(False, "clock"), "aresetn": Pin(False, "reset low")}

    def interfaces(self) -> dict[str, Interface]:
        return {f"{kind}{n:02}_AXI": Interface(kind == "M", "aclk", "any") for kind in "SM"
                for n in range(int(self.get(f"NUM_{kind}I")))}

    def through(self, interface: str) -> list[str]:
        return [name for name in self.interfaces() if name.startswith("M")]


class Reset(Cell):
    """``proc_sys_reset``, whose reset input takes either polarity."""

    def pins(self) -> dict[str, Pin]:
        return {"slowest_sync_clk": Pin(False, "clock"), "ext_reset_in": Pin(False, "reset"),
                "aux_reset_in": Pin(False, "reset", False), "dcm_locked": Pin(False, "data", False),
                "mb_reset": Pin(True, "reset high", False),
                "peripheral_reset": Pin(True, "reset high", False),
                "peripheral_aresetn": Pin(True, "reset low", False),
                "interconnect_aresetn": Pin(True, "reset low", False)}


IP = {"zynq_ultra_ps_e": Processors, "smartconnect": SmartConnect, "proc_sys_reset": Reset}
"""The kinds of IP by name."""

_ADDRESS = {"ID": False, "ADDR": True, "LEN": False, "SIZE": False, "BURST": False, "CACHE": False,
            "PROT": True, "VALID": True, "READY": True}
"""Signals of an address channel, and whether AXI4-Lite has them."""

_DATA = {"WDATA": True, "WSTRB": True, "WLAST": False, "WVALID": True, "WREADY": True,
         "BID": False, "BRESP": True, "BVALID": True, "BREADY": True,
         "RID": False, "RDATA": True, "RRESP": True, "RLAST": False, "RVALID": True, "RREADY": True}

_SIGNALS = {f"{way}{name}": lite for way in ("AW", "AR") for name, lite in _ADDRESS.items()} | _DATA


class Module(Cell):
    """A module of Verilog, known by the attributes of its ports."""

    def __init__(self, name: str, verilog: str, module: str) -> None:
        super().__init__(name)
        found = re.search(rf"^module {module}\((.*?)^endmodule", verilog, re.MULTILINE | re.DOTALL)
        if found is None:
            raise ValueError(f"No file of the project has a module {module}")
        self._ports: dict[str, tuple[bool, int]] = {}
        self._roles: dict[tuple[str, str], dict[str, str]] = {}
        self._settings: dict[str, dict[str, str]] = {}
        for attributes, way, high, port in re.findall(
                r"((?:^  \(\* .* \*\)\n)*)^  (input|output) (?:\[(\d+):0\] )?(\w+);$",
                found[1], re.MULTILINE):
            self._ports[port] = way == "output", int(high or 0) + 1
            self._read(port, dict(re.findall(r'\(\* (\w+) = "(.*)" \*\)', attributes)))
        for (kind, interface), roles in self._roles.items():
            if kind == "interface:aximm":
                self._check(interface, roles)

    def _read(self, port: str, attributes: dict[str, str]) -> None:
        info = attributes.get("X_INTERFACE_INFO")
        found = re.fullmatch(r"xilinx\.com:(\S+):1\.0 (\w+) (\w+)", info or "")
        if found is None:
            raise ValueError(f"Port {port} of {self.name} must belong to an interface, not {info}")
        self._roles.setdefault((found[1], found[2]), {})[found[3]] = port
        for setting in filter(None, attributes.get("X_INTERFACE_PARAMETER", "").split(", ")):
            key, value = setting.split(" ")
            self._settings.setdefault(found[2], {})[key] = value
        if "FREQ_HZ" in self._settings.get(found[2], {}):
            raise ValueError(f"{found[2]} of {self.name} must not have a FREQ_HZ of its own")

    def _check(self, interface: str, roles: dict[str, str]) -> None:
        """Refuse an interface that lacks a signal, or has it the wrong way or of wrong width."""
        settings = self._settings[interface]
        lite = settings["PROTOCOL"] == "AXI4LITE"
        wanted = {signal for signal, in_lite in _SIGNALS.items() if in_lite or not lite}
        if set(roles) != wanted:
            raise ValueError(f"Interface {interface} of {self.name} must have the signals "
                             f"{sorted(wanted)}, not {sorted(roles)}")
        master = self._ports[roles["AWVALID"]][0]
        for signal, port in roles.items():
            answers = (signal[0] in "BR") != signal.endswith("READY")
            if self._ports[port][0] != (master != answers):
                raise ValueError(f"Port {port} of {self.name} has the wrong direction")
        for signal, setting in (("AWADDR", "ADDR_WIDTH"), ("ARADDR", "ADDR_WIDTH"),
                                ("WDATA", "DATA_WIDTH"), ("RDATA", "DATA_WIDTH")):
            if self._ports[roles[signal]][1] != int(settings[setting]):
                raise ValueError(f"{setting} of {interface} must be that of {roles[signal]}, not "
                                 f"{settings[setting]}")
        clocks = [name for (kind, name) in self._roles if kind == "signal:clock"
                  and interface in self._settings[name]["ASSOCIATED_BUSIF"].split(":")]
        if len(clocks) != 1:
            raise ValueError(f"Interface {interface} of {self.name} must have one clock")

    def pins(self) -> dict[str, Pin]:
        kinds = {"signal:clock": "clock", "signal:interrupt": "interrupt"}
        pins = {}
        for (kind, name), roles in self._roles.items():
            if kind == "signal:reset":
                low = self._settings[name]["POLARITY"] == "ACTIVE_LOW"
                pins[name] = Pin(False, f"reset {'low' if low else 'high'}")
            elif kind in kinds:
                [port] = roles.values()
                pins[name] = Pin(self._ports[port][0], kinds[kind])
        return pins

    def interfaces(self) -> dict[str, Interface]:
        [clock] = (name for kind, name in self._roles if kind == "signal:clock")
        return {name: Interface(self._ports[roles["AWVALID"]][0], clock,
                                self._settings[name]["PROTOCOL"])
                for (kind, name), roles in self._roles.items() if kind == "interface:aximm"}

    def spaces(self) -> dict[str, list[str]]:
        return {name: [name] for name, interface in self.interfaces().items() if interface.master}

    def address_bits(self, interface: str) -> int:
        """Return the width of the addresses of an interface."""
        return int(self._settings[interface]["ADDR_WIDTH"])

    def segments(self) -> dict[str, tuple[str, int, int]]:
        return {f"{name}/reg0": (name, -1, 1 << self.address_bits(name))
                for name, interface in self.interfaces().items() if not interface.master}
