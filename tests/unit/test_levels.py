"""LUT levels of netlists that are small enough to count them by hand."""

import itertools

import pytest

from heddle.boards.levels import Levels

OUTPUTS = {"O", "Q", "CO", "P", "DOA", "DOUTADOUT", "result"}


def cell(kind, parameters=None, /, **pins):
    return {"type": kind, "parameters": parameters or {},
            "port_directions": {pin: "output" if pin in OUTPUTS else "input" for pin in pins},
            "connections": {pin: bits if isinstance(bits, list) else [bits]
                            for pin, bits in pins.items()}}


def module(*cells, names=None, **ports):
    """Return a module of cells; ports are bits, those that are named ``result`` go out."""
    return {"cells": {f"cell_{n}": each for n, each in enumerate(cells)},
            "ports": {name: {"direction": "output" if name in OUTPUTS else "input", "bits": [bit]}
                      for name, bit in ports.items()},
            "netnames": {name: {"hide_name": 0, "bits": [bit]}
                         for name, bit in (names or {}).items()}}


def register(d, q):
    return cell("FDRE", C=1, D=d, Q=q)


def longest(*cells, **kwargs):
    """Return the longest path from register to register of a module on its own."""
    paths = Levels({"top": module(*cells, **kwargs)}).timing("top").longest.values()
    return max(paths, key=lambda path: path.level)


def test_each_lut_is_a_level_and_the_path_has_names():
    path = longest(register(2, 3), cell("LUT2", I0=3, I1="0", O=5), cell("LUT1", I0=5, O=6),
                   register(6, 4), names={"from": 3, "between": 5, "to": 4})
    assert path.level == 2
    assert list(path.places()) == ["from (FDRE)", "between (LUT2)", "LUT1", "to (FDRE.D)"]


def test_an_enable_and_a_reset_are_ends():
    register_with_enable = cell("FDRE", C=1, CE=5, R=6, D=2, Q=3)
    assert longest(register(2, 4), cell("LUT1", I0=4, O=5), register_with_enable).level == 1
    assert longest(register(2, 4), cell("LUT1", I0=4, O=7), cell("LUT1", I0=7, O=6),
                   register_with_enable).level == 2


@pytest.mark.parametrize(("pin", "levels"), [("I0", 1), ("I1", 1), ("S", 2)])
def test_a_wide_multiplexer_is_in_the_slice_but_for_its_choice(pin, levels):
    pins = {"I0": "0", "I1": "0", "S": "0"} | {pin: 5}
    assert longest(register(2, 4), cell("LUT1", I0=4, O=5), cell("MUXF7", **pins, O=6),
                   register(6, 3)).level == levels


def test_inverters_are_free():
    assert longest(register(2, 4), cell("INV", I=4, O=5), register(5, 3)).level == 0


@pytest.mark.parametrize(("length", "levels"), [(1, 2), (8, 2), (9, 3), (16, 3), (17, 4)])
def test_a_carry_chain_has_a_level_for_every_32_bits_begun(length, levels):
    """Of a LUT, a chain of this length from its first to its last bit, and no other."""
    bits = itertools.count(10)
    cells, carry = [register(2, 3), cell("LUT1", I0=3, O=4)], "0"
    for n in range(length):
        sums, carries = [next(bits) for _ in range(4)], [next(bits) for _ in range(4)]
        cells.append(cell("CARRY4", CI=carry, CYINIT="0", DI=["0"] * 4,
                          S=[4, "0", "0", "0"] if n == 0 else ["0"] * 4, O=sums, CO=carries))
        carry = carries[3]
    assert longest(*cells, register(sums[3], 5)).level == levels


def test_a_carry_does_not_go_back():
    carry = cell("CARRY4", CI="0", CYINIT="0", DI=["0"] * 4, S=["0", "0", "0", 4],
                 O=[10, 11, 12, 13], CO=[14, 15, 16, 17])
    paths = Levels({"top": module(register(2, 4), carry, register(11, 5), register(13, 6),
                                  names={"low": 5, "high": 6})}).timing("top").longest
    assert {name: path.level for name, path in paths.items()} == {"high": 1}


