"""The program file: everything that a device and its host need to run a compiled graph.

A program file is a `safetensors <https://github.com/huggingface/safetensors>`_ file. Its metadata
are strings: ``format`` (``heddle-program``), ``version``, ``geometry`` and ``program`` (JSON), and
``sha256``, which covers all the rest. Its tensors are

``instructions`` : uint8 ``[n, 64]``
    The program.
``layer`` : uint16 ``[n]``
    The number of the layer to which each instruction belongs.
``constants`` : uint8
    Weights and tables: the DRAM image from its start.
``scale.NAME`` : float32 ``[features]``
    Value of a step of each feature of an input or output.
``bias.NAME`` : float32 ``[features]``
    What the host adds to an output; only where it adds something.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .assembler import Instruction, decode, disassemble
from .form import Form
from .graph import checked_inputs
from .layers import Tensor
from .quantise import Scale
from .rtl.geometry import Geometry
from .rtl.isa import INSTRUCTION_BYTES, Layout

__all__ = ["Program", "ProgramFileError", "Slot", "VERSION"]

FORMAT = "heddle-program"
VERSION = "3"


class ProgramFileError(ValueError):
    """A file is not a program for this version and geometry."""


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies in the DRAM image, and what its integers mean.

    Part ``n`` of the form starts at ``offset + n · part_bytes``.
    """

    tensor: Tensor
    form: Form
    offset: int
    part_bytes: int
    scale: Scale
    bias: NDArray[np.float32] | None = None
    """What the host adds to each feature."""


