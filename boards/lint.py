"""What ``verilator --lint-only -Wall`` may say about the exported Verilog, and why."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["WAIVERS", "waivers"]

WAIVERS = {
    "CASEINCOMPLETE": "What a case leaves out keeps the value that is assigned before the case, "
                      "so nothing is latched.",
    "CMPCONST": "Cases that differ by a constant compare with it, one of them with the largest "
                "number.",
    "DECLFILENAME": "A file holds many modules.",
    "PINMISSING": "Outputs of a primitive that nothing uses, and cascade inputs of the first one, "
                  "are left open.",
    "PROCASSINIT": "Registers have initial values, with which FPGAs start; none is needed.",
    "SYMRSVDWORD": "The port interrupt is called so by convention; Verilator renames it in C++.",
    "UNOPTFLAT": "Fields of one vector depend on other fields of it; no bit depends on itself, "
                 "which Yosys's check proves.",
    "UNUSEDSIGNAL": "Each field of a structure has a wire of its own, to be seen in waveforms; "
                    "spare bits of sums are dropped.",
    "WIDTHEXPAND": "Operands are as wide as their values, and Verilog extends them.",
    "WIDTHTRUNC": "A vector as a condition is true if any bit is set; shifts drop the bits above "
                  "what is selected.",
}
"""Why each warning is waived, by its name; every other warning counts."""


def waivers(verilog: str, models: Iterable[str] = ()) -> str:
    """Return a configuration file for Verilator.

    Parameters
    ----------
    verilog : str
        Name of the file whose warnings are waived by :data:`WAIVERS`.
    models : iterable of str
        Names of files with models for simulation, which are not looked at.
    """
    lines = ["`verilator_config", ""]
    for rule, reason in WAIVERS.items():
        lines += [f"// {reason}", f'lint_off -rule {rule} -file "*{verilog}"']
    lines += [f"// {WAIVERS['DECLFILENAME']}", 'lint_off -rule DECLFILENAME -file "*heddle_ram.v"']
    for model in models:
        lines += ["// A model for simulation is no part of the design.",
                  f'lint_off -file "*{model}"']
    return "\n".join([*lines, ""])
