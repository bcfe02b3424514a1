"""The quantiser: exact integers, small errors, outliers, degenerate layers, refusals."""

import numpy as np
import pytest

from heddle import quantise as module
from heddle.activations import named
from heddle.graph import Graph
from heddle.models import MiniLM
from heddle.quantise import MAX_INPUTS, quantise, relative_error
from heddle.sim import golden


def layer(weight, bias=None, *, tokens=64, activation=None):
    graph = Graph()
    x = graph.input("x", tokens=tokens, features=np.shape(weight)[1])
    graph.output(graph.linear("y", x, weight, bias, activation=activation))
    return graph


def error(weight, bias, x, activations):
    graph = layer(weight, bias, tokens=len(x))
    got = quantise(graph, {"x": x}, activations).infer({"x": x})["y"]
    return relative_error(got, graph.evaluate({"x": x})["y"])


def outliers(rng, tokens, inputs):
    """Activations like those between the layers of an encoder: some features are far larger."""
    x = rng.normal(size=(tokens, inputs)) * rng.lognormal(sigma=0.6, size=inputs)
    x[:, rng.choice(inputs, 4, replace=False)] *= 30
    return x.astype(np.float32)


@pytest.mark.parametrize("activations", ["tensor", "token"])
def test_integers_are_what_the_drain_computes(activations):
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(9, 20)), rng.normal(size=(7, 20))
    quantised = quantise(layer(weight, tokens=9), {"x": x}, activations)
    [only] = quantised.layers
    integers = quantised.integers({"x": x})
    assert np.abs(only.weight.astype(int)).max() == np.abs(integers["x"].astype(int)).max() == 127
    wanted = golden.requantise(only.weight.astype(int) @ integers["x"].T.astype(int), only.bias,
                               only.multiplier, only.shift).T
    assert (integers["y"] == wanted).all()
    assert np.abs(integers["y"].astype(int)).max(axis=0).tolist() == [127] * 7  # fills each range


@pytest.mark.parametrize("activations", ["tensor", "token"])
@pytest.mark.parametrize("inputs", [1, 7, 384])
def test_error_of_normal_data(inputs, activations):
    rng = np.random.default_rng(inputs)
    weight, bias = rng.normal(size=(96, inputs)), rng.normal(size=96)
    assert error(weight, bias, rng.normal(size=(128, inputs)), activations) < 0.014


def test_outputs_that_are_pruned_do_not_coarsen_the_others():
    """All features of queries have one scale, in which outputs that are gone have no say."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 8, 20))
    weights[0, 3:5] = weights[1, 5] = 0
    graph = Graph()
    x = graph.input("x", tokens=9, features=20)
    graph.output(graph.attention("o", *(graph.linear(name, x, weight)
                                        for name, weight in zip("qkv", weights))))
    inputs = {"x": rng.normal(size=(9, 20))}
    quantised = quantise(graph, inputs)
    got, wanted = quantised.infer(inputs, "tiny")["o"], graph.evaluate(inputs)["o"]
    assert relative_error(got, wanted) < 0.05


@pytest.mark.parametrize("activations", ["tensor", "token"])
def test_sharing_the_range_tames_outliers(activations, monkeypatch):
    rng = np.random.default_rng(1)
    weight, x = rng.normal(size=(384, 384)), outliers(rng, 128, 384)
    weight *= rng.lognormal(sigma=0.3, size=384)
    with_sharing = error(weight, None, x, activations)
    monkeypatch.setattr(module, "_ALPHAS", ())
    assert with_sharing < 0.02
    assert error(weight, None, x, activations) > 1.5 * with_sharing


@pytest.mark.parametrize("number", range(6))
def test_error_on_a_pretrained_encoder(number, encoder):
    model, traces = encoder
    net, trace = model.encoder.layers[number], traces[number]
    for linear, x in ((net.query, trace.input), (net.key, trace.input), (net.value, trace.input),
                      (net.output, trace.context), (net.expand, trace.attended),
                      (net.contract, trace.inner)):
        errors = [error(linear.weight, linear.bias, x, activations)
                  for activations in ("tensor", "token")]
        assert min(errors) <= 0.02


@pytest.fixture(scope="module")
def encoder():
    model = MiniLM()
    return model, model.run([
        "A heddle lifts just the threads that the pattern calls for.",
        "The central bank raised interest rates by half a point on Thursday, citing inflation.",
        "What is the capital of Mongolia?",
        "She has played the violin in the same orchestra for more than thirty years.",
        "Rain.",
    ])


def test_tokens_scale_freely():
    """With factors for the tokens, a token's integers do not depend on its size."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(8, 24)).astype(np.float32)
    quantised = quantise(layer(rng.normal(size=(5, 24)), tokens=8), {"x": x}, "token")
    factors = 2.0 ** np.arange(-20, 20, 5)[:, np.newaxis]
    one, other = quantised.integers({"x": x}), quantised.integers({"x": x * factors})
    assert all((one[name] == other[name]).all() for name in ("x", "y"))
    np.testing.assert_allclose(quantised.infer({"x": x * factors})["y"],
                               quantised.infer({"x": x})["y"] * factors, rtol=1e-6)


