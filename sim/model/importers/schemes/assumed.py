"""Assumed types for mixes that their authors choose model by model, or by options.

Every entry says what the assumption rests on, and how far a file may be off.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from sim.model.importers.schemes.llama_cpp import MIXES, output_rules
from sim.model.importers.schemes.scheme import Mix, MixRule, Scheme
from sim.model.importers.schemes.tensors import Role

_UD = (
    "Unsloth chooses types layer by layer and model by model; experts in {gate_and_up} and"
    " {down} (down), the rest in {rest}, {evidence}; other models and dates may be off by 20 %"
)
_UD_SIZES = (
    "give the sizes of its DeepSeek-V3 files (huggingface.co/unsloth/DeepSeek-V3-0324-GGUF, 186 to"
    " 405 GB)"
)
_UD_HEADERS = (
    "are what the header of its Qwen3.8-Flash-Next file states of most layers (Niko1221/Strata,"
    " docs/QUANTS.md at v0.1.44.1)"
)
_UD_FLASH_SIZES = (
    "give the sizes of its Qwen3.8-Flash-Next files (Niko1221/Strata, release 0.2.11) within 6 %"
)
_UD_BY_ANALOGY = "follow its other files; no size was at hand"
_UD_DENSE = (
    "Unsloth chooses types layer by layer and model by model; of a dense model its file is taken as"
    " {base}, which is 0 to 8 % below ten of eleven files of Qwen3-32B, and 12 % below UD-Q8_K_XL"
    " (huggingface.co/unsloth/Qwen3-32B-GGUF at 931c8406); small models are off by more"
)
_PLAIN_NAMES: Mapping[str, str] = {
    "Q8_K_XL": "Q8_0",
    "Q6_K_XL": "Q6_K",
    "Q5_K_XL": "Q5_K_M",
    "Q4_K_XL": "Q4_K_M",
    "Q3_K_XL": "Q3_K_M",
    "Q2_K_XL": "Q2_K",
}
"""The mix of llama.cpp that stands for a dynamic file of the size XL in a dense model."""
_IK_SOURCE = "ik_llama.cpp issue 296, pull 529, discussion 258"
_IK = "a recipe of ik_llama.cpp's users ({source}): {recipe}; other files differ"
_LARGE = "{base}, embedding and head in q8_0 (bartowski's model cards); other files differ"


def _experts(gate_and_up: str, down: str) -> tuple[MixRule, ...]:
    return (
        MixRule(Role.GATE, gate_and_up),
        MixRule(Role.UP, gate_and_up),
        MixRule(Role.DOWN, down),
    )


def own_recipe(name: str, gate_and_up: str, down: str, rest: str = "q8_0") -> Scheme:
    """Return the scheme that stores experts in those types, embedding and head in q8_0, and all else
    in ``rest``.

    A dense model stores its feed-forward blocks in the types of the experts.
    """
    embedding = MixRule(Role.TOKEN_EMBEDDING, "q8_0")
    experts = f"experts {gate_and_up} and {down} (down)"
    recipe = f"{experts}, attention and shared blocks {rest}, embedding and head q8_0"
    # Head and embedding first: the first rule that holds for a tensor decides.
    outside = (*output_rules("q8_0"), embedding)
    said = _IK.format(source=_IK_SOURCE, recipe=recipe)
    own = _experts(gate_and_up, down)
    return Scheme(
        name=name,
        mix=Mix(default=rest, rules=outside, expert=own),
        approximation=said,
        dense=Scheme(
            name=name,
            mix=Mix(default=rest, rules=(*outside, *own)),
            approximation=f"{said}; a dense feed-forward is taken as experts are",
        ),
    )


def dense_dynamic(name: str) -> Scheme | None:
    """The scheme of a dynamic file of a dense model: the mix of its name; None where there is
    none.
    """
    stem = name.removeprefix("UD-")
    base = _PLAIN_NAMES.get(stem, stem)
    if base not in MIXES:
        return None
    return Scheme(name=name, mix=MIXES[base], approximation=_UD_DENSE.format(base=base))


def _dynamic(
    name: str, gate_and_up: str, down: str, rest: str, evidence: str = _UD_SIZES
) -> Scheme:
    """The scheme of a dynamic file: experts in those types, all else in ``rest``.

    Embedding and head are in the types of the files that ``evidence`` is about.
    """
    is_of_2025 = evidence is _UD_SIZES
    head, embedding = ("q6_k", "q4_k") if is_of_2025 else ("q8_0", "q8_0")
    said = _UD.format(gate_and_up=gate_and_up, down=down, rest=rest, evidence=evidence)
    return Scheme(
        name=name,
        mix=Mix(
            default=rest,
            rules=(*output_rules(head), MixRule(Role.TOKEN_EMBEDDING, embedding)),
            expert=_experts(gate_and_up, down),
        ),
        approximation=said,
        dense=dense_dynamic(name),
    )


def _large(name: str, base: str) -> Scheme:
    """A mix whose embedding and head are q8_0, by the quantiser's two options for them."""
    mix = MIXES[base]
    outside = (*output_rules("q8_0"), MixRule(Role.TOKEN_EMBEDDING, "q8_0"))
    return Scheme(
        name=name,
        mix=replace(mix, rules=(*outside, *mix.rules)),
        approximation=_LARGE.format(base=base),
    )


