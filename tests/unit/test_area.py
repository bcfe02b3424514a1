"""What geometries are predicted to take of an FPGA, and how the LUTs for that are found."""

import json

import pytest

from heddle import area
from heddle.area import SIZES, predict, sizes
from heddle.boards.fit import fit, main
from heddle.rtl.geometry import PRESETS, preset


@pytest.mark.parametrize(("name", "dsp", "bram36"), [
    ("zcu102", 2_048 + 224 + 7, 456 + 32 + 1 + 0.5 + 4 * 14.5),
    ("tiny", 16 + 28 + 7, 4 + 1 + 0.5 + 0.5)])
def test_what_follows_from_the_sizes(name, dsp, bram36):
    found = predict(preset(name))
    assert (found.dsp, found.bram36) == (dsp, bram36)
    assert found.as_dict() == {"lut": found.lut, "dsp": dsp, "bram36": bram36}


def test_rows_of_the_softmax_take_multipliers():
    two = predict(preset("zcu102").replace(softmax_rows=2))
    assert two.dsp - predict(preset("zcu102")).dsp == 32
    assert two.lut > predict(preset("zcu102")).lut


@pytest.mark.parametrize(("width", "depth", "dual", "number"), [
    (72, 512, False, 1), (36, 512, False, 0.5), (73, 512, False, 1.5), (8, 64, False, 0.5),
    (1024, 64, False, 14.5),
    (32, 1024, True, 1), (18, 1024, True, 0.5), (1024, 4096, True, 114), (64, 512, True, 2)])
def test_block_rams(width, depth, dual, number):
    assert area._brams(width, depth, dual=dual) == number


def reports(luts, names):
    """Reports in which each size of each block takes so many LUTs."""
    for name in names:
        size = sizes(PRESETS[name])
        rows = [{"block": block, "lut": sum(size[each] * number for each, number in zip(
            SIZES[block], luts[block], strict=True))} for block in SIZES]
        yield {"geometry": name, "lut": sum(row["lut"] for row in rows), "blocks": rows}


def test_a_fit_finds_what_there_is(tmp_path, capsys, monkeypatch):
    luts = {block: tuple(3.0 + 7 * n for n, _ in enumerate(names))
            for block, names in SIZES.items()}
    known = list(reports(luts, PRESETS))
    found = fit(known)
    for block, numbers in luts.items():
        assert found[block] == pytest.approx(numbers, rel=0.01), block
    file = tmp_path / "report.json"
    file.write_text(json.dumps(known[0]))
    main([str(file)])
    assert f"# {known[0]['geometry']}: " in capsys.readouterr().out
    monkeypatch.setattr(area, "_LUTS", found)
    for report in known:
        assert predict(PRESETS[report["geometry"]]).lut == pytest.approx(report["lut"], rel=0.01)


def test_a_fit_has_nothing_below_zero():
    """The block is smaller for more lanes, which no number of LUTs a lane can be."""
    luts = {block: (1.0,) * len(names) for block, names in SIZES.items()} | {"norm": (900.0, -2.0)}
    assert min(fit(list(reports(luts, PRESETS)))["norm"]) >= 0


def test_a_fit_knows_its_blocks():
    [report] = reports({block: (1.0,) * len(names) for block, names in SIZES.items()}, ["tiny"])
    report["blocks"][0]["block"] = "rotor"
    with pytest.raises(ValueError, match=r"Blocks of tiny must be cells, .* and cells, rotor is"):
        fit([report])
