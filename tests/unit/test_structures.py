"""Structures of sparse weights: what holds passes, and what does not is named."""

import re

import numpy as np
import pytest

from heddle import Graph
from heddle.prune import prune_balanced, prune_hierarchical, prune_nm
from heddle.rtl.geometry import preset
from heddle.sparsity import pruned
from heddle.structures import (
    NM,
    Balanced,
    Blocks,
    Dense,
    Hierarchical,
    Rectangle,
    Structure,
    Unstructured,
)

TINY, NM4 = preset("tiny"), preset("tiny-nm")
WEIGHT = np.random.default_rng(0).normal(size=(10, 48)) + 9


def marked(shape, *places):
    weight = np.zeros(shape)
    for place in places:
        weight[place] = 1
    return weight


@pytest.mark.parametrize(("structure", "weight"), [
    (Dense(), WEIGHT),
    (Unstructured(0), WEIGHT),
    (Unstructured(0.98), marked((5, 20), (0, 0), (4, 19))),
    (Rectangle(inputs=(1, 5)), marked((3, 9), (0, 1), (2, 5))),
    (Rectangle(outputs=(2,)), marked((3, 9), (2, slice(None)))),
    (Rectangle(), WEIGHT),
    (Rectangle(inputs=()), np.zeros((2, 2))),
    (Blocks(2, 3, ((True, False), (False, True))), marked((3, 5), (1, 2), (2, 4))),
    (Balanced(TINY.rows, TINY.depth, 12), WEIGHT * prune_balanced(WEIGHT, 0.5, TINY)),
    (Balanced(4, 2, 1), marked((5, 7), (3, 6), (2, 3))),
    (NM(2, 4, NM4.depth), WEIGHT * prune_nm(WEIGHT, 2, 4, NM4)),
    (NM(1, 4), WEIGHT * prune_nm(WEIGHT, 1, 4, NM4, stride=1)),
    (NM(1, 4, 2), marked((1, 9), (0, 0), (0, 1), (0, 8))),
    (Hierarchical(4, 3, NM(2, 4, 2)), WEIGHT * prune_hierarchical(WEIGHT, 0.5, 2, 4, NM4)),
], ids=str)
def test_what_holds(structure, weight):
    structure.check(weight)


@pytest.mark.parametrize(("structure", "weight", "message"), [
    (Unstructured(0.98), marked((5, 20), (0, 0), (4, 19), (1, 1)),
     "Of the weights at least 98.00% must be 0, not 97.00%"),
    (Rectangle(inputs=(1, 5)), marked((3, 9), (slice(None), 4)),
     "Input 4 must be gone, and 3 of its weights are not 0"),
    (Rectangle(outputs=(0,)), marked((3, 9), (2, 3)),
     "Output 2 must be gone, and 1 of its weights are not 0"),
    (Rectangle(inputs=(9,)), WEIGHT[:, :9],
     "Inputs that are left must be at least 0 and less than 9, not 9"),
    (Rectangle(outputs=(-1,)), WEIGHT,
     "Outputs that are left must be at least 0 and less than 10, not -1"),
    (Blocks(2, 3, ((True, False), (False, True))), marked((3, 5), (1, 3)),
     "Block (0, 1) of 2 outputs × 3 inputs must be 0, and it is not"),
    (Blocks(2, 3, ((True,),)), marked((3, 5)),
     "Blocks that are left must be given as [2, 2], not [1, 1]"),
    (Balanced(4, 2, 1), marked((8, 8), (4, 1), (6, 5), (0, 0)),
     "Block 1 must use at most 1 inputs of bank 1, not 2"),
    (NM(1, 4, 2), marked((3, 16), (2, 9), (2, 13)),
     "inputs 9, 11, 13, 15 must have at most 1 weights of output 2 that are not 0, not 2"),
    (Hierarchical(4, 1, NM(2, 4, 2)), marked((8, 16), (4, 1), (5, 9)),
     "Block 1 must use at most 1 groups of bank 1, not 2"),
    (Hierarchical(4, 1, NM(1, 4, 2)), marked((8, 16), (4, 1), (4, 3)),
     "The group of inputs 1, 3, 5, 7 must have at most 1 weights of output 4"),
    (Dense(), np.zeros(3), "Weight must have 2 axes, not 1"),
], ids=str)
def test_what_does_not_hold(structure, weight, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        structure.check(weight)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: NM(5, 4), "N of N:M must be at most M = 4, not 5"),
    (lambda: NM(0, 4), "N must be at least 1, not 0"),
    (lambda: NM(1, 4, 0), "Stride must be at least 1, not 0"),
    (lambda: Unstructured(1), "Sparsity must be at least 0 and less than 1, not 1"),
    (lambda: Unstructured(-0.1), "Sparsity must be at least 0 and less than 1, not -0.1"),
    (lambda: Balanced(0, 8, 1), "Rows of a block must be at least 1, not 0"),
    (lambda: Balanced(16, 8, 0), "Inputs that are kept must be at least 1, not 0"),
    (lambda: Hierarchical(16, 0, NM(2, 4)), "Groups that are kept must be at least 1, not 0"),
    (lambda: Blocks(0, 1, ()), "Outputs of a block must be at least 1, not 0"),
])
def test_structures_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


