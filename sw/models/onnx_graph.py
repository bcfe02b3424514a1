"""ONNX graphs, read from their outputs backwards by what each operator computes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .checkpoint import CheckpointError

if TYPE_CHECKING:
    import onnx

__all__ = ["OnnxGraph"]


class OnnxGraph:
    """The graph of an ONNX file, with everything computed that depends on constants alone.

    Weights may thus be stored in any way that operators undo, such as INT8 with scales.

    Attributes
    ----------
    inputs, outputs : list of str
    constants : dict of str to array

    Raises
    ------
    CheckpointError
        If the file is damaged, lacks weights that it keeps outside, or has an operator that the
        standard does not know, or one whose weights are integers to the end.
    ModuleNotFoundError
        If the package ``onnx`` is not installed.
    """

    _INTEGER = "ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul"

    def __init__(self, path: Path) -> None:
        try:
            import onnx
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("Reading ONNX needs the package 'onnx'; install it with "
                                      "'pip install heddle[models]'") from error
        try:
            self.model = onnx.load(path)
            onnx.checker.check_model(self.model)
        except Exception as error:  # protobuf, the checker and weights outside have their own
            text = str(error).strip().split("\n")[0]
            raise CheckpointError(f"{path} must be a complete ONNX file, and the library says: "
                                  f"{text}") from None
        self.nodes = list(self.model.graph.node)  # in an order in which they can be computed
        for node in self.nodes:
            if node.domain not in ("", "ai.onnx") or node.op_type in self._INTEGER:
                raise CheckpointError(
                    f"{path} must have operators of the standard on weights of floating point, not "
                    f"{node.op_type} ({node.name or node.output[0]})")
        self._producer = {name: node for node in self.nodes for name in node.output}
        self.constants = {tensor.name: onnx.numpy_helper.to_array(tensor)
                          for tensor in self.model.graph.initializer}
        opsets = {each.domain: each.version for each in self.model.opset_import}
        for node in self.nodes:
            feeds = {name: self.constants[name] for name in node.input if name in self.constants}
            if len(feeds) == len({*node.input} - {""}):
                self.constants |= zip(node.output, _evaluated(node, feeds, opsets=opsets))
        self.nodes = [node for node in self.nodes if node.output[0] not in self.constants]
        self.inputs = [value.name for value in self.model.graph.input
                       if value.name not in self.constants]
        self.outputs = [value.name for value in self.model.graph.output]

    def kind(self, tensor: str) -> str:
        """Return the operator that makes a tensor; of inputs and stored constants, nothing."""
        return self._producer[tensor].op_type if tensor in self._producer else ""

    def read_by(self, tensor: str) -> list[str]:
        """Return what the operator that makes a tensor reads."""
        return list(self._producer[tensor].input)

    def expect(self, tensor: str, *wanted: str, where: str) -> list[str]:
        """Return what the operator reads that makes a tensor, which must be one of those wanted."""
        kind = self.kind(tensor)
        if kind not in wanted:
            found = "constant" if tensor in self.constants else "input"
            raise CheckpointError(
                f"An encoder in ONNX must have {' or '.join(wanted)} as {where}, not "
                + (f"operator {kind} ({self._producer[tensor].name or tensor})" if kind
                   else f"{found} {tensor}"))
        return self.read_by(tensor)

    def origin(self, tensor: str, *through: str) -> str:
        """Return where a tensor comes from, through operators of some kinds."""
        while self.kind(tensor) in through:
            read = self.read_by(tensor)
            tensor = next((name for name in read if name not in self.constants), read[0])
        return tensor

    def scaled(self, tensor: str, *through: str) -> tuple[str, float]:
        """Return where a tensor comes from, through operators of some kinds and scales, and these.
        """
        factor = 1.0
        while (kind := self.kind(tensor)) in ("Mul", "Div", *through):
            if kind in through:
                tensor = self.origin(tensor, *through)
                continue
            source, value = self.split(tensor, kind, where="a scale of the scores")
            if value.size != 1 or (kind == "Div" and source != self.read_by(tensor)[0]):
                raise CheckpointError(f"{kind} ({tensor}) must scale all scores alike")
            factor *= float(value.item()) ** (1 if kind == "Mul" else -1)
            tensor = source
        return tensor, factor

    def split(self, tensor: str, *wanted: str, where: str) -> tuple[str, NDArray]:
        """Return the variable and the constant that an operator of those wanted reads."""
        one, other = self.expect(tensor, *wanted, where=where)[:2]
        if (one in self.constants) == (other in self.constants):
            raise CheckpointError(f"{' or '.join(wanted)} as {where} ({tensor}) must read one "
                                  "constant and one variable")
        one, other = (other, one) if one in self.constants else (one, other)
        return one, self.constants[other]

    def linear(self, tensor: str, where: str) -> tuple[str, NDArray, NDArray]:
        """Return input, weight ``[out, in]`` and bias of the layer that makes a tensor."""
        bias: NDArray | None = None
        if self.kind(tensor) == "Add":
            tensor, bias = self.split(tensor, "Add", where=f"the bias of {where}")
        source, weight = self.split(tensor, "MatMul", where=where)
        if source != self.read_by(tensor)[0] or weight.ndim != 2:
            raise CheckpointError(f"{where} ({tensor}) must multiply by a matrix on the right")
        return source, weight.T, np.zeros(weight.shape[1]) if bias is None else bias

    def is_linear(self, tensor: str) -> bool:
        """Return whether a layer with weights makes a tensor."""
        try:
            self.linear(tensor, "layer")
        except CheckpointError:
            return False
        return True

    def norm(self, tensor: str, where: str) -> tuple[str, NDArray, NDArray, float]:
        """Return input, gain, bias and epsilon of the norm that makes a tensor.

        It is one operator, or ``(x − mean) / sqrt(mean of squares + epsilon) · gain + bias``.
        """
        if self.kind(tensor) != "Add":
            source, *names = self.expect(tensor, "LayerNormalization", where=where)
            if len(names) != 2 or not set(names) <= set(self.constants):
                raise CheckpointError(f"{where} ({tensor}) must have a constant gain and bias")
            gain, bias = (self.constants[name] for name in names)
            return source, gain, bias, next(
                (a.f for a in self._producer[tensor].attribute if a.name == "epsilon"), 1e-5)
        scaled, bias = self.split(tensor, "Add", where=f"the bias of {where}")
        normalised, gain = self.split(scaled, "Mul", where=f"the gain of {where}")
        centred, root = self.expect(normalised, "Div", where=where)
        source, mean = self.expect(centred, "Sub", where=where)
        self.expect(mean, "ReduceMean", where=where)
        [variance] = self.expect(root, "Sqrt", where=where)
        _, epsilon = self.split(variance, "Add", where=f"the epsilon of {where}")
        return source, gain, bias, float(epsilon)

    def between(self, tensor: str) -> tuple[str, list[onnx.NodeProto]]:
        """Return the nearest layer with weights that a tensor depends on, and what lies between."""
        start, found, waiting = "", [], [tensor]
        while waiting:
            name = waiting.pop()
            if not start and self.is_linear(name):
                start = name
            elif name != start and name not in self.constants and name in self._producer:
                found.append(self._producer[name])
                waiting.extend(found[-1].input)
        return start, [node for node in self.nodes if node in found]

    def evaluate(self, nodes: list[onnx.NodeProto], output: str,
                 feeds: Mapping[str, NDArray]) -> NDArray:
        """Return a tensor, computed by some operators from others and from constants."""
        from onnx import helper

        feeds = {name: self.constants[name] for node in nodes for name in node.input
                 if name in self.constants} | dict(feeds)
        graph = helper.make_graph(
            nodes, "part",
            [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), None)
             for name, x in feeds.items()],
            [helper.make_tensor_value_info(output, 0, None)])
        model = helper.make_model(graph, opset_imports=self.model.opset_import)
        return _evaluated(model, feeds)[0]


def _evaluated(what: Any, feeds: Mapping[str, NDArray], **options: Any) -> list[NDArray]:
    """Return the outputs of an operator or a model."""
    from onnx.reference import ReferenceEvaluator

    outputs: Any = ReferenceEvaluator(what, **options).run(None, dict(feeds))
    return outputs
