"""The golden attention against floating point, and its limits."""

import numpy as np
import pytest

from heddle.rtl.divider import TOTAL_BITS
from heddle.sim import attention, golden

ROWS, DEPTH = 16, 8
TOP = 127 * 127


def random_case(keys, sigma, seed, dim=64, lanes=32):
    """Return q, k, v and the scale with which the scores have this standard deviation."""
    rng = np.random.default_rng(seed)
    q = rng.integers(-127, 128, (dim, lanes))
    k = np.clip(np.rint(rng.normal(0, 40, (dim, keys))), -127, 127).astype(np.int8)
    return q, k, random_values(rng, keys, dim), sigma / golden.matmul(k, q).std()


def random_values(rng, keys, features=32):
    return np.clip(np.rint(rng.normal(0, 40, (keys, features))), -127, 127).astype(np.int8)


def scored_case(scores, scale, seed=0):
    """Return q, k, v for scores that are the same for all lanes, within ±127²."""
    scores = np.asarray(scores, int)
    q = np.tile([[127], [1]], (1, 4))
    v = random_values(np.random.default_rng(seed), len(scores))
    return q, np.stack(np.divmod(scores, 127)), v, scale


def exact(q, k, v, scale, visible=None):
    """Return the outputs and the probabilities in floating point."""
    scores = golden.matmul(k, q) * scale
    if visible is not None:
        scores = np.where(visible, scores, -np.inf)
    weights = np.exp(scores - scores.max(0))
    p = weights / weights.sum(0)
    return v.T.astype(float) @ p, p