# -- as text ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "structure", "kept"), [
    ("dense", Dense(), 1),
    ("0.75", Balanced(4, 2, 6), 1 / 4),
    ("2:4", NM(2, 4, 2), 1 / 2),
    ("0.5+1:4", Hierarchical(4, 3, NM(1, 4, 2)), 1 / 8),
    ("random:0.9", Unstructured(0.9), 1 / 10),
])
def test_sparsity_as_text(text, structure, kept):
    weight, found = pruned(WEIGHT.astype(np.float32), text, NM4)
    assert isinstance(found, Structure)
    assert found == structure
    found.check(weight)
    assert np.count_nonzero(weight) / weight.size == pytest.approx(kept)
    assert (weight[weight != 0] == WEIGHT.astype(np.float32)[weight != 0]).all()


@pytest.mark.parametrize("text", ["", "sparse", "2:4:8", "0.5+0.5+2:4", "2:4+0.5", "random:x", ":"])
def test_text_refusals(text):
    with pytest.raises(ValueError, match=re.escape(
            f"such as 0.8+2:4, not {text!r}")):
        pruned(WEIGHT, text, NM4)


@pytest.mark.parametrize(("text", "message"), [
    ("1", "Sparsity must be at least 0 and less than 1, not 1"),
    ("-0.5+2:4", "Sparsity must be at least 0 and less than 1, not -0.5"),
    ("random:nan", "Sparsity must be at least 0 and less than 1, not nan"),
    ("5:4", "N must be at most M = 4, not 5"),
])
def test_numbers_out_of_range(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        pruned(WEIGHT, text, NM4)


# -- claims of a layer -----------------------------------------------------------------------------

def test_a_layer_keeps_its_claim():
    graph = Graph()
    x = graph.input("x", tokens=1, features=48)
    graph.linear("y", x, WEIGHT, structure=Unstructured(0))
    assert graph.linear_layers[0].structure == Unstructured(0)


def test_a_claim_is_a_structure():
    graph = Graph()
    x = graph.input("x", tokens=1, features=48)
    with pytest.raises(TypeError, match="Structure of y must be a Structure or None, not '2:4'"):
        graph.linear("y", x, WEIGHT, structure="2:4")


def test_a_layer_whose_claim_does_not_hold_is_refused():
    graph = Graph()
    x = graph.input("x", tokens=1, features=48)
    with pytest.raises(ValueError, match=re.escape(
            "Weight of y must be as its NM says: The group of inputs 0, 1, 2, 3 must have at most "
            "2 weights of output 0 that are not 0, not 4")):
        graph.linear("y", x, WEIGHT, structure=NM(2, 4))
    assert not graph.layers