def dsp(registers):
    parameters = {name: f"{registers:b}" for name in ("AREG", "BREG", "CREG", "PREG")}
    return cell("DSP48E2", parameters, CLK=1, A=5, B=6, C=7, P=8)


def test_a_multiplier_without_registers_is_four_levels_and_with_them_none():
    around = register(2, 4), cell("LUT1", I0=4, O=5), cell("LUT1", I0=8, O=9), register(9, 3)
    assert longest(*around, dsp(0)).level == 1 + 4 + 1
    assert longest(*around, dsp(1)).level == 1


@pytest.mark.parametrize(("pin", "levels"), [("A", 4), ("B", 4), ("C", 2)])
def test_a_multiplier_with_a_register_at_its_end_only(pin, levels):
    parameters = {"AREG": "0", "BREG": "0", "CREG": "0", "PREG": "1"}
    assert longest(register(2, 4), cell("DSP48E2", parameters, CLK=1, **{pin: 4}, P=8)
                   ).level == levels


@pytest.mark.parametrize(("ram", "levels"), [
    (cell("RAMB36E2", {"DOA_REG": "0", "DOB_REG": "1"}, ADDRARDADDR=4, DOUTADOUT=5), 2),
    (cell("RAMB36E2", {"DOA_REG": "1", "DOB_REG": "0"}, ADDRARDADDR=4, DOUTADOUT=5), 0),
    (cell("RAM32M16", ADDRA=4, ADDRH="0", DIA="0", DOA=5), 1),
    (cell("RAM32M16", ADDRA="0", ADDRH=4, DIA=4, DOA=5), 1),  # from its clock
    (cell("SRL16E", D=4, CLK=1, A0="1", Q=5), 1),
])
def test_memories(ram, levels):
    assert longest(register(2, 4), ram, register(5, 3)).level == levels


def test_paths_across_modules_count_in_full_and_have_the_names_of_both():
    inner = module(cell("LUT1", I0=2, O=3), register(3, 4), cell("LUT1", I0=4, O=5),
                   cell("LUT2", I0=5, I1=6, O=7), names={"kept": 4}, value=2, other=6, result=7)
    timing = Levels({"inner": inner}).timing("inner")
    assert {pin: path.level for pin, path in timing.ends.items()} == {("value", 0): 1}
    assert {pin: path.level for pin, path in timing.starts.items()} == {("result", 0): 2}
    assert {pin: {source: path.level for source, path in paths.items()}
            for pin, paths in timing.through.items()} == {("result", 0): {("other", 0): 1}}

    def use(value, other, result):
        return cell("inner", value=value, other=other, result=result)

    # From the register of one through the other into its own and that of a third.
    top = module(use("0", "0", 10), use("0", 10, 11), use(11, "0", 12))
    (name, path), = Levels({"inner": inner, "top": top}).timing("top").longest.items()
    assert (name, path.level) == ("cell_2", 2 + 1 + 1)
    assert list(path.places()) == [
        "cell_0.kept (FDRE)", "cell_0.LUT1", "cell_0.LUT2", "cell_1.other[0]", "cell_1.LUT2",
        "cell_2.value[0]", "cell_2.LUT1", "cell_2.kept (FDRE.D)"]
    assert path.end() == "cell_2.kept (FDRE.D)"


def test_logic_that_leads_back_to_itself_is_refused():
    with pytest.raises(RuntimeError, match="not lead back to its own beginning, but does at ring"):
        longest(cell("LUT1", I0=3, O=4), cell("LUT1", I0=4, O=3), register(3, 5),
                names={"ring": 3})


def test_an_unknown_primitive_is_refused():
    with pytest.raises(RuntimeError, match="one whose levels are known, and URAM288 is not"):
        longest(cell("URAM288", O=4), register(4, 5))
