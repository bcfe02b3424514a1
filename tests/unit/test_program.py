"""The program file: the same bytes back, and every damage noticed."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

import heddle
from heddle import Graph, Program, ProgramFileError
from heddle.program import _digest
from heddle.rtl.geometry import preset
from heddle.sim.executor import execute

RNG = np.random.default_rng(0)
X = {"x": RNG.normal(size=(9, 13)).astype(np.float32)}


def graph():
    graph = Graph("two layers")
    x = graph.input("x", tokens=9, features=13)
    h = graph.linear("h", x, RNG.normal(size=(21, 13)))
    graph.output(h, graph.linear("y", h, RNG.normal(size=(6, 21))))
    return graph


@pytest.fixture(scope="module", params=["tensor", "token"])
def program(request):
    return heddle.compile(graph(), X, "tiny", activations=request.param)


def run(program, inputs):
    image = program.image(inputs)
    execute(program.geometry, image, offset=program.offset,
            instructions=len(program.instructions))
    return program.outputs_of(image)


def test_round_trip(program, tmp_path):
    program.save(tmp_path / "program.heddle")
    loaded = Program.load(tmp_path / "program.heddle", preset("tiny"))
    assert str(loaded) == str(program)
    assert loaded.geometry == program.geometry
    assert (loaded.name, loaded.macs, loaded.scratchpad_bytes) == (
        "two layers", 9 * 13 * 21 + 9 * 21 * 6, program.scratchpad_bytes)
    assert loaded.layer_names() == program.layer_names()
    assert set(program.layer_names()) == set(loaded.layers) == {"h", "y"}
    assert (loaded.image(X) == program.image(X)).all()
    one, other = run(program, X), run(loaded, X)
    assert list(one) == list(other) == ["h", "y"]
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_a_file_is_the_same_every_time(program, tmp_path):
    program.save(tmp_path / "one")
    program.save(tmp_path / "other")
    with safe_open(tmp_path / "one", "numpy") as one, safe_open(tmp_path / "other", "numpy") as two:
        assert one.metadata() == two.metadata()


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "program"
    heddle.compile(graph(), X, "tiny").save(path)
    return path, path.read_bytes()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_altered_bit_is_noticed(contents, data):
    path, good = contents
    altered = bytearray(good)
    altered[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.with_name("altered").write_bytes(altered)
    with pytest.raises(ProgramFileError):
        Program.load(path.with_name("altered"))


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_truncation_is_noticed(contents, data):
    path, good = contents
    path.with_name("short").write_bytes(good[:data.draw(st.integers(0, len(good) - 1))])
    with pytest.raises(ProgramFileError, match="must be a complete program file, and it cannot be"):
        Program.load(path.with_name("short"))


def rewrite(path, change):
    """Write a file with other contents but the right checksum."""
    with safe_open(path, "numpy") as file:
        metadata = {k: v for k, v in file.metadata().items() if k != "sha256"}
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    change(metadata, tensors)
    save_file(tensors, path.with_name("changed"),
              metadata | {"sha256": _digest(metadata, tensors)})
    return path.with_name("changed")


@pytest.mark.parametrize(("change", "message"), [
    (lambda m, t: m.update(format="onnx"), "must have the format 'heddle-program', not 'onnx'"),
    (lambda m, t: m.pop("format"), "must have the format 'heddle-program', not None"),
    (lambda m, t: m.update(version="0"), "must be of version 3, not 0; compile the graph again"),
    (lambda m, t: t.pop("instructions"), "must describe a whole program, and it does not (KeyErr"),
    (lambda m, t: t.pop("scale.x"), "(KeyError: 'scale.x')"),
    (lambda m, t: t.update(instructions=t["instructions"][:, :63].copy()),
     "(ValueError: Instructions must be uint8 [n, 64], not uint8 ["),
    (lambda m, t: t["instructions"].__setitem__((0, 0), 15), "(ValueError: Opcode must be one of"),
    (lambda m, t: m.update(program="{}"), "(KeyError: 'name')"),
    (lambda m, t: m.update(program=m["program"].replace('"image_bytes": ', '"image_bytes": -')),
     "(ValueError: Constants must end within an image of -"),
    (lambda m, t: t.pop("layer"), "(KeyError: 'layer')"),
    (lambda m, t: t["layer"].__setitem__(0, 2), "numbers below 2, not 31 up to 2"),
    (lambda m, t: t.update(layer=t["layer"][1:].copy()), "must be 31 numbers below 2, not 30 up"),
    (lambda m, t: m.update(geometry=json.dumps({"rows": 3})), "(TypeError: Geometry"),
])
def test_a_wrong_file_with_a_right_checksum(contents, change, message):
    with pytest.raises(ProgramFileError, match=re.escape(message)):
        Program.load(rewrite(contents[0], change))


def test_another_geometry_is_refused(contents):
    with pytest.raises(ProgramFileError, match=re.escape(
            "must be a program for geometry compact (fingerprint 0x")):
        Program.load(contents[0], preset("compact"))
    with pytest.raises(ValueError, match="Program must be for geometry compact"):
        heddle.run(Program.load(contents[0]), X, device=heddle.Golden(preset("compact")))


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Program.load(tmp_path / "none")


@pytest.mark.parametrize(("inputs", "message"), [
    ({}, "Inputs must be x; x is missing"),
    (X | {"z": X["x"]}, "Inputs must be x; z is not an input"),
    ({"x": X["x"][:8]}, "Input x must have 9 along axis 0, not 8"),
    ({"x": X["x"].ravel()}, "Input x must have 2 axes, not 1"),
    ({"x": X["x"] * np.inf}, "Input x must be finite in float32, but element (0, 0) is"),
])
def test_bad_inputs_are_refused(program, inputs, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        program.image(inputs)