def test_bias_is_added_on_the_device_or_on_the_host():
    rng = np.random.default_rng(3)
    weight, bias, x = rng.normal(size=(5, 24)), 9 * rng.normal(size=5), rng.normal(size=(8, 24))
    graph = layer(weight, bias, tokens=8)
    device, host = (quantise(graph, {"x": x}, a) for a in ("tensor", "token"))
    assert device.layers[0].bias.any()
    assert not device.host_bias
    assert not host.layers[0].bias.any()
    np.testing.assert_array_equal(host.host_bias["y"], bias.astype(np.float32))
    for quantised in (device, host):
        assert relative_error(quantised.infer({"x": x})["y"], x @ weight.T + bias) < 0.01


@pytest.mark.parametrize("activations", ["tensor", "token"])
@pytest.mark.parametrize(("weight", "bias", "x"), [
    (np.zeros((3, 4)), None, np.ones((2, 4))),
    (np.ones((3, 4)), None, np.zeros((2, 4))),
    (np.zeros((3, 4)), [1, -2, 3e-9], np.zeros((2, 4))),
    (np.full((3, 4), 1e-30), [1e6, 0, -1e-25], np.full((2, 4), 1e-3)),
    (np.full((3, 4), 1e20), None, np.full((2, 4), 1e15)),
    (np.full((3, 4), 1e-20), None, np.full((2, 4), 1e-15)),
    (np.eye(4), None, np.diag([1, 0, 1e-6, 1e6])),
], ids=["no weights", "no inputs", "bias only", "bias above all", "large", "small", "uneven"])
def test_degenerate_layers(weight, bias, x, activations):
    assert error(weight, bias, x, activations) < 0.01


def test_layers_in_a_chain_share_scales():
    """The scale of a tensor between two layers is folded into the weights of the second."""
    rng = np.random.default_rng(4)
    graph = Graph()
    x = graph.input("x", tokens=64, features=48)
    h = graph.linear("h", x, rng.normal(size=(96, 48)) * rng.lognormal(size=(96, 1)))
    graph.output(graph.linear("y", h, rng.normal(size=(32, 96))))
    inputs = {"x": rng.normal(size=(64, 48))}
    for activations in ("tensor", "token"):
        quantised = quantise(graph, inputs, activations)
        assert len(set(quantised.scales["h"].feature.tolist())) > 1
        assert relative_error(quantised.infer(inputs)["y"], graph.evaluate(inputs)["y"]) < 0.02


def test_headroom_for_what_the_calibration_did_not_see():
    rng = np.random.default_rng(5)
    graph, x = layer(rng.normal(size=(96, 64)), tokens=10), rng.normal(size=(1000, 64))
    tight, wide = (quantise(graph, {"x": x[:50]}, headroom=headroom) for headroom in (1, 1.8))
    errors = [relative_error(quantised.infer({"x": x})["y"], graph.evaluate({"x": x})["y"])
              for quantised in (tight, wide)]
    assert errors[1] < errors[0] / 2


def test_values_beyond_the_calibration_saturate():
    graph = layer(np.eye(2), tokens=1)
    quantised = quantise(graph, {"x": np.ones((1, 2))})
    np.testing.assert_allclose(quantised.infer({"x": [[50, -0.5]]})["y"], [[1, -0.5]], atol=0.01)


@pytest.mark.parametrize(("array", "message"), [
    (np.ones(3), r"x must have 2 axes, not 1"),
    (np.ones((0, 3)), r"x must have at least 1 along axis 0, not 0"),
    (np.ones((2, 4)), r"x must have 3 along axis 1, not 4"),
    ([[1, np.nan, 1]], r"x must be finite in float32, but element \(0, 1\) is nan"),
    ([[1, 1, 1e39]], r"x must be finite in float32, but element \(0, 2\) is inf"),
])
def test_bad_arrays_are_refused(array, message):
    with pytest.raises(ValueError, match=message):
        quantise(layer(np.ones((2, 3))), {"x": array})


def test_text_is_refused():
    with pytest.raises(TypeError, match="Weight of y must have real numbers, not <U1"):
        layer([["a"]])


def test_bad_graphs_are_refused():
    graph = layer(np.ones((2, 3)), [1, 2])
    with pytest.raises(ValueError, match="Activations must be 'tensor' or 'token', not 'row'"):
        quantise(graph, {"x": np.ones((1, 3))}, "row")
    with pytest.raises(ValueError, match=r"Headroom must be at least 1, not 0\.9"):
        quantise(graph, {"x": np.ones((1, 3))}, headroom=0.9)
    with pytest.raises(ValueError, match="Inputs must be x; z is not an input"):
        quantise(graph, {"x": np.ones((1, 3)), "z": 1})
    graph.linear("z", "y", np.ones((1, 2)))
    with pytest.raises(ValueError, match="Layer y must have no bias"):
        quantise(graph, {"x": np.ones((1, 3))}, "token")
    graph.input("w", tokens=1, features=1)
    with pytest.raises(ValueError, match="must have one input, not 2"):
        quantise(graph, {"x": np.ones((1, 3)), "w": [[1]]}, "token")
    wide = np.ones((1, MAX_INPUTS + 1))
    with pytest.raises(ValueError, match=f"must have at most {MAX_INPUTS} inputs, not"):
        quantise(layer(wide), {"x": wide})
    with pytest.raises(ValueError, match="Values of y must be within the range of float32"):
        quantise(layer([[1e30]]), {"x": [[1e30]]})