_ALL = (
    _dynamic("UD-Q8_K_XL", "q8_0", "q8_0", "bf16", _UD_BY_ANALOGY),
    _dynamic("UD-Q6_K_XL", "q6_k", "q6_k", "q8_0", _UD_HEADERS),
    _dynamic("UD-IQ4_XS", "iq3_s", "iq4_xs", "q8_0", _UD_HEADERS),
    _dynamic("UD-IQ3_S", "iq3_xxs", "iq3_s", "q8_0", _UD_BY_ANALOGY),
    _dynamic("UD-IQ3_XXS", "iq2_s", "iq3_xxs", "q8_0", _UD_FLASH_SIZES),
    _dynamic("UD-IQ2_XS", "iq2_xxs", "iq2_xs", "q8_0", _UD_FLASH_SIZES),
    _dynamic("UD-Q2_0", "q2_0", "q2_0", "q8_0", _UD_FLASH_SIZES),
    _dynamic("UD-TQ1_0", "iq1_s", "iq2_xxs", "q8_0", _UD_BY_ANALOGY),
    _dynamic("UD-Q5_K_XL", "q5_k", "q6_k", "q6_k"),
    _dynamic("UD-Q4_K_XL", "q4_k", "q5_k", "q6_k"),
    _dynamic("UD-Q3_K_XL", "q3_k", "q4_k", "q4_k"),
    _dynamic("UD-Q2_K_XL", "q2_k", "q3_k", "q4_k"),
    _dynamic("UD-IQ2_M", "iq2_s", "iq3_xxs", "q4_k"),
    _dynamic("UD-IQ2_XXS", "iq2_xs", "iq3_xxs", "q4_k"),
    _dynamic("UD-IQ1_M", "iq2_xxs", "q2_k", "q4_k"),
    _dynamic("UD-IQ1_S", "iq2_xxs", "iq2_xs", "q4_k"),
    _large("Q6_K_L", "Q6_K"),
    _large("Q5_K_L", "Q5_K_M"),
    _large("Q4_K_L", "Q4_K_M"),
    _large("Q3_K_XL", "Q3_K_L"),
    _large("Q2_K_L", "Q2_K"),
    own_recipe("IQ6_K", "iq6_k", "q8_0"),
    own_recipe("IQ5_K", "iq5_k", "iq6_k"),
    own_recipe("IQ5_KS", "iq5_ks", "iq5_ks"),
    own_recipe("IQ4_K", "iq4_k", "iq5_k"),
    own_recipe("IQ4_K_R4", "iq4_k_r4", "iq5_k_r4"),
    own_recipe("IQ4_KS", "iq4_ks", "iq4_ks", "iq5_ks"),
    own_recipe("IQ4_KSS", "iq4_kss", "iq4_ks", "iq5_ks"),
    own_recipe("IQ4_KS_R4", "iq4_ks_r4", "iq5_ks_r4"),
    own_recipe("IQ4_KT", "iq4_kt", "iq4_kt", "iq5_ks"),
    own_recipe("IQ3_K", "iq3_k", "iq4_k"),
    own_recipe("IQ3_K_R4", "iq3_k_r4", "iq4_k_r4"),
    own_recipe("IQ3_KS", "iq3_ks", "iq4_ks", "iq5_ks"),
    own_recipe("IQ3_KT", "iq3_kt", "iq4_kt", "iq5_ks"),
    own_recipe("IQ2_K", "iq2_k", "iq3_k"),
    own_recipe("IQ2_K_R4", "iq2_k_r4", "iq3_k_r4"),
    own_recipe("IQ2_KS", "iq2_ks", "iq3_ks", "iq5_ks"),
    own_recipe("IQ2_KT", "iq2_kt", "iq2_kt", "iq5_ks"),
    own_recipe("IQ2_KL", "iq2_kl", "iq3_ks", "iq5_ks"),
    own_recipe("IQ1_KT", "iq1_kt", "iq2_kt", "iq5_ks"),
    own_recipe("IQ2_XS_R4", "iq2_xs_r4", "iq2_xs_r4"),
    own_recipe("Q2_K_R4", "q2_k_r4", "q3_k_r4"),
    own_recipe("DQ4_K_R4", "q4_k_r4", "q6_k_r4"),
    own_recipe("mix-IQ3_K", "iq3_k", "iq4_k", "iq6_k"),
    own_recipe("mix-IQ6_K", "iq6_k", "q8_0"),
)

ASSUMED: Mapping[str, Scheme] = MappingProxyType({scheme.name: scheme for scheme in _ALL})
"""The schemes by name."""