def tiles_of(keys, visible=None, rows=ROWS):
    return [(n, None if visible is None else visible[n * rows:(n + 1) * rows])
            for n in range(keys // rows)]


def computed(q, k, v, scale, visible=None, rows=ROWS, depth=DEPTH):
    """Return the outputs before their own rounding, with the error of the factor."""
    acc, state = attention.accumulate_job(
        q, k, v, tiles_of(k.shape[1], visible, rows), rows=rows, depth=depth,
        scale=attention.score_scale(scale))
    multiplier, shift = attention.factor(state, 1 << 16, 15)
    return ((acc + 16) >> 5) * multiplier * 0.5 ** (shift + 1)


def error(q, k, v, scale, visible=None, **sizes):
    """Return the root mean square of the errors, relative to that of the outputs."""
    wanted, _ = exact(q, k, v, scale, visible)
    return np.sqrt(np.square(computed(q, k, v, scale, visible, **sizes) - wanted).mean()
                   / np.square(wanted).mean())


@pytest.mark.parametrize(("keys", "seeds"), [(128, 6), (512, 2), (2048, 1), (16384, 1)])
@pytest.mark.parametrize("sigma", [0.5, 1, 1.5, 2, 3, 5])
def test_random_scores(keys, seeds, sigma):
    assert max(error(*random_case(keys, sigma, seed)) for seed in range(seeds)) <= 0.012


@pytest.mark.parametrize("sigma", [0.5, 2, 5])
def test_random_scores_of_65536_keys(sigma):
    assert error(*random_case(65536, sigma, 1)) <= 0.01


@pytest.mark.parametrize(("rows", "depth"), [(8, 8), (4, 4), (4, 2)])
def test_other_geometries(rows, depth):
    assert error(*random_case(512, 2, 0), rows=rows, depth=depth) <= 0.012


@pytest.mark.parametrize("keys", [64, 256, 1024])
def test_probabilities(keys):
    q, k, _, scale = random_case(keys, 1, 2)
    _, p = exact(q, k, np.zeros((keys, 1)), scale)
    got = computed(q, k, 127 * np.eye(keys, dtype=np.int8), scale) / 127
    assert np.abs(got - p).sum(0).mean() <= 0.012


INDEX = np.arange(1024)
ADVERSARIAL = {
    "equal":          (np.full(1024, 1234), 0.01),
    "equal_low":      (np.full(1024, -TOP), 0.04),
    "dominant":       (np.where(INDEX == 700, TOP, 0), 0.01),
    "alternating":    (np.where(INDEX % 2, TOP, -TOP), 0.01),
    "by_tiles":       (np.where(INDEX // 16 % 2, TOP, -TOP), 3 / TOP),
    "rising":         (np.linspace(-TOP, TOP, 1024), 20 / TOP),
    "rising_steeply": (np.linspace(-TOP, TOP, 1024), 0.04),
    "falling":        (np.linspace(TOP, -TOP, 1024), 20 / TOP),
    "falling_steeply": (np.linspace(TOP, -TOP, 1024), 0.04),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_scores(name):
    assert error(*scored_case(*ADVERSARIAL[name])) <= 0.02


@pytest.mark.parametrize("keys", [16, 32, 128, 1024])
def test_a_dominant_key(keys):
    """However far it stands out; worst when the others are half a step of its group each."""
    scores = np.where(np.arange(keys) == keys // 3, TOP, 0)
    assert max(error(*scored_case(scores, margin / TOP, seed=n))
               for n, margin in enumerate(np.arange(0, 12, 0.125))) <= 0.05


def test_equal_scores_of_many_keys():
    """The reference moves although no score is higher."""
    assert max(error(*scored_case(np.full(16384, score), 0.01)) for score in (0, 50, 89)) <= 0.005


@pytest.mark.parametrize("key", [0, 511])
def test_a_single_visible_key(key):
    q, k, v, scale = random_case(512, 2, 3)
    visible = np.zeros((512, 32), bool)
    visible[key] = True
    assert error(q, k, v, scale, visible) <= 0.001


def test_random_masks():
    q, k, v, scale = random_case(512, 2, 4)
    visible = np.random.default_rng(4).random((512, 32)) < np.linspace(0.01, 1, 32)
    visible[100] = True
    assert error(q, k, v, scale, visible) <= 0.012


def test_nothing_visible_gives_zeros():
    q, k, v, scale = random_case(64, 2, 5)
    visible = np.ones((64, 32), bool)
    visible[:, ::3] = False
    out = attention.attend_job(q, k, v, tiles_of(64, visible), rows=ROWS, depth=DEPTH,
                               scale=attention.score_scale(scale), gain=1 << 16, gain_shift=13)
    assert not out[:, ::3].any()
    assert (out != 0).mean(0)[1] > 0.5


def test_hidden_keys_do_not_count():
    """Other hidden keys give the same bits; without the hidden tile only the rounding differs."""
    q, k, v, scale = random_case(128, 2, 6)
    visible = np.ones((128, 32), bool)
    visible[40:48] = visible[64:80] = False
    other_k, other_v = k.copy(), v.copy()
    other_k[:, 40:48], other_k[:, 64:80], other_v[40:48] = -127, 127, 99
    kept = [tile for tile in tiles_of(128, visible) if tile[0] != 4]
    sizes = {"rows": ROWS, "depth": DEPTH, "scale": attention.score_scale(scale)}
    acc, state = attention.accumulate_job(q, k, v, tiles_of(128, visible), **sizes)
    other, other_state = attention.accumulate_job(q, other_k, other_v, tiles_of(128, visible),
                                                  **sizes)
    assert (acc == other).all()
    assert (state.total == other_state.total).all()
    fewer, fewer_state = attention.accumulate_job(q, k, v, kept, **sizes)
    assert np.abs(acc - fewer).max() <= 2 * 128 // DEPTH
    assert (state.total == fewer_state.total).all()


def test_equal_values_come_out_as_they_are():
    """The weights add up to 1: their roundings are the same above and below the line."""
    q, k, v, scale = random_case(512, 1, 7)
    v[:] = 100
    assert np.abs(computed(q, k, v, scale) - 100).max() <= 0.3


@pytest.mark.parametrize("rows", [4, 8, 16])
def test_probabilities_as_defined(rows):
    """Of tiles of jobs at once: each key by itself, relative to the visible ones of its group."""
    rng = np.random.default_rng(rows)
    energy = rng.integers(-1 << 16, 1 << 16, (3, 2, 1, 40)) >> rng.integers(0, 12, (3, 2, 1, 40))
    energy = np.clip(energy + rng.integers(0, 900, (3, 2, rows, 40)), -1 << 16, (1 << 16) - 1)
    visible = rng.random((3, 1, rows, 40)) < 0.4
    p, levels, seen = attention.tile_probabilities(energy, visible)
    size = min(rows, 8)
    for tile, job, group, lane in np.ndindex(3, 2, rows // size, 40):
        keys = range(group * size, (group + 1) * size)
        shown = [key for key in keys if visible[tile, 0, key, lane]]
        assert seen[tile, job, group, lane] == bool(shown)
        level = min((int(energy[tile, job, key, lane]) // 64 for key in shown), default=0)
        assert levels[tile, job, group, lane] == level or not shown
        for key in keys:
            above = energy[tile, job, key, lane] - 64 * level
            wanted = 0
            if key in shown and above < 512:
                power = round(16 * 127 * 2 ** (-(above % 64) / 64)) >> above // 64 + 3
                wanted = (power >> 1) + (power & 1)
            assert p[tile, job, key, lane] == wanted


@pytest.mark.parametrize("level", range(8))
def test_sums_stay_in_range(level):
    """Largest probabilities and values in all keys, for all positions within a granule."""
    energy = np.full((ROWS, 1), level << 6)
    state, acc = attention.LaneState.start(1), np.zeros((2, 1), np.int64)
    values = np.tile([127, -127], (ROWS, 1))
    largest = 0
    for _ in range(4000):
        p, levels, seen = attention.tile_probabilities(energy)
        acc = attention.accumulate(acc, p, values, *state.add(p, levels, seen), DEPTH)
        largest = max(largest, np.abs(acc).max())
        assert state.total.max() < 1 << TOTAL_BITS
    assert 1 << 29 < largest < 1 << 31


@pytest.mark.parametrize("scale", [0, 1e-7, 3e-6, 1e-4, 0.01, 0.3])
def test_score_scale(scale):
    found = attention.score_scale(scale)
    steps = scale * np.log2(np.e) * 64
    assert found.multiplier < 1 << 17
    assert found.shift in (12, 16, 20, 24)
    wrong = abs(found.multiplier / 2**found.shift - steps)
    assert wrong <= max(steps * 2**-14, 2**-25)


@pytest.mark.parametrize("scale", [-0.1, 0.35, float("inf"), float("nan")])
def test_score_scale_refused(scale):
    with pytest.raises(ValueError, match=f"Score scale must be between 0 and 0.3466, not {scale}"):
        attention.score_scale(scale)


def test_factor_is_the_gain_over_the_total():
    rng = np.random.default_rng(8)
    total = np.exp2(rng.uniform(14, 28, 1000)).astype(np.int64)
    for gain in (1 << 16, 77777, (1 << 17) - 1):
        state = attention.LaneState(total, total < 0, total, total < 0, total < 0)
        multiplier, shift = attention.factor(state, gain, 20)
        assert (1 << 16 <= multiplier).all()
        assert (multiplier < 1 << 17).all()
        got = multiplier * 0.5 ** (shift + 1) / 32
        wanted = gain * 0.5**21 / (total / 16)
        assert np.abs(got / wanted - 1).max() <= 2**-15


def test_output_after_rounding():
    q, k, v, scale = random_case(512, 1, 9)
    wanted, _ = exact(q, k, v, scale)
    gain, gain_shift = golden.quantise_scale(100 / np.abs(wanted).max())
    out = attention.attend_job(q, k, v, tiles_of(512), rows=ROWS, depth=DEPTH,
                               scale=attention.score_scale(scale), gain=int(gain),
                               gain_shift=int(gain_shift))
    assert np.abs(out - wanted * 100 / np.abs(wanted).max()).max() <= 2
