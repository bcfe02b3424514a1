# amaranth: UnusedElaboratable=no
"""Geometry: the presets, what is derived, and every refusal."""

import json

import pytest

from heddle.rtl.geometry import PRESETS, Geometry, preset

TINY = PRESETS["tiny"]


@pytest.mark.parametrize("geometry", PRESETS.values(), ids=PRESETS)
def test_derived_sizes_add_up(geometry):
    g = geometry
    assert g.word_bytes == g.vectors_per_word * g.lanes
    assert g.step_words * g.word_bytes == g.depth * g.lanes
    assert g.tile_words * g.word_bytes == g.rows * g.lanes
    assert g.channel_words * g.word_bytes == 8 * g.rows
    assert g.word_beats * g.dma_bytes == g.word_bytes
    assert g.scratchpad_words == g.scratchpad_banks * g.bank_words == 1 << g.pool_bits
    assert g.operand_steps == 1 << g.operand_bits
    assert g.contexts == 1 << g.context_bits
    assert g.candidates == 1 << g.candidate_bits
    assert g.list_steps * g.candidates == g.operand_steps


@pytest.mark.parametrize(("candidates", "bits"), [(1, 0), (2, 1), (4, 2), (8, 4)])
def test_words_of_a_list_hold_its_fields(candidates, bits):
    g = PRESETS["zcu102-nm"].replace(candidates=candidates)
    assert g.selector_bits == bits
    for steps in (1, 7, 16, 17, 32, 33, 512):
        for wide in (False, True):
            gaps = steps * g.depth * (8 if wide else 4)
            assert g.gap_words(steps, wide) == -(-gaps // (8 * g.word_bytes))
            assert g.list_words(steps, wide) == g.gap_words(steps, wide) + g.selector_words(steps)
        assert g.selector_words(steps) == -(-steps * g.depth * g.rows * bits // (8 * g.word_bytes))
    assert [g.padded_steps(steps) for steps in (1, candidates, candidates + 1)] == [
        candidates, candidates, 2 * candidates if candidates > 1 else 2]


def test_the_presets_have_their_sizes():
    assert {name: g.peak_macs_per_cycle for name, g in PRESETS.items()} == {
        "zcu102": 4096, "zcu102-nm": 4096, "compact": 1024, "ulx3s": 64, "tiny": 32, "tiny-nm": 32}
    assert preset("tiny") == preset(TINY) == TINY


@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"rows": 4.0}, TypeError, "rows must be an integer, not 4.0"),
    ({"lanes": True}, TypeError, "lanes must be an integer, not True"),
    ({"contexts": 0}, ValueError, "contexts must be positive, not 0"),
    ({"lanes": 12}, ValueError, "lanes must be a power of two, not 12"),
    ({"depth": 16}, ValueError, "depth must be between 1 and 8, not 16: the 18-bit low field"),
    ({"candidates": 16}, ValueError, "candidates must be between 1 and 8, not 16"),
    ({"rows": 32, "lanes": 32}, ValueError, "rows must be between 4 and 16, not 32"),
    ({"softmax_rows": 2}, ValueError, "rows must be at least 4 × softmax_rows = 8, not 4"),
    ({"softmax_rows": 4}, ValueError, "softmax_rows must be between 1 and 2, not 4"),
    ({"dma_ports": 8}, ValueError, "dma_ports must be between 1 and 4, not 8"),
    ({"dma_bytes": 128}, ValueError, "dma_bytes must be between 4 and 64, not 128"),
    ({"operand_steps": 8}, ValueError, "operand_steps must be between 16 and 65536, not 8"),
    ({"candidates": 8}, ValueError, "operand_steps must be at least 16 × candidates = 128, not 64"),
    ({"lanes": 2}, ValueError, r"lanes must be a multiple of rows \(4\), not 2"),
    ({"depth": 8, "lanes": 8}, ValueError, r"rows must be a multiple of depth \(8\), not 4"),
    ({"depth": 1}, ValueError, "A word must hold the 8 bytes of a channel's parameters"),
    ({"lanes": 16}, ValueError, "lanes must be at most depth × rows = 8, not 16"),
    ({"dma_bytes": 16, "burst_beats": 4}, ValueError, "dma_bytes must divide a word of 8 bytes"),
    ({"burst_beats": 1}, ValueError, r"between one word \(8 bytes\) and 4096 bytes, not 4"),
    ({"scratchpad_bytes": 1000}, ValueError, "must be a multiple of 2 banks × 8 bytes, not 1000"),
    ({"scratchpad_bytes": 48 << 10}, ValueError, "banks of a power of two of words, not 3072"),
])
def test_refusals(changes, error, message):
    with pytest.raises(error, match=message):
        TINY.replace(**changes)


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"one of zcu102, .* tiny, tiny-nm, not 'huge'"):
        preset("huge")


def test_a_preset_with_other_sizes():
    geometry = preset("zcu102:softmax_rows=2,scratchpad_bytes=1048576")
    assert geometry == PRESETS["zcu102"].replace(
        name="zcu102-softmax_rows2-scratchpad_bytes1048576", softmax_rows=2,
        scratchpad_bytes=1 << 20)
    assert preset("tiny:") == TINY


@pytest.mark.parametrize(("changes", "message"), [
    ("colour=1", "no size named 'colour'"),
    ("rows", "must be the name of a size, =, and a number, not 'rows'"),
    ("rows=x", "must be the name of a size, =, and a number, not 'rows=x'"),
    ("rows=4,lanes=-1", "must be the name of a size, =, and a number, not 'lanes=-1'"),
    ("name=1", "must be the name of a size, =, and a number, not 'name=1'"),
    ("rows=5", "rows must be a power of two, not 5"),
])
def test_refused_changes_of_a_preset(changes, message):
    with pytest.raises(ValueError, match=message):
        preset(f"tiny:{changes}")


def test_a_geometry_survives_json_and_unknown_sizes_do_not():
    sizes = json.loads(json.dumps(TINY.as_dict()))
    assert Geometry.from_dict(sizes) == TINY
    with pytest.raises(ValueError, match="no size named 'colour'"):
        Geometry.from_dict(sizes | {"colour": 1})


def test_the_fingerprint_tells_what_matters_to_a_program():
    assert TINY.replace(name="other", clock_mhz_assumed=100,
                        bandwidth_assumed=8).fingerprint == TINY.fingerprint
    others = [TINY.replace(contexts=16), TINY.replace(operand_steps=128), *PRESETS.values()]
    assert len({g.fingerprint for g in others}) == len(others)
