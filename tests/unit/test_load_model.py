"""Networks from files: each family against formulas written out here, and what is refused."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

import heddle
from heddle.models import CheckpointError
from heddle.models.families import ACTIVATION_NAMES, FAMILIES, MODEL_TYPES, REFUSED_TYPES
from heddle.models.modules import ACTIVATIONS, gelu, gelu_tanh

WIDTH, HEADS, INNER, LAYERS, WORDS, PLACES = 12, 3, 20, 2, 17, 11
SEQUENCES = [[3, 1, 4, 1, 5], [16, 0], [9, 2, 6, 5, 3, 5, 8]]
CONFIG = {"num_attention_heads": HEADS}


# -- checkpoints -----------------------------------------------------------------------------------

def tensors(shapes):
    """Random tensors of some shapes; vectors that scale lie around 1."""
    random = np.random.default_rng(5)
    return {name: (random.normal(size=shape) * 0.5 + name.endswith("orm.weight")).astype(np.float32)
            for name, shape in shapes.items()}


def linear(name, outputs, inputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name):
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


def bert(places=PLACES):
    shapes = {"embeddings.word_embeddings.weight": (WORDS, WIDTH),
              "embeddings.position_embeddings.weight": (places, WIDTH),
              "embeddings.token_type_embeddings.weight": (2, WIDTH), **norm("embeddings.LayerNorm")}
    for n in range(LAYERS):
        name = f"encoder.layer.{n}"
        for part in ("query", "key", "value"):
            shapes |= linear(f"{name}.attention.self.{part}", WIDTH, WIDTH)
        shapes |= linear(f"{name}.attention.output.dense", WIDTH, WIDTH)
        shapes |= norm(f"{name}.attention.output.LayerNorm")
        shapes |= linear(f"{name}.intermediate.dense", INNER, WIDTH)
        shapes |= linear(f"{name}.output.dense", WIDTH, INNER) | norm(f"{name}.output.LayerNorm")
    return tensors(shapes)


def fairseq():
    shapes = {"embed_tokens.weight": (WORDS, WIDTH), "embed_positions.weight": (PLACES, WIDTH),
              **norm("emb_layer_norm")}
    for n in range(LAYERS):
        name = f"layers.{n}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{name}.self_attn.{part}", WIDTH, WIDTH)
        shapes |= norm(f"{name}.self_attn_layer_norm") | norm(f"{name}.final_layer_norm")
        shapes |= linear(f"{name}.fc1", INNER, WIDTH) | linear(f"{name}.fc2", WIDTH, INNER)
    shapes = {f"decoder.sentence_encoder.{name}": shape for name, shape in shapes.items()}
    return tensors(shapes | linear("decoder.lm_head.dense", WIDTH, WIDTH) | norm(
        "decoder.lm_head.layer_norm") | {"decoder.lm_head.weight": (WORDS, WIDTH),
                                         "decoder.lm_head.bias": (WORDS,)})


def gpt2():
    shapes = {"wte.weight": (WORDS, WIDTH), "wpe.weight": (PLACES, WIDTH), **norm("ln_f")}
    for n in range(LAYERS):
        shapes |= norm(f"h.{n}.ln_1") | norm(f"h.{n}.ln_2")
        for part, inputs, outputs in (("attn.c_attn", WIDTH, 3 * WIDTH),
                                      ("attn.c_proj", WIDTH, WIDTH), ("mlp.c_fc", WIDTH, INNER),
                                      ("mlp.c_proj", INNER, WIDTH)):
            shapes |= {f"h.{n}.{part}.weight": (inputs, outputs), f"h.{n}.{part}.bias": (outputs,)}
        shapes[f"h.{n}.attn.bias"] = (1, 1, PLACES, PLACES)
    return tensors(shapes)


def vit(special=("cls_token",), prefix="vit."):
    shapes = {f"{prefix}embeddings.{name}": (1, 1, WIDTH) for name in special}
    shapes |= {f"{prefix}embeddings.position_embeddings": (1, 4 + len(special), WIDTH),
               f"{prefix}embeddings.patch_embeddings.projection.weight": (WIDTH, 3, 2, 2),
               f"{prefix}embeddings.patch_embeddings.projection.bias": (WIDTH,)}
    for n in range(LAYERS):
        name = f"{prefix}encoder.layer.{n}"
        for part in ("query", "key", "value"):
            shapes |= linear(f"{name}.attention.attention.{part}", WIDTH, WIDTH)
        shapes |= linear(f"{name}.attention.output.dense", WIDTH, WIDTH)
        shapes |= norm(f"{name}.layernorm_before") | norm(f"{name}.layernorm_after")
        shapes |= linear(f"{name}.intermediate.dense", INNER, WIDTH)
        shapes |= linear(f"{name}.output.dense", WIDTH, INNER)
    return tensors(shapes | norm(f"{prefix}layernorm"))


def timm():
    shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 5, WIDTH),
              "patch_embed.proj.weight": (WIDTH, 3, 2, 2), "patch_embed.proj.bias": (WIDTH,),
              **norm("norm"), **linear("head", 6, WIDTH)}
    for n in range(LAYERS):
        shapes |= norm(f"blocks.{n}.norm1") | norm(f"blocks.{n}.norm2")
        shapes |= linear(f"blocks.{n}.attn.qkv", 3 * WIDTH, WIDTH)
        shapes |= linear(f"blocks.{n}.attn.proj", WIDTH, WIDTH)
        shapes |= linear(f"blocks.{n}.mlp.fc1", INNER, WIDTH)
        shapes |= linear(f"blocks.{n}.mlp.fc2", WIDTH, INNER)
    return tensors(shapes)


def saved(folder, weights, **config):
    save_file(weights, folder / "model.safetensors")
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


# -- formulas --------------------------------------------------------------------------------------

def normal(x, t, name, epsilon):
    mean, variance = np.mean(x, axis=1), np.var(x, axis=1)
    y = (x.T - mean) / np.sqrt(variance + epsilon)
    return y.T * t[f"{name}.weight"] + t[f"{name}.bias"]


def times(x, t, name):
    return np.einsum("ti,oi->to", x, t[f"{name}.weight"]) + t[f"{name}.bias"]


def erf_gelu(x):
    return x * np.vectorize(lambda z: (1 + math.erf(z / math.sqrt(2))) / 2)(x)


def attention(q, k, v, causal=False):
    out = np.zeros_like(v)
    size = WIDTH // HEADS
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        for row in range(len(q)):
            seen = row + 1 if causal else len(k)
            e = np.exp(k[:seen, part] @ q[row, part] / math.sqrt(size))
            out[row, part] = (e / e.sum()) @ v[:seen, part]
    return out


def bert_forward(tokens, t, offset, epsilon, activation=erf_gelu):
    x = t["embeddings.word_embeddings.weight"][tokens]
    x = x + t["embeddings.position_embeddings.weight"][offset:offset + len(tokens)]
    x = normal(x + t["embeddings.token_type_embeddings.weight"][0], t, "embeddings.LayerNorm",
               epsilon)
    for n in range(LAYERS):
        name = f"encoder.layer.{n}"
        q, k, v = (times(x, t, f"{name}.attention.self.{part}")
                   for part in ("query", "key", "value"))
        y = times(attention(q, k, v), t, f"{name}.attention.output.dense")
        x = normal(x + y, t, f"{name}.attention.output.LayerNorm", epsilon)
        y = activation(times(x, t, f"{name}.intermediate.dense"))
        x = normal(x + times(y, t, f"{name}.output.dense"), t, f"{name}.output.LayerNorm", epsilon)
    return x


def gpt2_forward(tokens, t):
    x = t["wte.weight"][tokens] + t["wpe.weight"][:len(tokens)]
    for n in range(LAYERS):
        y = normal(x, t, f"h.{n}.ln_1", 1e-5)
        qkv = y @ t[f"h.{n}.attn.c_attn.weight"] + t[f"h.{n}.attn.c_attn.bias"]
        y = attention(*np.split(qkv, 3, axis=1), causal=True)
        x = x + y @ t[f"h.{n}.attn.c_proj.weight"] + t[f"h.{n}.attn.c_proj.bias"]
        y = normal(x, t, f"h.{n}.ln_2", 1e-5)
        z = y @ t[f"h.{n}.mlp.c_fc.weight"] + t[f"h.{n}.mlp.c_fc.bias"]
        z = z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z ** 3)))
        x = x + z @ t[f"h.{n}.mlp.c_proj.weight"] + t[f"h.{n}.mlp.c_proj.bias"]
    return normal(x, t, "ln_f", 1e-5)


def patches(image, t, name):
    """A convolution whose stride is its size, one output at a time."""
    kernel, bias = t[f"{name}.weight"], t[f"{name}.bias"]
    return np.array([[np.sum(kernel[feature] * image[:, y:y + 2, x:x + 2]) + bias[feature]
                      for feature in range(WIDTH)] for y in (0, 2) for x in (0, 2)])


def vit_forward(image, t, special=("cls_token",), prefix="vit."):
    parts = [t[f"{prefix}embeddings.{name}"][0] for name in special]
    name = f"{prefix}embeddings.patch_embeddings.projection"
    x = np.concatenate([*parts, patches(image, t, name)])
    x = x + t[f"{prefix}embeddings.position_embeddings"][0]
    for n in range(LAYERS):
        name = f"{prefix}encoder.layer.{n}"
        y = normal(x, t, f"{name}.layernorm_before", 1e-12)
        q, k, v = (times(y, t, f"{name}.attention.attention.{part}")
                   for part in ("query", "key", "value"))
        x = x + times(attention(q, k, v), t, f"{name}.attention.output.dense")
        y = times(normal(x, t, f"{name}.layernorm_after", 1e-12), t, f"{name}.intermediate.dense")
        x = x + times(erf_gelu(y), t, f"{name}.output.dense")
    return normal(x, t, f"{prefix}layernorm", 1e-12)


def assert_close(found, wanted):
    np.testing.assert_allclose(found, np.concatenate(wanted), rtol=1e-7, atol=1e-9)


# -- families --------------------------------------------------------------------------------------

@pytest.fixture
def double():
    """Weights of a family in float64, for the formulas."""
    return lambda weights: {name: each.astype(np.float64) for name, each in weights.items()}


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_bert(tmp_path, double, prefix):
    weights = bert()
    folder = saved(tmp_path, {prefix + name: each for name, each in weights.items()},
                   model_type="bert", num_hidden_layers=LAYERS, hidden_size=WIDTH,
                   intermediate_size=INNER, layer_norm_eps=1e-3, hidden_act="relu", **CONFIG)
    model = heddle.load_model(folder)
    assert_close(model(SEQUENCES), [
        bert_forward(tokens, double(weights), 0, 1e-3, lambda x: x * (x > 0))
        for tokens in SEQUENCES])
    assert model.kind == "bert"
    assert not model.layers[0].norm_first
    assert model.layers[1].expand.weight.shape == (INNER, WIDTH)


def test_old_names_of_norms(tmp_path, double):
    weights = bert()
    old = {name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): each
           for name, each in weights.items()}
    model = heddle.load_model(saved(tmp_path, old), model_type="bert", **CONFIG)
    assert_close(model(SEQUENCES), [bert_forward(tokens, double(weights), 0, 1e-12)
                                    for tokens in SEQUENCES])


@pytest.mark.parametrize(("padding", "offset"), [({}, 2), ({"pad_token_id": 3}, 4)])
def test_roberta_counts_positions_from_the_padding(tmp_path, double, padding, offset):
    weights = bert()
    folder = saved(tmp_path, {f"roberta.{name}": each for name, each in weights.items()},
                   layer_norm_eps=1e-5, **CONFIG, **padding)
    model = heddle.load_model(folder)
    assert model.kind == "roberta"
    assert len(model.embedding.positions) == PLACES - offset
    assert_close(model(SEQUENCES), [bert_forward(tokens, double(weights), offset, 1e-5)
                                    for tokens in SEQUENCES])


def test_fairseq(tmp_path, double):
    weights = fairseq()
    model = heddle.load_model(saved(tmp_path, weights), **CONFIG)
    names = {"embed_tokens": "embeddings.word_embeddings", "final_layer_norm": "output.LayerNorm",
             "embed_positions": "embeddings.position_embeddings", "fc1": "intermediate.dense",
             "emb_layer_norm": "embeddings.LayerNorm", "self_attn.q_proj": "attention.self.query",
             "self_attn.k_proj": "attention.self.key", "self_attn.v_proj": "attention.self.value",
             "self_attn.out_proj": "attention.output.dense", "fc2": "output.dense", "layers.":
             "encoder.layer.", "self_attn_layer_norm": "attention.output.LayerNorm",
             "decoder.sentence_encoder.": ""}
    t = double(weights)
    same = {"embeddings.token_type_embeddings.weight": np.zeros((1, WIDTH))}
    for name, each in t.items():
        for one, other in names.items():
            name = name.replace(one, other)
        same[name] = each
    wanted = [bert_forward(tokens, same, 2, 1e-5) for tokens in SEQUENCES]
    assert_close(model(SEQUENCES), wanted)
    y = erf_gelu(times(np.concatenate(wanted), t, "decoder.lm_head.dense"))
    y = normal(y, t, "decoder.lm_head.layer_norm", 1e-5)
    assert_close(model.logits(SEQUENCES), [times(y, t, "decoder.lm_head")])


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_gpt2(tmp_path, double, prefix):
    weights = gpt2()
    folder = saved(tmp_path, {prefix + name: each for name, each in weights.items()},
                   model_type="gpt2", n_layer=LAYERS, n_head=HEADS, n_embd=WIDTH, n_inner=None,
                   activation_function="gelu_new", layer_norm_epsilon=1e-5)
    model = heddle.load_model(folder)
    t = double(weights)
    wanted = [gpt2_forward(tokens, t) for tokens in SEQUENCES]
    assert_close(model(SEQUENCES), wanted)
    assert_close(model.logits(SEQUENCES), [x @ t["wte.weight"].T for x in wanted])
    assert all(layer.causal and layer.norm_first for layer in model.layers)


def test_gpt2_head_of_its_own(tmp_path, double):
    own = np.random.default_rng(8).normal(size=(WORDS, WIDTH)).astype(np.float32)
    model = heddle.load_model(saved(tmp_path, gpt2() | {"lm_head.weight": own}), **CONFIG)
    np.testing.assert_allclose(model.logits(SEQUENCES), model(SEQUENCES) @ own.T.astype(float))


@pytest.mark.parametrize(("prefix", "special", "heads"), [
    ("vit.", ("cls_token",), ("classifier",)),
    ("deit.", ("cls_token", "distillation_token"), ("classifier",)),
    ("deit.", ("cls_token", "distillation_token"), ("cls_classifier", "distillation_classifier"))])
def test_vit_and_deit(tmp_path, double, prefix, special, heads):
    weights = vit(special, prefix)
    for n, name in enumerate(heads):
        random = np.random.default_rng(n)
        weights |= {f"{name}.weight": random.normal(size=(6, WIDTH)).astype(np.float32),
                    f"{name}.bias": random.normal(size=6).astype(np.float32)}
    model = heddle.load_model(saved(tmp_path, weights), model_type=prefix[:-1], image_size=4,
                              qkv_bias=True, **CONFIG)
    images = np.random.default_rng(2).normal(size=(3, 3, 4, 4))
    t = double(weights)
    wanted = [vit_forward(image, t, special, prefix) for image in images]
    assert_close(model(images), wanted)
    logits = [sum(times(x[n:n + 1], t, name) for n, name in enumerate(heads)) / len(heads)
              for x in wanted]
    assert_close(model.logits(images), logits)


def test_timm(tmp_path, double):
    weights = timm()
    model = heddle.load_model(saved(tmp_path, weights), layer_norm_eps=1e-12, **CONFIG)
    same = {}
    for name, each in double(weights).items():
        for one, other in {"cls_token": "embeddings.cls_token", "mlp.fc1": "intermediate.dense",
                           "pos_embed": "embeddings.position_embeddings",
                           "patch_embed.proj": "embeddings.patch_embeddings.projection",
                           "blocks.": "encoder.layer.", "norm1": "layernorm_before",
                           "norm2": "layernorm_after", "attn.proj": "attention.output.dense",
                           "mlp.fc2": "output.dense"}.items():
            name = name.replace(one, other)
        if name.startswith("norm."):
            name = f"layer{name}"
        thirds = np.split(each, 3) if "qkv" in name else ()
        for part, rows in zip(("query", "key", "value"), thirds):
            same[f"vit.{name.replace('attn.qkv', f'attention.attention.{part}')}"] = rows
        same[f"vit.{name}"] = each
    images = np.random.default_rng(2).normal(size=(2, 3, 4, 4))
    wanted = [vit_forward(image, same) for image in images]
    assert_close(model(images), wanted)
    assert_close(model.logits(images), [times(x[:1], same, "vit.head") for x in wanted])


def test_missing_biases_are_zero(tmp_path):
    weights = {name: each for name, each in bert().items() if not name.endswith("query.bias")}
    model = heddle.load_model(saved(tmp_path, weights), model_type="bert", **CONFIG)
    assert not model.layers[0].query.bias.any()


def test_parts_are_put_together(tmp_path):
    weights = gpt2()
    names = sorted(weights)
    for n, some in enumerate((names[::2], names[1::2])):
        save_file({name: weights[name] for name in some},
                  tmp_path / f"model-{n + 1:05}-of-00002.safetensors")
    whole = tmp_path / "whole"
    whole.mkdir()
    np.testing.assert_array_equal(
        heddle.load_model(tmp_path, **CONFIG)(SEQUENCES),
        heddle.load_model(saved(whole, weights) / "model.safetensors", **CONFIG)(SEQUENCES))


def test_precision(tmp_path):
    folder = saved(tmp_path, gpt2())
    single = heddle.load_model(folder, np.float32, **CONFIG)
    assert single(SEQUENCES).dtype == single.logits(SEQUENCES).dtype == np.float32
    np.testing.assert_allclose(single(SEQUENCES), heddle.load_model(folder, **CONFIG)(SEQUENCES),
                               atol=1e-5)


# -- functions -------------------------------------------------------------------------------------

def test_gelu_and_its_approximation():
    x = np.linspace(-9, 9, 20001)
    exact = x * np.array([(1 + math.erf(z / math.sqrt(2))) / 2 for z in x])
    assert np.abs(gelu(x) - exact).max() < 1e-11
    assert 4e-4 < np.abs(gelu_tanh(x) - exact).max() < 5e-4


def test_names_of_activations():
    assert set(ACTIVATION_NAMES.values()) == set(ACTIVATIONS)
    np.testing.assert_allclose(ACTIVATIONS["silu"](np.float64(1.5)), 1.5 / (1 + math.exp(-1.5)))


# -- refusals --------------------------------------------------------------------------------------

@pytest.mark.parametrize(("config", "message"), [
    ({"model_type": "bloom"}, "one of bert, .* not 'bloom', which has ALiBi positions"),
    ({"model_type": "llama"}, "not 'llama', which has rotary positions"),
    ({"model_type": "mixtral"}, "not 'mixtral', which has .* a mixture of experts"),
    ({"model_type": "mamba"}, "not 'mamba'$"),
    ({"position_embedding_type": "relative_key"}, "must be 'absolute', not 'relative_key'"),
    ({"is_decoder": True}, "is_decoder of the configuration must be False, not True"),
    ({"hidden_act": "quick_gelu"}, "Activation must be one of gelu, .* not 'quick_gelu'"),
    ({"num_attention_heads": 5}, "num_attention_heads must be a divisor of the 12 features, not 5"),
    ({"num_attention_heads": None}, "must be a divisor of the 12 features, not None"),
    ({"num_hidden_layers": 1}, "The configuration says 1 layers, and the tensors are of 2"),
    ({"intermediate_size": 21}, "says 21 inner features, and the tensors are of 20"),
    ({"hidden_size": 6}, "says 6 features, and the tensors are of 12"),
])
def test_configurations_that_are_refused(tmp_path, config, message):
    folder = saved(tmp_path, bert(), model_type="bert", **CONFIG)
    with pytest.raises(ValueError, match=message):
        heddle.load_model(folder, **config)


def cut(name, *index):
    def change(weights):
        weights[name] = np.ascontiguousarray(weights[name][index])
    return change


@pytest.mark.parametrize(("change", "message"), [
    (lambda w: w.pop("encoder.layer.1.output.dense.weight"),
     "Tensor encoder.layer.1.output.dense.weight of a BERT model is missing"),
    (cut("encoder.layer.0.attention.self.key.weight", slice(8)),
     r"Tensor encoder.layer.0.attention.self.key.weight must be of shape \[12, 12\], not \[8, "),
    (lambda w: [w.pop(name) for name in list(w) if name.startswith("encoder")],
     "A BERT model must have layers, and no tensor begins with encoder.layer.0."),
    (lambda w: w.update({"encoder.layer.1.experts.0.weight": np.zeros(3, np.float32)}),
     "A BERT model as supported has no tensor encoder.layer.1.experts.0.weight$"),
    (lambda w: w.update({f"encoder.layer.{n}.attention.self.distance_embedding.weight":
                         np.zeros(3, np.float32) for n in range(2)}),
     "no tensor encoder.layer.0.attention.self.distance_embedding.weight, nor 1 more"),
    (lambda w: w.update({"encoder.layer.2.output.dense.weight": np.zeros(3, np.float32)}),
     "Tensor encoder.layer.2.intermediate.dense.weight of a BERT model is missing"),
    (lambda w: w.update({"encoder.layer.0.output.dense.bias": np.zeros(12, np.int8)}),
     "Tensor encoder.layer.0.output.dense.bias must be of floating point, not int8"),
])
def test_tensors_that_are_refused(tmp_path, change, message):
    weights = bert()
    change(weights)
    folder = saved(tmp_path, weights, model_type="bert", **CONFIG)
    with pytest.raises(ValueError, match=message):
        heddle.load_model(folder)


def test_tensors_of_heads_and_buffers_do_not_matter(tmp_path):
    more = {"pooler.dense.weight": (WIDTH, WIDTH), "pooler.dense.bias": (WIDTH,),
            "classifier.weight": (2, WIDTH), "embeddings.position_ids": (1, PLACES)}
    model = heddle.load_model(saved(tmp_path, bert() | tensors(more)), model_type="bert", **CONFIG)
    assert model.head is None
    with pytest.raises(ValueError, match="Logits need a head, and this bert model has none"):
        model.logits(SEQUENCES)


def test_family_must_be_clear(tmp_path):
    with pytest.raises(ValueError, match="may be of bert or roberta: model_type must tell which"):
        heddle.load_model(saved(tmp_path, bert()), **CONFIG)
    with pytest.raises(ValueError, match=r"one of bert, .* and the names begin with fc, w"):
        heddle.load_model(saved(tmp_path, tensors({"w": (2,), "fc": (3,)})), **CONFIG)


def test_images_of_another_size_are_refused(tmp_path):
    folder = saved(tmp_path, vit())
    with pytest.raises(ValueError, match="4 patches of 2 × 2 pixels must make up an image of 6 ×"):
        heddle.load_model(folder, image_size=6, **CONFIG)
    model = heddle.load_model(folder, **CONFIG)
    for shape in ((0, 3, 4, 4), (2, 1, 4, 4), (3, 4, 4)):
        with pytest.raises(ValueError, match=r"of shape \[images, 3, 4, 4\], at least one, not"):
            model(np.zeros(shape))


def test_sequences_that_are_refused(tmp_path):
    model = heddle.load_model(saved(tmp_path, gpt2()), **CONFIG)
    for tokens, message in (([], "at least one sequence, not none"),
                            ([[1], []], "Sequence 1 must have 1 to 11 tokens, not 0"),
                            ([[1] * 12], "Sequence 0 must have 1 to 11 tokens, not 12"),
                            ([[1, 17]], "Tokens of sequence 0 must be from 0 to 16, not 17"),
                            ([[-1]], "must be from 0 to 16, not -1")):
        with pytest.raises(ValueError, match=message):
            model(tokens)


def test_sources_that_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a file of weights, a folder with "):
        heddle.load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="or one of minilm, minilm-int8, sapiens"):
        heddle.load_model("minilm7")
    saved(tmp_path, bert())
    for text, message in (("{", "config.json must be JSON"), ("[1]", "hold an object, not list")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match=message):
            heddle.load_model(tmp_path)


def test_types_of_models():
    assert set(MODEL_TYPES.values()) == set(FAMILIES)
    assert not set(MODEL_TYPES) & set(REFUSED_TYPES)