@dataclass(frozen=True)
class Program:
    """A compiled graph.

    Attributes
    ----------
    name : :class:`str`
    geometry : :class:`~heddle.rtl.geometry.Geometry`
        The only one on which the program runs.
    instructions : array of uint8, shape ``[n, 64]``
    constants : array of uint8
        The image from its start: weights and tables.
    inputs, outputs : dict of str to :class:`Slot`
    offset : :class:`int`
        Where in the image the instructions start.
    image_bytes : :class:`int`
        Size of the image.
    tokens_offset : :class:`int` or ``None``
        Where in the image the host keeps the factors of the tokens (float32), if there are any.
    macs, macs_dense : :class:`int`
        Useful multiply-accumulates, without padding; and with weights that are pruned, and pairs
        of queries and keys that no query sees.
    tiles_visited, tiles_total : :class:`int`
        Tiles of queries and keys that attention visits, and that there are.
    weight_bytes, weight_bytes_dense : :class:`int`
        Bytes of the weights as they are packed, without their channel parameters; and in INT8.
    scratchpad_bytes : :class:`int`
        Most bytes of the scratchpad that are in use at once.
    layers : list of str
        Names of the layers.
    layer : array of uint16, shape ``[n]``
        To which of them each instruction belongs.

    Raises
    ------
    ValueError
        If instructions, constants or a tensor do not fit into the image, or an instruction belongs
        to no layer.
    """

    name: str
    geometry: Geometry
    instructions: NDArray[np.uint8]
    constants: NDArray[np.uint8]
    inputs: dict[str, Slot]
    outputs: dict[str, Slot]
    offset: int
    image_bytes: int
    tokens_offset: int | None
    macs: int
    macs_dense: int
    tiles_visited: int
    tiles_total: int
    weight_bytes: int
    weight_bytes_dense: int
    scratchpad_bytes: int
    layers: list[str]
    layer: NDArray[np.uint16]

    def __post_init__(self) -> None:
        if self.instructions.dtype != np.uint8 or self.instructions.shape[1:] != (
                INSTRUCTION_BYTES,):
            raise ValueError(f"Instructions must be uint8 [n, {INSTRUCTION_BYTES}], not "
                             f"{self.instructions.dtype} {list(self.instructions.shape)}")
        if (self.layer.shape != self.instructions.shape[:1]
                or (self.layer >= len(self.layers)).any()):
            raise ValueError(f"Layers of instructions must be {len(self.instructions)} numbers "
                             f"below {len(self.layers)}, not {self.layer.size} up to "
                             f"{self.layer.max(initial=0)}")
        ends = {"Constants": self.constants.size,
                "Instructions": self.offset + self.instructions.size}
        for name, slot in (self.inputs | self.outputs).items():
            parts, _ = slot.form.parts(slot.tensor.tokens, self.geometry)
            ends[f"Tensor {name}"] = slot.offset + parts * slot.part_bytes
        for name, end in ends.items():
            if end > self.image_bytes:
                raise ValueError(f"{name} must end within an image of {self.image_bytes} bytes, "
                                 f"not at {end}")

    def __str__(self) -> str:
        """Return the instructions as text."""
        return disassemble(self.decoded())

    def decoded(self) -> list[Instruction]:
        """Return the instructions as objects."""
        return [decode(instruction) for instruction in self.instructions]

    def layer_names(self) -> list[str]:
        """Return the name of the layer of each instruction."""
        return [self.layers[number] for number in self.layer]

    # -- data --------------------------------------------------------------------------------------

    def image(self, inputs: Mapping[str, ArrayLike]) -> NDArray[np.uint8]:
        """Return the DRAM image with which a device starts.

        Parameters
        ----------
        inputs : mapping of str to array
            Values of each input, ``[tokens, features]``; they are quantised as the program says.

        Raises
        ------
        ValueError
            If an input is missing, unknown, wrong in shape, or not finite.
        """
        image = np.zeros(self.image_bytes, np.uint8)
        image[:self.constants.size] = self.constants
        image[self.offset:self.offset + self.instructions.size] = self.instructions.ravel()
        values = checked_inputs(inputs, [slot.tensor for slot in self.inputs.values()])
        for name, slot in self.inputs.items():
            factors: NDArray[np.float32] | float = 1.0
            if self.tokens_offset is not None:
                factors = slot.scale.tokens(values[name])
                packed = factors.astype("<f4").view(np.uint8)
                image[self.tokens_offset:self.tokens_offset + packed.size] = packed
            q = slot.scale.quantise(values[name], factors)
            words = slot.form.pack(q, self.geometry)
            image[slot.offset:slot.offset + words.size] = words.ravel()
        return image

    def outputs_of(self, image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Return the values of each output, ``[tokens, features]``, in an image after the run."""
        values = {}
        for name, q in self.integers_of(image).items():
            slot = self.outputs[name]
            factors: NDArray[np.float32] | float = 1.0
            if self.tokens_offset is not None:
                packed = image[self.tokens_offset:self.tokens_offset + 4 * len(q)]
                factors = packed.view("<f4")
            values[name] = slot.scale.dequantise(q, factors)
            if slot.bias is not None:
                values[name] = values[name] + slot.bias
        return values

    def integers_of(self, image: NDArray[np.uint8]) -> dict[str, NDArray[np.int8]]:
        """Return the integers of each output, ``[tokens, features]``."""
        values = {}
        for name, slot in self.outputs.items():
            parts, _ = slot.form.parts(slot.tensor.tokens, self.geometry)
            data = image[slot.offset:slot.offset + parts * slot.part_bytes]
            words = data.reshape(parts, -1, self.geometry.word_bytes)
            values[name] = slot.form.unpack(words, slot.tensor.tokens, self.geometry)
        return values

    # -- file --------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the program file."""
        tensors: dict[str, NDArray] = {"instructions": self.instructions, "layer": self.layer,
                                       "constants": self.constants}
        for name, slot in (self.inputs | self.outputs).items():
            tensors[f"scale.{name}"] = slot.scale.feature
            if slot.bias is not None:
                tensors[f"bias.{name}"] = slot.bias

        def described(slots: dict[str, Slot]) -> list[dict[str, Any]]:
            return [asdict(slot.tensor) | {"layout": slot.form.layout.name.lower(),
                                           "heads": slot.form.heads, "offset": slot.offset,
                                           "part_bytes": slot.part_bytes}
                    for slot in slots.values()]

        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "geometry": json.dumps(self.geometry.as_dict()),
            "program": json.dumps({
                "name": self.name, "offset": self.offset, "image_bytes": self.image_bytes,
                "tokens_offset": self.tokens_offset, "macs": self.macs,
                "macs_dense": self.macs_dense, "tiles_visited": self.tiles_visited,
                "tiles_total": self.tiles_total, "weight_bytes": self.weight_bytes,
                "weight_bytes_dense": self.weight_bytes_dense,
                "scratchpad_bytes": self.scratchpad_bytes, "layers": self.layers,
                "inputs": described(self.inputs), "outputs": described(self.outputs),
            }),
        }
        metadata["sha256"] = _digest(metadata, tensors)
        save_file(tensors, path, metadata)

    @classmethod
    def load(cls, path: str | Path, geometry: Geometry | None = None) -> Program:
        """Read a program file.

        Parameters
        ----------
        path : path
        geometry : :class:`~heddle.rtl.geometry.Geometry`
            The one on which the program is to run; checked if it is given.

        Raises
        ------
        ProgramFileError
            If the file is not a program, is truncated or altered, has another version, or is for
            another geometry.
        """
        path = Path(path)
        metadata, tensors = _read(path)
        try:
            program = cls._parse(metadata, tensors)
            program.decoded()
        except (KeyError, TypeError, ValueError) as error:
            raise ProgramFileError(f"{path} must describe a whole program, and it does not "
                                   f"({type(error).__name__}: {error})") from None
        own = program.geometry
        if geometry is not None and own.fingerprint != geometry.fingerprint:
            raise ProgramFileError(f"{path} must be a program for geometry {geometry.name} "
                                   f"(fingerprint {geometry.fingerprint:#010x}), and it is for "
                                   f"{own.name} ({own.fingerprint:#010x})")
        return program

    @classmethod
    def _parse(cls, metadata: Mapping[str, str], tensors: Mapping[str, NDArray]) -> Program:
        about = json.loads(metadata["program"])

        def slots(entries: list[dict[str, Any]]) -> dict[str, Slot]:
            return {e["name"]: Slot(
                Tensor(e["name"], e["tokens"], e["features"]),
                Form(e["features"], tuple(e["heads"]), Layout[e["layout"].upper()]),
                e["offset"], e["part_bytes"], Scale(tensors[f"scale.{e['name']}"]),
                tensors.get(f"bias.{e['name']}")) for e in entries}

        return cls(about["name"], Geometry.from_dict(json.loads(metadata["geometry"])),
                   tensors["instructions"], tensors["constants"], slots(about["inputs"]),
                   slots(about["outputs"]), about["offset"], about["image_bytes"],
                   about["tokens_offset"], about["macs"], about["macs_dense"],
                   about["tiles_visited"], about["tiles_total"], about["weight_bytes"],
                   about["weight_bytes_dense"], about["scratchpad_bytes"],
                   about["layers"], tensors["layer"])


def _read(path: Path) -> tuple[dict[str, str], dict[str, NDArray]]:
    """Return metadata and tensors of a file that is complete, unaltered and of this version."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise ProgramFileError(f"{path} must be a complete program file, and it cannot be read: "
                               f"{error}") from None
    if metadata.get("format") != FORMAT:
        raise ProgramFileError(f"{path} must have the format {FORMAT!r}, "
                               f"not {metadata.get('format')!r}")
    if metadata.get("version") != VERSION:
        raise ProgramFileError(f"{path} must be of version {VERSION}, "
                               f"not {metadata.get('version')}; compile the graph again")
    wanted, found = metadata.pop("sha256", "none"), _digest(metadata, tensors)
    if wanted != found:
        raise ProgramFileError(f"{path} has been altered: its contents must have the SHA-256 "
                               f"{wanted}, and they have {found}")
    return metadata, tensors


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, NDArray]) -> str:
    """Return the SHA-256 of metadata and tensors, independent of their order."""
    digest = hashlib.sha256(json.dumps(dict(sorted(metadata.items()))).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()
