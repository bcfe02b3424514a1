"""Encoders from ONNX graphs, in the forms that exporters give them, and what is refused."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import heddle
from heddle.models import CheckpointError, MiniLM, load_model
from heddle.models.build import build

WIDTH, HEADS, INNER, WORDS, PLACES = 8, 2, 12, 15, 9
TOKENS = [[3, 1, 4, 1, 5], [14, 0, 2]]


class Export:
    """Writes an encoder as a graph, part by part; parts that differ are methods to be replaced."""

    epsilon = 1e-5
    layers = 2
    segments = True
    opset = 17

    def __init__(self):
        self.random = np.random.default_rng(11)
        self.nodes, self.initializers, self.known = [], [], {}

    # -- parts -------------------------------------------------------------------------------------

    def op(self, kind, *inputs, domain="", **attributes):
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"node {name}", domain=domain,
                                           **attributes))
        return name

    def constant(self, value, name=None):
        name = name or f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def number(self, value):
        return self.constant(np.float32(value))

    def weights(self, name, *shape):
        value = (self.random.normal(size=shape) * 0.5).astype(np.float32)
        self.known[name] = value
        return value

    def stored(self, value):
        return self.constant(value)

    def linear(self, x, name, outputs, inputs):
        weight = self.stored(self.weights(f"{name}.weight", outputs, inputs).T)
        bias = self.constant(self.weights(f"{name}.bias", outputs))
        return self.op("Add", self.op("MatMul", x, weight), bias)

    def norm(self, x, name):
        gain, bias = (self.constant(self.weights(f"{name}.{part}", WIDTH))
                      for part in ("weight", "bias"))
        return self.op("LayerNormalization", x, gain, bias, axis=-1, epsilon=self.epsilon)

    def activation(self, x):
        erf = self.op("Erf", self.op("Div", x, self.number(np.sqrt(2))))
        return self.op("Mul", self.op("Mul", x, self.op("Add", erf, self.number(1))),
                       self.number(0.5))

    def heads(self, x, order):
        shape = self.constant(np.array([0, 0, HEADS, WIDTH // HEADS]))
        return self.op("Transpose", self.op("Reshape", x, shape), perm=order)

    def scores(self, q, k):
        product = self.op("MatMul", q, k)
        return self.op("Div", product, self.number(np.sqrt(WIDTH // HEADS)))

    def masked(self, scores):
        hidden = self.op("Sub", self.number(1),
                         self.op("Cast", self.op("Unsqueeze", "attention_mask",
                                                 self.constant(np.array([1, 2]))), to=1))
        return self.op("Add", scores, self.op("Mul", hidden, self.number(-1e4)))

    def attention(self, x, name):
        q, k, v = (self.heads(self.linear(x, f"{name}.self.{part}", WIDTH, WIDTH), order)
                   for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]),
                                       ("value", [0, 2, 1, 3])))
        weights = self.op("Softmax", self.masked(self.scores(q, k)), axis=-1)
        context = self.op("Transpose", self.op("MatMul", weights, v), perm=[0, 2, 1, 3])
        context = self.op("Reshape", context, self.constant(np.array([0, 0, WIDTH])))
        return self.linear(context, f"{name}.output.dense", WIDTH, WIDTH)

    def layer(self, x, name):
        x = self.norm(self.op("Add", self.attention(x, f"{name}.attention"), x),
                      f"{name}.attention.output.LayerNorm")
        inner = self.activation(self.linear(x, f"{name}.intermediate.dense", INNER, WIDTH))
        y = self.linear(inner, f"{name}.output.dense", WIDTH, INNER)
        return self.norm(self.op("Add", y, x), f"{name}.output.LayerNorm")

    def embedding(self):
        words = self.stored(self.weights("embeddings.word_embeddings.weight", WORDS, WIDTH))
        places = self.stored(self.weights("embeddings.position_embeddings.weight", PLACES, WIDTH))
        length = self.op("Shape", "input_ids", start=1)
        index = self.op("Slice", self.constant(np.arange(PLACES)[np.newaxis]),
                        self.constant(np.array([0])), length, self.constant(np.array([1])))
        x = self.op("Add", self.op("Gather", words, "input_ids"), self.op("Gather", places, index))
        if self.segments:
            table = self.stored(self.weights("embeddings.token_type_embeddings.weight", 2, WIDTH))
            x = self.op("Add", x, self.op("Gather", table, "token_type_ids"))
        return self.norm(x, "embeddings.LayerNorm")

    def network(self):
        x = self.embedding()
        for n in range(self.layers):
            x = self.layer(x, f"encoder.layer.{n}")
        return x

    # -- file --------------------------------------------------------------------------------------

    def save(self, folder):
        last = self.network()
        names = ["input_ids", "attention_mask", *["token_type_ids"] * self.segments]
        graph = helper.make_graph(
            self.nodes, "encoder",
            [helper.make_tensor_value_info(name, TensorProto.INT64, [1, "tokens"])
             for name in names],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, "tokens", WIDTH])],
            self.initializers)
        model = helper.make_model(graph, opset_imports=[
            helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)])
        onnx.save(model, folder / "model.onnx")
        return folder / "model.onnx"

    def wanted(self, activation):
        """The same network from its tensors, by the way that other files take."""
        return build(self.known, {"model_type": "bert", "num_attention_heads": HEADS,
                             "layer_norm_eps": self.epsilon, "hidden_act": activation})


class Pieces(Export):
    """As exporters wrote before opset 17: a norm of nine operators, scales on either side."""

    opset = 13
    segments = False

    def norm(self, x, name):
        gain, bias = (self.constant(self.weights(f"{name}.{part}", WIDTH))
                      for part in ("weight", "bias"))
        centred = self.op("Sub", x, self.op("ReduceMean", x, axes=[-1]))
        square = self.op("Pow", centred, self.number(2))
        variance = self.op("ReduceMean", square, axes=[-1])
        root = self.op("Sqrt", self.op("Add", variance, self.number(self.epsilon)))
        return self.op("Add", bias, self.op("Mul", self.op("Div", centred, root), gain))

    def scores(self, q, k):
        root = self.number((WIDTH // HEADS) ** -0.25)
        return self.op("MatMul", self.op("Mul", q, root), self.op("Mul", k, root))

    def embedding(self):
        x = Export.embedding(self)
        shape = next(node for node in self.nodes if node.op_type == "Shape")
        del shape.attribute[:]  # which opset 13 does not have
        whole = shape.output[0]
        shape.output[0] = f"{whole}_all"
        self.nodes.insert(self.nodes.index(shape) + 1, helper.make_node(
            "Slice", [shape.output[0], *(self.constant(np.array([n])) for n in (1, 2))], [whole]))
        return x


class Integers(Export):
    """Weights of 8 bits, with the operator that makes them numbers."""

    opset = 13
    norm, scores, embedding, segments = Pieces.norm, Pieces.scores, Pieces.embedding, False

    def stored(self, value):
        scale = np.float32(np.abs(value).max() / 127)
        q = np.rint(value / scale).astype(np.int8)
        value[:] = q * scale  # a view of what is known
        return self.op("DequantizeLinear", self.constant(q), self.constant(scale))


class Tanh(Export):
    def activation(self, x):
        cube = self.op("Mul", self.op("Pow", x, self.number(3)), self.number(0.044715))
        inner = self.op("Mul", self.op("Add", x, cube), self.number(np.sqrt(2 / np.pi)))
        half = self.op("Mul", x, self.number(0.5))
        return self.op("Mul", half, self.op("Add", self.op("Tanh", inner), self.number(1)))


class Relu(Export):
    def activation(self, x):
        return self.op("Relu", x)


@pytest.mark.parametrize(("kind", "activation"), [
    (Export, "gelu"), (Pieces, "gelu"), (Integers, "gelu"), (Tanh, "gelu_tanh"), (Relu, "relu")])
def test_graphs_of_exporters(tmp_path, kind, activation):
    export = kind()
    model = heddle.load_model(export.save(tmp_path))
    assert model.layers[0].activation == activation
    assert model.layers[1].heads == HEADS
    assert model.layers[1].norm.epsilon == pytest.approx(1e-5)
    np.testing.assert_allclose(model(TOKENS), export.wanted(activation)(TOKENS), atol=1e-6)


# -- refusals --------------------------------------------------------------------------------------

class Sine(Export):
    def activation(self, x):
        return self.op("Sin", x)


class Foreign(Export):
    def activation(self, x):
        return self.op("FastGelu", x, domain="com.microsoft")


class Dynamic(Export):
    def linear(self, x, name, outputs, inputs):
        weight = self.constant(np.ones((inputs, outputs), np.uint8))
        x = self.op("Cast", x, to=TensorProto.UINT8)
        return self.op("Cast", self.op("MatMulInteger", x, weight), to=1)


class Causal(Export):
    def masked(self, scores):
        hidden = np.triu(np.full((PLACES, PLACES), -1e4, np.float32), 1)
        table = self.constant(hidden)
        length = self.op("Shape", "input_ids", start=1)
        two = self.op("Concat", length, length, axis=0)
        return self.op("Add", scores, self.op(
            "Slice", table, self.constant(np.array([0, 0])), two))


class First(Export):
    """The norm before the parts, as in GPT-2 and ViT, and one in the end."""

    def layer(self, x, name):
        y = self.norm(x, f"{name}.attention.output.LayerNorm")
        x = self.op("Add", x, self.attention(y, f"{name}.attention"))
        y = self.norm(x, f"{name}.output.LayerNorm")
        inner = self.activation(self.linear(y, f"{name}.intermediate.dense", INNER, WIDTH))
        return self.op("Add", x, self.linear(inner, f"{name}.output.dense", WIDTH, INNER))

    def network(self):
        return self.norm(super().network(), "last")


class Scaled(Export):
    def scores(self, q, k):
        return self.op("Div", self.op("MatMul", q, k), self.number(5))


class Unlike(Export):
    def norm(self, x, name):
        self.epsilon = 1e-3 if ".1." in name else 1e-5
        return super().norm(x, name)


class Hardmax(Export):
    def op(self, kind, *inputs, **attributes):
        return super().op("Hardmax" if kind == "Softmax" else kind, *inputs, **attributes)


class Rotary(Export):
    """Queries and keys are turned before they meet, with operators between."""

    def heads(self, x, order):
        return self.op("Cos", super().heads(x, order))


class Headless(Export):
    def network(self):
        return self.op("Tanh", super().network())


class Nowhere(Export):
    """No positions."""

    def embedding(self):
        words = self.stored(self.weights("embeddings.word_embeddings.weight", WORDS, WIDTH))
        table = self.stored(self.weights("embeddings.token_type_embeddings.weight", 2, WIDTH))
        x = self.op("Add", self.op("Gather", words, "input_ids"),
                    self.op("Gather", table, "token_type_ids"))
        return self.norm(x, "embeddings.LayerNorm")


@pytest.mark.parametrize(("kind", "message"), [
    (Sine, "activation must be one of gelu, .* what the operators Sin make up"),
    (Foreign, r"operators of the standard on weights of floating point, not FastGelu \(node Fast"),
    (Dynamic, r"on weights of floating point, not MatMulInteger \(node MatMulInteger_"),
    (Causal, "must compute what BERT computes .* outputs differ by"),
    (First, r"Add as the bias of the norm of attention \(Add_\d+\) must read one constant and one"),
    (Scaled, r"Scores \(Div_\d+\) of heads of 4 features must be multiplied by 0.5, not by 0.2"),
    (Unlike, "Layers of an encoder in ONNX must be alike, and layer 1 has "),
    (Hardmax, r"must have Softmax as the weights, not operator Hardmax \(node Hardmax_"),
    (Rotary, r"must have MatMul as the query projection, not operator Cos \(node Cos_"),
    (Headless, r"must have LayerNormalization as the output Tanh_\d+, not operator Tanh"),
    (Nowhere, "must add an embedding of positions, and the sum Add_"),
])
def test_graphs_that_are_refused(tmp_path, kind, message):
    with pytest.raises(ValueError, match=message):
        heddle.load_model(kind().save(tmp_path))


def test_files_that_are_refused(tmp_path):
    file = Export().save(tmp_path)
    whole = file.read_bytes()
    for damaged in (b"", whole[:len(whole) // 2], b"\xff" * 50):
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"model.onnx must be a complete ONNX file, and"):
            heddle.load_model(file)


def test_missing_package_says_how_to_install(tmp_path, monkeypatch):
    file = Export().save(tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install heddle\[models\]"):
        heddle.load_model(file)


# -- a published file ------------------------------------------------------------------------------

def test_minilm_in_int8_is_minilm():
    """Weights of 8 bits with a scale for each matrix are all that sets both apart."""
    minilm, imported = MiniLM(), load_model("minilm-int8")
    assert len(imported.layers) == 6
    for ours, theirs in zip(minilm.encoder.layers, imported.layers, strict=True):
        assert ours.heads == theirs.heads
        for part in ("query", "key", "value", "output", "expand", "contract"):
            one, other = getattr(ours, part), getattr(theirs, part)
            np.testing.assert_allclose(one.bias, other.bias, atol=1e-6)
            step = np.abs(one.weight).max() / 127
            assert np.abs(one.weight - other.weight).max() < 0.51 * step
    sentences = ["A man is playing a guitar on stage.", "The central bank raised interest rates.",
                 "Wool shrinks in hot water, linen does not."]
    wanted = minilm.embed(sentences)
    minilm.encoder = imported
    assert min((minilm.embed(sentences) * wanted).sum(axis=1)) > 0.999
