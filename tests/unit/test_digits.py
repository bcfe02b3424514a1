"""The digits and the trained models: what is committed holds what is claimed of it."""

import sys

import numpy as np
import pytest

from heddle.evaluate import evaluate_digits
from heddle.models.digits import LEVELS, Digits, load, weights_file
from heddle.rtl.geometry import PRESETS

ZCU102 = PRESETS["zcu102"]
SAMPLE = 48
"""Test images that go through programs."""


@pytest.fixture(scope="module")
def digits():
    return Digits()


@pytest.fixture(scope="module", params=LEVELS)
def level(request):
    return request.param


@pytest.fixture(scope="module")
def model(level):
    return load(level)


# -- data ------------------------------------------------------------------------------------------

def test_parts_are_the_images_of_the_package(digits):
    from sklearn.datasets import load_digits

    data = load_digits()
    together = digits.train + digits.validation + digits.test
    assert len(together) == len(data.target) == 1797
    ours = np.column_stack([together.images.reshape(-1, 64) * 16, together.labels])
    theirs = np.column_stack([data.data, data.target])
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_classes_are_even(digits):
    assert np.bincount(digits.test.labels).tolist() == [36] * 10
    assert np.bincount(digits.validation.labels).tolist() == [18] * 10
    assert len(set(digits.test.first(40).labels.tolist())) == 10


def test_first_images(digits):
    assert len(digits.test.first(7)) == 7
    assert len(digits.test.first(None)) == len(digits.test.first(1000)) == 360


def test_missing_package_says_how_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"scikit-learn.*pip install heddle\[demo\]"):
        Digits()


# -- weights ---------------------------------------------------------------------------------------

def test_files_are_small(level):
    assert weights_file(level).stat().st_size <= 300_000


def test_weights_are_pruned_as_claimed(level, model):
    weights = [linear.weight for linear in model.projections.values()]
    assert len(weights) == 24
    kept = sum(map(np.count_nonzero, weights)) / sum(weight.size for weight in weights)
    assert kept <= 1 - LEVELS[level] + 1e-9
    assert kept > 0.95 * (1 - LEVELS[level])


@pytest.mark.parametrize("pruned", [level for level in LEVELS if level != "dense"])
def test_blocks_are_balanced_over_the_banks(pruned):
    rows, depth = ZCU102.rows, ZCU102.depth
    fraction = []
    for name, linear in load(pruned).projections.items():
        outputs, inputs = linear.weight.shape
        blocks = (linear.weight != 0).reshape(outputs // rows, rows, inputs)
        used = blocks.any(1)
        assert blocks.sum() >= 0.99 * rows * used.sum(), name
        banks = used.reshape(len(used), -1, depth).sum(1)
        steps = banks.max()
        fraction.append(steps * rows * depth * len(blocks))
        if pruned == "80":
            assert (banks == steps).all(), name
    kept = sum(fraction) / sum(linear.weight.size for linear in load(pruned).projections.values())
    assert kept <= {"80": 0.2, "90": 0.11}[pruned]


def test_unknown_model_is_refused():
    with pytest.raises(ValueError, match="Model must be one of dense, 80, 90, not '85'"):
        load("85")


# -- reference -------------------------------------------------------------------------------------

def named_right(model, part):
    return int((model.logits(part.images[:, np.newaxis]).argmax(1) == part.labels).sum())


def test_accuracy_in_floating_point(digits):
    dense, pruned, more = (named_right(load(level), digits.test) for level in LEVELS)
    assert dense >= 0.97 * 360
    assert pruned >= dense - 0.01 * 360
    assert more >= dense - 0.03 * 360


def test_images_do_not_see_each_other(digits, model):
    images = digits.test.images[:3, np.newaxis]
    alone = np.concatenate([model.logits(image[np.newaxis]) for image in images])
    np.testing.assert_allclose(model.logits(images), alone, atol=1e-10)


def test_single_precision_is_close(digits, level, model):
    images = digits.test.images[:3, np.newaxis]
    logits = load(level, np.float32).logits(images)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, model.logits(images), atol=1e-3)


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (2, 8, 8), (2, 1, 7, 8)])
def test_other_images_are_refused(model, shape):
    with pytest.raises(ValueError, match=r"shape \[images, 1, 8, 8\], at least one, not"):
        model.logits(np.zeros(shape))


# -- programs --------------------------------------------------------------------------------------

def test_programs_name_what_floating_point_names(level):
    seen = []
    result = evaluate_digits(level, geometry=ZCU102, device="golden", first=SAMPLE,
                             progress=seen.append)
    assert seen == [24, 48]
    assert result.samples == SAMPLE
    assert result["named alike"].heddle >= 1 - 1 / SAMPLE
    right = result["named right"]
    assert right.heddle >= right.float64 - 1 / SAMPLE
    assert result["weights kept"].heddle == pytest.approx(1 - LEVELS[level], abs=0.002)
    assert result.array_cycles > 0
    assert result.cycles is result.matches_golden is None


def test_fewer_weights_take_fewer_cycles():
    dense, pruned = (evaluate_digits(level, geometry=ZCU102, device="golden", first=4)
                     for level in ("dense", "80"))
    assert pruned.array_cycles < 0.5 * dense.array_cycles


def test_geometry_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="must fit into the scratchpad"):
        evaluate_digits("dense", geometry=PRESETS["tiny"], device="golden", first=1)