def test_graphs_refuse_what_does_not_fit():
    g, row = layer(np.ones((2, 3))), np.ones((1, 3))
    for call, message in (
            (lambda: g.linear("z", "u", row), "Tensor must be one of x, y, not 'u'"),
            (lambda: g.linear("y", "x", row), "names must differ, and 'y' is taken"),
            (lambda: g.linear("z", "x", row[:, :2]), "Weight of z must have 3 along axis 1"),
            (lambda: g.linear("z", "x", row, [1, 2]), "Bias of z must have 1 along axis 0, not 2"),
            (lambda: g.input("u", tokens=0, features=1), "Tokens of u must be at least 1, not 0"),
            (lambda: g.output("x"), "Output must be made by a layer, and 'x' is an input")):
        with pytest.raises(ValueError, match=message):
            call()


# -- activations -----------------------------------------------------------------------------------

GATES = ("relu", "gelu", "silu")


@pytest.mark.parametrize("activation", GATES)
@pytest.mark.parametrize("spread", [0.1, 1, 10])
def test_a_layer_with_an_activation_errs_as_one_without(spread, activation):
    """In units of its input: an activation takes away half of a signal, but not of its error."""
    rng = np.random.default_rng(7)
    weight, x = rng.normal(size=(96, 64)) * spread / 8, rng.normal(size=(128, 64))
    bias = rng.normal(size=96) * spread
    errors = []
    for name in (None, activation):
        graph = layer(weight, bias, tokens=128, activation=name)
        got = quantise(graph, {"x": x}).infer({"x": x})["y"]
        errors.append(np.sqrt(np.mean((got - graph.evaluate({"x": x})["y"]) ** 2)))
    assert errors[1] < 1.3 * errors[0]


@pytest.mark.parametrize("activation", GATES)
def test_integers_of_an_activation_are_what_the_drain_computes(activation):
    rng = np.random.default_rng(8)
    x, weight = rng.normal(size=(50, 20)), rng.normal(size=(7, 20))
    weight *= 4.0 ** np.arange(-3, 4)[:, np.newaxis]
    quantised = quantise(layer(weight, tokens=50, activation=activation), {"x": x})
    [only] = quantised.layers
    integers = quantised.integers({"x": x})
    wanted = golden.requantise(only.weight.astype(int) @ integers["x"].T.astype(int), only.bias,
                               only.multiplier, only.shift, only.gate_shift, named(activation)).T
    assert (integers["y"] == wanted).all()
    if activation != "relu":  # powers of two that hold the range, and no more than that
        assert only.gate_shift.tolist() == sorted(only.gate_shift, reverse=True)
        assert (np.abs(integers["y"].astype(int)).max(axis=0)[only.gate_shift < 12] > 60).all()


@pytest.mark.parametrize("activation", GATES)
def test_scales_between_two_layers_suit_both(activation):
    rng = np.random.default_rng(9)
    graph = Graph()
    x = graph.input("x", tokens=64, features=48)
    h = graph.linear("h", x, rng.normal(size=(96, 48)) * rng.lognormal(size=(96, 1)) / 7,
                     activation=activation)
    graph.output(graph.linear("y", h, rng.normal(size=(32, 96))))
    inputs = {"x": rng.normal(size=(64, 48))}
    quantised = quantise(graph, inputs)
    assert len(set(quantised.scales["h"].feature.tolist())) > 1
    assert relative_error(quantised.infer(inputs)["y"], graph.evaluate(inputs)["y"]) < 0.025


def test_activations_refused():
    x = {"x": np.ones((2, 4))}
    with pytest.raises(ValueError, match="Layer y must have no activation, as its output has "
                                         "factors for the tokens"):
        quantise(layer(np.ones((3, 4)), tokens=2, activation="relu"), x, "token")
    with pytest.raises(ValueError, match=r"Outputs of y must be within ±1016, the range of GELU, "
                                         r"not up to 4e\+03"):
        quantise(layer(np.full((3, 4), 1000), tokens=2, activation="gelu"), x)
    graph = Graph()
    q, k = (graph.input(name, tokens=2, features=4) for name in "qk")
    v = graph.linear("v", graph.input("x", tokens=2, features=4), np.eye(4), activation="silu")
    k = graph.linear("kk", k, np.eye(4))
    graph.output(graph.attention("o", q, k, v))
    with pytest.raises(ValueError, match="Layer v must have no SILU, as attention reads its output "
                                         "and needs other scales"):
        quantise(graph, {name: np.ones((2, 4)) for name in "qkx"})
