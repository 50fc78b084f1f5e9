"""The mixes of llama.cpp's quantiser, as rules by role and layer.

Source: ggml-org/llama.cpp, src/llama-quant.cpp at commit 007dbbf3, llama_tensor_get_type_impl,
tensor_type_fallback and tensor_allows_quantization. Mixes of i-quants are made with an importance
matrix, which most of their types require; the others without one.
"""

from collections.abc import Mapping
from types import MappingProxyType

from sim.model.importers.schemes.scheme import Condition, Mix, MixRule, Traits
from sim.model.importers.schemes.tensors import Role

_MIXTRAL_EXPERTS = 8
_FEW_EXPERTS = 4
_WIDE_GROUP = 4


def _takes_more_bits(index: int, count: int) -> bool:
    """Whether a tensor is in the first or the last eighth, or is every third one between them."""
    first = count // 8
    # use_more_bits of llama-quant.cpp, with its whole-number divisions.
    return index < first or index >= 7 * count // 8 or (index - first) % 3 == 2


def _is_grouped(traits: Traits) -> bool:
    """Whether many query heads share a key head."""
    return traits.query_group >= _WIDE_GROUP


def _has_experts(traits: Traits) -> bool:
    """Whether the mixes of 1 and 2 bits treat the model as one of experts."""
    return traits.num_experts >= _FEW_EXPERTS


def _is_in_the_middle(index: int, count: int) -> bool:
    """Whether the layer is in neither the first nor the last eighth."""
    return count // 8 <= index < 7 * count // 8


CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        "always": lambda traits, at: True,
        "tied": lambda traits, at: traits.is_head_tied,
        "grouped": lambda traits, at: _is_grouped(traits),
        "grouped or experts": lambda traits, at: _is_grouped(traits) or _has_experts(traits),
        "eight experts": lambda traits, at: traits.num_experts == _MIXTRAL_EXPERTS,
        "not eight experts": lambda traits, at: traits.num_experts != _MIXTRAL_EXPERTS,
        "eight experts, more bits": lambda traits, at: (
            traits.num_experts == _MIXTRAL_EXPERTS and _takes_more_bits(at.layer, traits.num_layers)
        ),
        "seventy": lambda traits, at: traits.is_seventy,
        "first two": lambda traits, at: at.before < 2,
        "first four": lambda traits, at: at.before < 4,
        "first sixteenth": lambda traits, at: at.layer < traits.num_layers // 16,
        "first eighth": lambda traits, at: at.layer < traits.num_layers // 8,
        "first eighth by count": lambda traits, at: at.before < traits.num_layers // 8,
        "middle": lambda traits, at: _is_in_the_middle(at.layer, traits.num_layers),
        "more bits": lambda traits, at: _takes_more_bits(at.layer, traits.num_layers),
        "more bits by count": lambda traits, at: _takes_more_bits(at.before, traits.num_values),
    }
)
"""Conditions by the names that rules give them."""

_TO_IQ4_NL = (
    *("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq4_xs"),
    # ik_llama.cpp 8337e4cd, src/llama-quantize.cpp, change_type_if_necessary
    *("iq1_kt", "iq2_k", "iq2_ks", "iq2_kt", "iq2_kl", "iq3_k", "iq3_ks", "iq3_kt"),
    *("iq4_ks", "iq4_kss", "iq4_kt"),
)

FALLBACKS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(_TO_IQ4_NL, "iq4_nl"),
        **dict.fromkeys(("q2_k", "q3_k"), "q4_0"),
        **dict.fromkeys(("q4_k", "iq4_k", "iq5_ks"), "q5_0"),
        **dict.fromkeys(("q6_k", "iq6_k"), "q8_0"),
        "q5_k": "q5_1",
        "iq5_k": "q6_0",
    }
)
"""The type in place of one whose blocks a row does not divide into; f16 where that does not fit
either.
"""


def output_rules(type_name: str) -> tuple[MixRule, ...]:
    """Return the rules that store the head in that type, and the embedding too where both are one
    tensor.
    """
    return (
        MixRule(Role.OUTPUT, type_name),
        MixRule(Role.TOKEN_EMBEDDING, type_name, "tied"),
    )


_EIGHT_EXPERTS = (
    MixRule(Role.VALUE, "q8_0", "eight experts"),
    MixRule(Role.KEY, "q8_0", "eight experts"),
)


def _mix(default: str, *rules: MixRule, output: str = "q6_k") -> Mix:
    # Values and keys of Mixtral's eight experts are small beside them, so every mix keeps them
    # wide.
    return Mix(default=default, rules=(*output_rules(output), *_EIGHT_EXPERTS, *rules))


def _with_seventy(*rules: MixRule) -> tuple[MixRule, ...]:
    """Return the rules for values, after the one that gives q5_k to dense models of 80 layers."""
    return (MixRule(Role.VALUE, "q5_k", "seventy"), *rules)


def _small(default: str, *, embedding: str, output: str | None, first: str) -> Mix:
    """A mix of 1 or 2 bits; ``output`` None leaves the attention's output in the default."""
    own = () if output is None else (MixRule(Role.ATTENTION_OUTPUT, output),)
    return Mix(
        default=default,
        rules=(
            *output_rules("q5_k"),
            MixRule(Role.TOKEN_EMBEDDING, embedding),
            MixRule(Role.VALUE, "q4_k", "grouped or experts"),
            MixRule(Role.VALUE, first),
            MixRule(Role.KEY, "q4_k", "eight experts"),
            MixRule(Role.DOWN, first, "first eighth by count"),
            MixRule(Role.ATTENTION_OUTPUT, "q5_k", "eight experts"),
            *own,
        ),
    )


