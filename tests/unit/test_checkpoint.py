"""Reading checkpoint files: what they hold, and how damaged and foreign ones are refused."""

import argparse
import io
import json
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from heddle.models import CheckpointError
from heddle.models.checkpoint import read_tensors

MAGIC = 0x1950A86A20F9469CFC6C
TENSORS = {
    "a.weight": np.arange(24, dtype=np.float32).reshape(4, 6),
    "a.bias": np.array([1.5, -2.25], np.float16),
    "steps": np.array(7, np.int64),
    "none": np.zeros((0, 3), np.float64),
}
STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage",
            "float64": "DoubleStorage", "bfloat16": "BFloat16Storage"}


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


class Rebuilt:
    """Pickles as torch does: a call with a storage, an offset, a shape and strides."""

    def __init__(self, array, key, *, offset=0, shape=None, strides=None):
        self.array, self.key = array, key
        steps = tuple(step // array.itemsize for step in array.strides)
        self.view = (offset, array.shape if shape is None else shape,
                     steps if strides is None else strides)

    def __reduce__(self):
        call = sys.modules["torch._utils"]._rebuild_tensor_v2
        return call, (Stored(self), *self.view, False, OrderedDict())


class Stored:
    def __init__(self, tensor):
        self.tensor = tensor


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        if not isinstance(value, Stored):
            return None
        array = value.tensor.array
        kind = getattr(sys.modules["torch"], STORAGES[array.dtype.name])
        return "storage", kind, value.tensor.key, "cpu", array.size


def dumps(value):
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()


@pytest.fixture
def torch(monkeypatch):
    """Stand-ins for the names of torch, which pickles refer to."""
    modules = {name: types.ModuleType(name) for name in ("torch", "torch._utils")}
    for name in (*STORAGES.values(), "device"):
        setattr(modules["torch"], name, type(name, (), {"__module__": "torch"}))
    call = types.FunctionType((lambda *arguments: None).__code__, {}, "_rebuild_tensor_v2")
    call.__module__, call.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    modules["torch._utils"]._rebuild_tensor_v2 = call
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules["torch"]


def archive(path, content, arrays, order=b"little", folder="archive"):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{folder}/data.pkl", dumps(content))
        file.writestr(f"{folder}/byteorder", order)
        for key, array in arrays.items():
            file.writestr(f"{folder}/data/{key}", array.tobytes())
    return path


def legacy(path, content, arrays):
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [pickle.dumps(value, protocol=2) for value in (MAGIC, 1001, system)]
    parts += [dumps(content), pickle.dumps(list(arrays), protocol=2)]
    for array in arrays.values():
        parts += [struct.pack("<q", array.size), array.tobytes()]
    path.write_bytes(b"".join(parts))
    return path


def state():
    """The tensors as torch pickles them, and their storages."""
    arrays = {str(n): array for n, array in enumerate(TENSORS.values())}
    return OrderedDict((name, Rebuilt(array, str(n)))
                       for n, (name, array) in enumerate(TENSORS.items())), arrays


# -- safetensors -----------------------------------------------------------------------------------

def one_tensor(kind, shape, data):
    """A safetensors file, byte by byte, for what numpy has no type for."""
    entry = {"x": {"dtype": kind, "shape": shape, "data_offsets": [0, len(data)]}}
    header = json.dumps(entry).encode()
    return struct.pack("<Q", len(header)) + header + data


def test_safetensors(tmp_path):
    file = tmp_path / "any.name"
    file.write_bytes(save(TENSORS))
    assert_same(read_tensors(file), TENSORS)


def test_bfloat16_becomes_float32(tmp_path):
    values = np.array([1.0, -3.5, 2.0 ** 100, 0.1], ml_dtypes.bfloat16)
    file = tmp_path / "model.safetensors"
    file.write_bytes(one_tensor("BF16", [2, 2], values.tobytes()))
    found = read_tensors(file)["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.astype(np.float32).reshape(2, 2))


@given(st.data())
def test_cut_safetensors_are_refused(tmp_path_factory, data):
    whole = save(TENSORS)
    file = tmp_path_factory.mktemp("cut") / "model.safetensors"
    file.write_bytes(whole[:data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(CheckpointError, match=r"must be a (complete safetensors|safetensors) file"):
        read_tensors(file)


def test_type_of_another_kind_is_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(one_tensor("F8_E4M3", [2], b"ab"))
    with pytest.raises(CheckpointError, match=r"Tensor x .* of a type among F64, .* not F8_E4M3"):
        read_tensors(file)


@pytest.mark.parametrize("content", [b"", b"GGUF" + bytes(20), b"\x89HDF\r\n\x1a\n" + bytes(20)])
def test_other_files_are_refused(tmp_path, content):
    file = tmp_path / "model.bin"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="file or a torch checkpoint, and a file that "):
        read_tensors(file)


# -- torch -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("write", [archive, legacy])
@pytest.mark.parametrize("part", [None, "model", "state_dict", "model_state_dict"])
def test_torch(torch, tmp_path, write, part):
    tensors, arrays = state()
    content = tensors if part is None else {
        "args": argparse.Namespace(arch="small", lr=[0.1]), "epoch": 3, part: tensors}
    assert_same(read_tensors(write(tmp_path / "x.pt", content, arrays)), TENSORS)


@pytest.mark.parametrize("write", [archive, legacy])
def test_views_share_a_storage(torch, tmp_path, write):
    array = np.arange(30, dtype=np.float32)
    content = {"all": Rebuilt(array, "0"),
               "transposed": Rebuilt(array, "0", offset=4, shape=(3, 5), strides=(1, 5)),
               "row": Rebuilt(array, "0", offset=25, shape=(5,), strides=(1,))}
    found = read_tensors(write(tmp_path / "x.pt", content, {"0": array}))
    np.testing.assert_array_equal(found["transposed"], array[4:4 + 25].copy()[
        np.add.outer(np.arange(3), 5 * np.arange(5))])
    np.testing.assert_array_equal(found["row"], array[25:])


@pytest.mark.parametrize("write", [archive, legacy])
def test_torch_bfloat16(torch, tmp_path, write):
    values = np.array([0.1, -7.0], ml_dtypes.bfloat16)
    found = read_tensors(write(tmp_path / "x.pt", {"x": Rebuilt(values, "0")}, {"0": values}))
    np.testing.assert_array_equal(found["x"], values.astype(np.float32))


@pytest.mark.parametrize("write", [archive, legacy])
@pytest.mark.parametrize("view", [
    {"shape": (7,), "strides": (1,)}, {"offset": 1}, {"offset": -1}, {"strides": (-1,)},
    {"shape": (2, 2), "strides": (1,)}, {"shape": (2, 2), "strides": (5, 1)},
    {"shape": (1 << 40,), "strides": (0,)}])
def test_views_beyond_their_storage_are_refused(torch, tmp_path, write, view):
    array = np.arange(6, dtype=np.float32)
    file = write(tmp_path / "x.pt", {"x": Rebuilt(array, "0", **view)}, {"0": array})
    with pytest.raises(CheckpointError, match="Tensor x must lie within its storage of 6 elements"):
        read_tensors(file)


@pytest.mark.parametrize("write", [archive, legacy])
@pytest.mark.parametrize(("value", "name"), [
    (print, "print"), (types.SimpleNamespace(), "types.SimpleNamespace"),
    (np.float64(2), r"numpy\."), (io.BytesIO, "_io.BytesIO")])
def test_other_objects_are_refused_by_name(torch, tmp_path, write, value, name):
    content = {"x": Rebuilt(np.zeros(2, np.float32), "0"), "hook": value}
    file = write(tmp_path / "x.pt", content, {"0": np.zeros(2, np.float32)})
    with pytest.raises(CheckpointError, match=f"plain values alone, and this one names .*{name}"):
        read_tensors(file)


@pytest.mark.parametrize("write", [archive, legacy])
def test_files_without_tensors_are_refused(torch, tmp_path, write):
    with pytest.raises(CheckpointError, match="this one has the entries epoch, model"):
        read_tensors(write(tmp_path / "x.pt", {"epoch": 1, "model": {}}, {}))
    with pytest.raises(CheckpointError, match="and this one is a list"):
        read_tensors(write(tmp_path / "y.pt", [1, 2], {}))


@pytest.mark.parametrize("write", [archive, legacy])
def test_cut_torch_files_are_refused(torch, tmp_path, write):
    file = write(tmp_path / "x.pt", *state())
    whole = file.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"x.pt (must be|cannot be read)"):
            read_tensors(file)


@pytest.mark.parametrize("write", [archive, legacy])
def test_storages_of_another_size_are_refused(torch, tmp_path, write):
    array = np.arange(6, dtype=np.float32)
    file = write(tmp_path / "x.pt", {"x": Rebuilt(array, "0")}, {"0": array[:5]})
    with pytest.raises(CheckpointError, match="Storage 0 must have 24 bytes, not 20"):
        read_tensors(file)


def test_storages_of_other_counts_are_refused(torch, tmp_path):
    array = np.arange(6, dtype=np.float32)
    file = legacy(tmp_path / "x.pt", {"x": Rebuilt(array, "0")}, {"0": array})
    whole = file.read_bytes()
    file.write_bytes(whole[:-32] + struct.pack("<q", 5) + whole[-24:])
    with pytest.raises(CheckpointError, match="Storage 0 must have 6 elements, not 5"):
        read_tensors(file)


def test_other_archives_are_refused(torch, tmp_path):
    file = tmp_path / "x.npz"
    np.savez(file, x=np.zeros(3))
    with pytest.raises(CheckpointError, match=r"hold one pickle 'data.pkl' in a folder, not 0"):
        read_tensors(file)
    archive(file, *state(), order=b"big")
    with pytest.raises(CheckpointError, match="byte order must be little, not big"):
        read_tensors(file)
