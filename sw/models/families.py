"""How checkpoints name the tensors of BERT, RoBERTa, GPT-2 and ViT, and what sets these apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["ACTIVATION_NAMES", "FAMILIES", "MODEL_TYPES", "REFUSED_TYPES", "REQUIRED", "Family",
           "family_of"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of network under the names of one source of checkpoints.

    Names of linear layers and norms stand for their ``.weight`` and ``.bias``.
    """

    title: str
    source: str
    """Whose names these are."""
    prefixes: tuple[str, ...] = ()
    """What names may begin with; the first that fits is dropped."""
    layer: str
    """Before the parts of layer ``{}``."""
    parts: Mapping[str, str]
    """``attention_norm``, ``query``, ``key`` and ``value`` or one ``qkv``, ``output``, ``norm``,
    ``expand`` and ``contract``."""
    words: str = ""
    """Tensor of token embeddings; none if the inputs are images."""
    positions: str
    segment: str = ""
    embedding_norm: str = ""
    patch: str = ""
    """Convolution over patches."""
    special: tuple[str, ...] = ()
    """Tokens before the patches; all but the first may be missing."""
    final_norm: str = ""
    head: Mapping[str, str] = field(default_factory=dict)
    """``dense``, ``norm``, ``decoder`` and ``bias`` of the language model; a ``decoder`` without
    its own weight has the token embeddings."""
    classifiers: tuple[str, ...] = ()
    """Of images; the mean of those that are there, each of its special token."""
    ignored: tuple[str, ...] = ()
    """Patterns of tensors without effect on the output of the last layer, or of other heads."""
    norm_first: bool = False
    causal: bool = False
    transposed: bool = False
    """Whether weights of layers are ``[in, out]``."""
    epsilon: float
    """Of the norms, if the configuration does not say."""
    activation: str = "gelu"
    """The same of the feed-forward parts."""
    padded: bool = False
    """Whether positions are counted from the number of the padding token, plus one."""


_BERT = Family(
    title="BERT",
    source="Hugging Face",
    prefixes=("bert.",),
    layer="encoder.layer.{}.",
    parts={"query": "attention.self.query", "key": "attention.self.key",
           "value": "attention.self.value", "output": "attention.output.dense",
           "attention_norm": "attention.output.LayerNorm", "expand": "intermediate.dense",
           "contract": "output.dense", "norm": "output.LayerNorm"},
    words="embeddings.word_embeddings.weight",
    positions="embeddings.position_embeddings.weight",
    segment="embeddings.token_type_embeddings.weight",
    embedding_norm="embeddings.LayerNorm",
    head={"dense": "cls.predictions.transform.dense", "norm": "cls.predictions.transform.LayerNorm",
          "decoder": "cls.predictions.decoder", "bias": "cls.predictions.bias"},
    ignored=(r"embeddings\.(position|token_type)_ids", r"pooler\..*", r"cls\.seq_relationship\..*",
             r"(classifier|qa_outputs)\..*"),
    epsilon=1e-12,
)

_VIT = Family(
    title="ViT or DeiT",
    source="Hugging Face",
    prefixes=("vit.", "deit."),
    layer="encoder.layer.{}.",
    parts={"query": "attention.attention.query", "key": "attention.attention.key",
           "value": "attention.attention.value", "output": "attention.output.dense",
           "attention_norm": "layernorm_before", "expand": "intermediate.dense",
           "contract": "output.dense", "norm": "layernorm_after"},
    positions="embeddings.position_embeddings",
    patch="embeddings.patch_embeddings.projection",
    special=("embeddings.cls_token", "embeddings.distillation_token"),
    final_norm="layernorm",
    classifiers=("classifier", "cls_classifier", "distillation_classifier"),
    ignored=(r"pooler\..*", r"embeddings\.mask_token"),
    norm_first=True,
    epsilon=1e-12,
)

