"""The metadata of a GGUF file's own architecture: values by layer, limits, and which keys are
understood.
"""

from typing import Any

from hwprofiles import InputError
from sim.model.importers.gguf_file import GgufHeader, shown

MOST_LAYERS = 10_000
MOST_EXPERTS = 65_536
MOST_COUNT = 2**31 - 1

_CAREFUL = ("attention.", "ssm.", "shortconv.", "kda.", "wkv.")
"""Beginnings of keys that may change cost or KV cache: such a key must be understood."""

_READ = frozenset(
    {
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "attention.key_length_swa",
        "attention.value_length_swa",
        "attention.kv_lora_rank",
        "attention.sliding_window",
        "attention.sliding_window_pattern",
        "attention.shared_kv_layers",
        "attention.layer_indices",
        "attention.recurrent_layers",
        "attention.compress_ratios",
        "attention.indexer.head_count",
        "attention.indexer.key_length",
        "attention.indexer.top_k",
        "ssm.conv_kernel",
        "ssm.inner_size",
        "ssm.state_size",
        "ssm.group_count",
        "ssm.time_step_rank",
        "shortconv.l_cache",
        "kda.head_dim",
        "wkv.head_size",
    }
)

_HARMLESS = frozenset(
    {
        # scales, norms, masks and rotations: no weight, no KV
        "attention.layer_norm_epsilon",
        "attention.layer_norm_rms_epsilon",
        "attention.group_norm_epsilon",
        "attention.group_norm_groups",
        "attention.causal",
        "attention.clamp_kqv",
        "attention.max_alibi_bias",
        "attention.relative_buckets_count",
        "attention.scale",
        "attention.output_scale",
        "attention.value_scale",
        "attention.temperature_length",
        "attention.temperature_scale",
        "attention.compress_rope_freq_base",
        "ssm.dt_b_c_rms",
        "kda.safe_gate",
        "kda.gate_lower_bound",
        # shapes of projections, which the tensor table has
        "attention.q_lora_rank",
        "attention.key_length_mla",
        "attention.value_length_mla",
        "attention.output_group_count",
        "attention.output_lora_rank",
        "attention.decay_lora_rank",
        "attention.iclr_lora_rank",
        "attention.value_residual_mix_lora_rank",
        "attention.gate_lora_rank",
    }
)


class GgufKeys:
    """The keys of the file's architecture. A key has one value for all layers, or one for each.

    Raises InputError for a key of attention or of a state that is not understood.
    """

    def __init__(self, header: GgufHeader) -> None:
        self.where = header.where
        self._fields = header.fields
        self.architecture = self._architecture()
        for name in self._fields:
            own = name.removeprefix(f"{self.architecture}.")
            # Only keys that may change a price are refused: new files bring new keys all the time.
            is_careful = own != name and own.startswith(_CAREFUL)
            if is_careful and own not in _READ | _HARMLESS:
                raise self.refused(own, "is not understood; it may change cost or KV cache")

    def _architecture(self) -> str:
        name = self._fields.get("general.architecture")
        if not isinstance(name, str) or not name:
            raise InputError(f"{self.where}: metadata key general.architecture is missing")
        if not name.isprintable() or len(name) > 80:
            raise InputError(
                f"{self.where}: metadata key general.architecture must be a short name, got {name[:80]!r}"
            )
        return name

    def refused(self, name: str, reason: str) -> InputError:
        """The error about a key."""
        return InputError(
            f"{self.where}: metadata key {shown(self.architecture)}.{shown(name)} {reason}"
        )

    def has(self, name: str) -> bool:
        """Whether the file states the key."""
        return f"{self.architecture}.{name}" in self._fields

    def is_by_layer(self, name: str) -> bool:
        """Whether the value of the key is an array."""
        return isinstance(self._fields.get(f"{self.architecture}.{name}"), tuple)

    def array(self, name: str) -> tuple[Any, ...]:
        """Return the values of a key as a tuple: of one that is no array its value, of a missing
        one none.
        """
        value = self._fields.get(f"{self.architecture}.{name}", ())
        return value if isinstance(value, tuple) else (value,)

    def get(self, name: str, layer: int = 0) -> Any:
        """Return the value, or that of ``layer`` where it is an array; None where the key is
        missing.

        Raises InputError for too short an array.
        """
        value = self._fields.get(f"{self.architecture}.{name}")
        if not isinstance(value, tuple):
            return value
        if layer >= len(value):
            raise self.refused(
                name,
                f"must have a value for each layer, has {len(value)} and none for layer {layer}",
            )
        return value[layer]

    def count(self, name: str, layer: int = 0, most: int = MOST_COUNT) -> int:
        """Return the value, a positive integer. Raises InputError when it is missing or anything
        else.
        """
        value = self.get(name, layer)
        if value is None:
            raise self.refused(name, "is missing")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            text = shown(repr(value))
            raise self.refused(name, f"must be a positive integer, got {text}")
        if value > most:
            raise self.refused(name, f"must be at most {most}, got {value}")
        return value

    def count_or(self, default: int, name: str, layer: int = 0, most: int = MOST_COUNT) -> int:
        """Return the value, a positive integer, or the default where the key is missing or 0."""
        # 0 stands for "not so here" in arrays that have a value for each layer.
        return self.count(name, layer, most) if self.get(name, layer) else default

    def count_or_none(self, name: str, layer: int = 0) -> int | None:
        """Return the value, a count that may be 0, or None where the key is missing."""
        value = self.get(name, layer)
        if value is None or value == 0:
            return value if value is None else 0
        return self.count(name, layer)