_EIGHT_OUTPUT = MixRule(Role.ATTENTION_OUTPUT, "q5_k", "eight experts")

MIXES: Mapping[str, Mix] = MappingProxyType(
    {
        "F32": Mix(default="f32"),
        "F16": Mix(default="f16"),
        "BF16": Mix(default="bf16"),
        "Q8_0": _mix("q8_0", output="q8_0"),
        "Q6_K": _mix("q6_k"),
        "Q5_K_M": _mix(
            "q5_k",
            MixRule(Role.VALUE, "q6_k", "more bits by count"),
            MixRule(Role.DOWN, "q6_k", "more bits"),
        ),
        "Q5_K_S": _mix("q5_k"),
        "Q5_1": _mix("q5_1"),
        "Q5_0": _mix("q5_0"),
        "Q4_K_M": _mix(
            "q4_k",
            MixRule(Role.VALUE, "q6_k", "more bits by count"),
            *_with_seventy(),
            MixRule(Role.DOWN, "q6_k", "more bits"),
            _EIGHT_OUTPUT,
        ),
        "Q4_K_S": _mix(
            "q4_k",
            *_with_seventy(MixRule(Role.VALUE, "q5_k", "first four")),
            MixRule(Role.DOWN, "q5_k", "first eighth"),
            _EIGHT_OUTPUT,
        ),
        "Q4_1": _mix("q4_1"),
        "Q4_0": _mix("q4_0"),
        "IQ4_NL": _mix("iq4_nl", MixRule(Role.VALUE, "q5_k", "grouped"), _EIGHT_OUTPUT),
        "IQ4_XS": _mix("iq4_xs", MixRule(Role.VALUE, "q5_k", "grouped"), _EIGHT_OUTPUT),
        "Q3_K_L": _mix(
            "q3_k",
            MixRule(Role.VALUE, "q5_k"),
            MixRule(Role.DOWN, "q5_k"),
            MixRule(Role.ATTENTION_OUTPUT, "q5_k", "not eight experts"),
        ),
        "Q3_K_M": _mix(
            "q3_k",
            *_with_seventy(MixRule(Role.VALUE, "q5_k", "first two"), MixRule(Role.VALUE, "q4_k")),
            MixRule(Role.DOWN, "q5_k", "first sixteenth"),
            MixRule(Role.DOWN, "q4_k"),
            _EIGHT_OUTPUT,
            MixRule(Role.ATTENTION_OUTPUT, "q4_k"),
        ),
        "Q3_K_S": _mix("q3_k", *_with_seventy(), _EIGHT_OUTPUT),
        "IQ3_M": _mix(
            "iq3_s",
            *_with_seventy(MixRule(Role.VALUE, "q4_k")),
            MixRule(Role.DOWN, "q4_k", "first eighth"),
            MixRule(Role.DOWN, "q4_k", "eight experts, more bits"),
            _EIGHT_OUTPUT,
            MixRule(Role.ATTENTION_OUTPUT, "q4_k"),
        ),
        "IQ3_S": _mix(
            "iq3_s",
            *_with_seventy(MixRule(Role.VALUE, "q4_k", "grouped")),
            _EIGHT_OUTPUT,
        ),
        "IQ3_XS": _mix(
            "iq3_s",
            *_with_seventy(MixRule(Role.VALUE, "q4_k", "grouped")),
            MixRule(Role.KEY, "iq3_xxs"),
            MixRule(Role.QUERY, "iq3_xxs"),
            _EIGHT_OUTPUT,
            MixRule(Role.GATE, "iq3_xxs", "middle"),
            MixRule(Role.UP, "iq3_xxs", "middle"),
        ),
        "IQ3_XXS": _mix(
            "iq3_xxs",
            MixRule(Role.TOKEN_EMBEDDING, "iq3_s"),
            *_with_seventy(MixRule(Role.VALUE, "q4_k", "grouped")),
            MixRule(Role.KEY, "iq2_s"),
            MixRule(Role.QUERY, "iq2_s"),
            _EIGHT_OUTPUT,
            MixRule(Role.ATTENTION_OUTPUT, "iq3_s"),
            output="q5_k",
        ),
        "Q2_K": _mix(
            "q2_k",
            *_with_seventy(MixRule(Role.VALUE, "q4_k", "grouped"), MixRule(Role.VALUE, "q3_k")),
            MixRule(Role.DOWN, "q3_k"),
            _EIGHT_OUTPUT,
            MixRule(Role.ATTENTION_OUTPUT, "q3_k"),
        ),
        "Q2_K_S": _mix(
            "q2_k",
            *_with_seventy(MixRule(Role.VALUE, "q4_k", "grouped")),
            MixRule(Role.DOWN, "q4_k", "first eighth"),
        ),
        "IQ2_M": _small("iq2_s", embedding="iq3_s", output="iq3_s", first="iq3_s"),
        "IQ2_S": _small("iq2_xs", embedding="iq3_s", output="iq3_s", first="iq3_s"),
        "IQ2_XS": _small("iq2_xs", embedding="q2_k", output=None, first="q2_k"),
        "IQ2_XXS": _small("iq2_xxs", embedding="q2_k", output=None, first="q2_k"),
        "IQ1_M": _small("iq1_m", embedding="q2_k", output="iq2_xxs", first="q2_k"),
        "IQ1_S": _small("iq1_s", embedding="q2_k", output="iq2_xxs", first="q2_k"),
        "MXFP4_MOE": Mix(
            default="q8_0",
            expert=(
                MixRule(Role.GATE, "mxfp4"),
                MixRule(Role.UP, "mxfp4"),
                MixRule(Role.DOWN, "mxfp4"),
            ),
        ),
    }
)
"""The mixes by the names that llama-quantize has for them."""