FAMILIES = {
    "bert": _BERT,
    "roberta": replace(
        _BERT, title="RoBERTa", prefixes=("roberta.",), padded=True,
        head={"dense": "lm_head.dense", "norm": "lm_head.layer_norm",
              "decoder": "lm_head.decoder", "bias": "lm_head.bias"}),
    "fairseq": Family(
        title="RoBERTa",
        source="fairseq",
        prefixes=("decoder.sentence_encoder.", "encoder.sentence_encoder.", "decoder.", "encoder."),
        layer="layers.{}.",
        parts={"query": "self_attn.q_proj", "key": "self_attn.k_proj",
               "value": "self_attn.v_proj", "output": "self_attn.out_proj",
               "attention_norm": "self_attn_layer_norm", "expand": "fc1", "contract": "fc2",
               "norm": "final_layer_norm"},
        words="embed_tokens.weight",
        positions="embed_positions.weight",
        embedding_norm="emb_layer_norm",
        head={"dense": "lm_head.dense", "norm": "lm_head.layer_norm", "decoder": "lm_head",
              "bias": "lm_head.bias"},
        ignored=(r"version", r"(classification_heads|pooler)\..*"),
        epsilon=1e-5,
        padded=True,
    ),
    "gpt2": Family(
        title="GPT-2",
        source="Hugging Face",
        prefixes=("transformer.",),
        layer="h.{}.",
        parts={"qkv": "attn.c_attn", "output": "attn.c_proj", "attention_norm": "ln_1",
               "expand": "mlp.c_fc", "contract": "mlp.c_proj", "norm": "ln_2"},
        words="wte.weight",
        positions="wpe.weight",
        final_norm="ln_f",
        head={"decoder": "lm_head"},
        ignored=(r"h\.\d+\.attn\.(masked_)?bias",),  # constants of the causal mask
        norm_first=True,
        causal=True,
        transposed=True,
        epsilon=1e-5,
        activation="gelu_new",
    ),
    "vit": _VIT,
    "timm": replace(
        _VIT,
        source="timm",
        prefixes=(),
        layer="blocks.{}.",
        parts={"qkv": "attn.qkv", "output": "attn.proj", "attention_norm": "norm1",
               "expand": "mlp.fc1", "contract": "mlp.fc2", "norm": "norm2"},
        positions="pos_embed",
        patch="patch_embed.proj",
        special=("cls_token", "dist_token"),
        final_norm="norm",
        classifiers=("head", "head_dist"),
        ignored=(),
        epsilon=1e-6,
    ),
}
"""The kinds of checkpoints that can be read."""

MODEL_TYPES = {**{name: name for name in FAMILIES}, "deit": "vit", "xlm-roberta": "roberta",
               "camembert": "roberta"}
"""The family of each ``model_type`` of a configuration."""

REFUSED_TYPES = {
    "albert": "layers that share their weights", "bloom": "ALiBi positions",
    "deberta": "relative positions", "deberta-v2": "relative positions",
    "distilbert": "other names of tensors", "electra": "other names of tensors",
    "gemma": "rotary positions", "gpt_neox": "rotary positions", "gptj": "rotary positions",
    "llama": "rotary positions", "mistral": "rotary positions",
    "mixtral": "rotary positions and a mixture of experts", "modernbert": "rotary positions",
    "mpt": "ALiBi positions", "opt": "other names of tensors", "phi": "rotary positions",
    "qwen2": "rotary positions", "swin": "shifted windows", "switch_transformers":
    "relative positions and a mixture of experts", "t5": "relative positions",
    "xlnet": "relative positions",
}
"""Why well-known other types of model cannot be read."""

REQUIRED = {
    "position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False,
    "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
}
"""What a configuration must say of itself, if it mentions it at all."""

ACTIVATION_NAMES = {
    "gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh", "gelu_tanh": "gelu_tanh", "relu": "relu", "silu": "silu",
    "swish": "silu",
}
"""Names of activations in configurations, and in :data:`~heddle.models.modules.ACTIVATIONS`."""


def family_of(tensors: Iterable[str], config: Mapping[str, Any]) -> str:
    """Return the family that the configuration names, else the one whose names these are.

    Raises
    ------
    ValueError
        If the configuration names another, or the names are of none or of several.
    """
    tensors = set(tensors)
    model_type = config.get("model_type")
    if model_type in MODEL_TYPES:
        return MODEL_TYPES[model_type]
    if model_type is not None:
        reason = REFUSED_TYPES.get(model_type)
        raise ValueError(f"Model type must be one of {', '.join(MODEL_TYPES)}, not {model_type!r}"
                         + f", which has {reason}" * (reason is not None))
    fitting = {}
    for kind, family in FAMILIES.items():
        query = family.parts.get("query") or family.parts["qkv"]
        name = f"{family.layer.format(0)}{query}.weight"
        for prefix in (*family.prefixes, ""):
            if prefix + name in tensors:
                fitting[kind] = prefix
                break
    exact = [kind for kind, prefix in fitting.items() if prefix] or list(fitting)
    if len(exact) == 1:
        return exact[0]
    if exact:
        raise ValueError(f"Tensors of these names may be of {' or '.join(exact)}: model_type must "
                         "tell which")
    raise ValueError(f"Tensors must be those of one of {', '.join(FAMILIES)}, and the names begin "
                     f"with {', '.join(sorted(tensors)[:3]) or 'none'}")
