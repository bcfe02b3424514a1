"""The design space: which geometries there are, and what is predicted of each."""

import pytest
from click.testing import CliRunner

from heddle.boards.synth import DEVICE
from heddle.cli import main
from heddle.explore import explore, space
from heddle.rtl.geometry import preset

ZCU102 = preset("zcu102")


def test_the_space_has_all_that_fit():
    found = [(g.rows, g.lanes, g.depth, g.scratchpad_bytes >> 10, g.softmax_rows)
             for g in space(ZCU102, ["4x8x4", "16x32x8"], [512, 2048], [1, 2])]
    assert found == [(4, 8, 4, 512, 1), (4, 8, 4, 2048, 1), (16, 32, 8, 512, 1),
                     (16, 32, 8, 512, 2), (16, 32, 8, 2048, 1), (16, 32, 8, 2048, 2)]


@pytest.mark.parametrize("array", ["16x32", "16 x 32 x 8 x 1", "axbxc", ""])
def test_an_array_has_three_sizes(array):
    with pytest.raises(ValueError, match="must be written as ROWSxLANESxDEPTH"):
        list(space(ZCU102, [array], [512], [1]))


def test_more_of_an_accelerator_is_faster_and_larger():
    small, large, huge, tiny = explore(
        [*space(ZCU102, ["8x16x8", "16x32x8", "16x64x8"], [2048], [1]), preset("tiny")], 32,
        DEVICE)
    cycles, lut, dsp = ([int(row[place].replace(",", "")) for row in (small, large, huge)]
                        for place in (3, 6, 7))
    assert cycles[0] > 1.2 * cycles[1] > cycles[2]
    assert lut == sorted(lut)
    assert dsp == sorted(dsp)
    assert [row[-1] for row in (small, large, huge)] == ["yes", "yes", "no"]
    assert tiny[3:6] == ("–", "–", "–")  # its heads have at most 8 features


def test_the_command():
    result = CliRunner().invoke(main, ["explore", "--tokens", "16", "--array", "16x32x8",
                                       "--scratchpad", "1024", "--softmax-rows", "1"])
    assert result.exit_code == 0, result.output
    assert "| 16 × 32 × 8 | 1,024 KiB | 1 | " in result.output
