"""The models of the digits on the RTL."""

from heddle.evaluate import evaluate_digits
from heddle.rtl.geometry import PRESETS


def test_programs_give_the_same_bits_on_the_rtl():
    golden, rtl = (evaluate_digits("80", geometry=PRESETS["zcu102"], device=device, first=4)
                   for device in ("golden", "rtl"))
    assert rtl.matches_golden is True
    assert rtl.figures == golden.figures
    assert rtl.array_cycles == golden.array_cycles
    assert rtl.cycles > rtl.array_cycles
