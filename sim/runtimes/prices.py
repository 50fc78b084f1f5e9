"""The price of a runtime's step: seconds by part, from counted work and a few constants."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from hwprofiles.units import GIGA, MICRO
from sim.runtimes.constants import Constants
from sim.runtimes.features import NOMINAL_THREADS, Features
from sim.runtimes.formats import OWN_FAMILIES, FormatFamily

AVX2_DECODE_FRACTION = 0.62
"""The speed of AVX2 over that of AVX-512 with VNNI in products of one token.

It is from a study of 202 published rows.
"""

AVX2_PREFILL_FRACTION = 0.5
"""Speed of AVX2 against AVX-512 in products of many tokens: AVX2 has half the width."""

IS_SHARED = np.array([family not in OWN_FAMILIES for family in FormatFamily])
"""For each family, whether llama.cpp has it too; others' rates are those of ik_llama.cpp."""

SHARED_SOCKETS_FRACTION = 0.7
"""Share of the cores of two sockets that help a prompt whose weights lie in both memories (three
published machines: 0.5 to 1).
"""

DECOMPRESSED_FRACTION = (128 + 64 + 128) / (576 + 512)
"""Work of a prompt's attention over a decompressed MLA cache, relative to a compressed one.

It is counted in elements a head (DeepSeek-V3's configuration).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """Seconds of a step by what limits it, or arrays of them."""

    cpu_experts: Any
    cpu_dense: Any
    cpu_attention: Any
    gpu_weights: Any
    gpu_attention: Any
    upload: Any
    crossings: Any
    disk: Any = 0.0

    @property
    def total(self) -> Any:
        """The sum of all parts, which run one after the other."""
        return sum(getattr(self, item.name) for item in fields(self))


def decode_seconds(step: Features, constants: Constants) -> Seconds:
    """Seconds of one decoded token: every part is read once and waits for the one before."""
    work = step.work
    dram = dram_bytes_per_s(step, constants)
    # The lag is in the logarithm, so half a lag is the root of the fraction.
    cores = step.cores * AVX2_DECODE_FRACTION**step.lag
    gain = np.where(step.is_optimised, constants.optimised_decode_gain, 1.0)
    rates = np.array(constants.decode_weights_per_core_s)[step.family] * GIGA
    rates = rates * np.where(IS_SHARED[step.family], gain, 1.0)
    dense_rate = constants.k_weights_per_core_s * gain * GIGA
    maker = _maker_factor(step, constants)
    # Of a prompt these cards are not known to differ: it fills them.
    maker = maker * np.where(step.has_server_card, constants.server_card_factor, 1.0)
    return Seconds(
        # Between the larger of both and their sum: cores unpack while memory delivers, but wait for
        # each other where the two take about as long.
        cpu_experts=np.hypot(
            work.cpu_expert_bytes / dram, work.cpu_expert_weights / (rates * cores)
        ),
        cpu_dense=np.hypot(
            work.cpu_dense_bytes / dram, work.cpu_dense_weights / (dense_rate * cores)
        )
        + _waits(step, constants),
        cpu_attention=_decoded_on_cpu(step, constants, cores, dram),
        gpu_weights=maker
        * (
            work.gpu_read_s / constants.gpu_read_fraction
            + work.gpu_layers * constants.gpu_layer_us * MICRO
        ),
        gpu_attention=maker
        * np.where(
            step.is_mla,
            work.gpu_attention_s / constants.mla_flops_fraction,
            work.gpu_kv_s
            * step.kv_bytes_factor
            * constants.kv_reads
            * np.maximum(1.0, constants.ungrouped_kv_share * step.ungrouped_queries),
        ),
        # Of the same shape as the other parts, also where steps are stacked.
        upload=_upload(step, constants),
        crossings=(work.crossings + work.gpu_crossings) * constants.crossing_us * MICRO,
    )


def _decoded_on_cpu(step: Features, constants: Constants, cores: Any, dram: Any) -> Any:
    """Return the seconds of attention of one token on the CPU.

    They are those of reading the cache, or of its products where these take longer. Over a
    compressed cache, each row meets the queries of all heads (128 in DeepSeek-V3). Its products are
    thus priced like those of a prompt (ik_llama.cpp pull request 531).
    """
    work = step.work
    by_bytes = constants.cpu_kv_reads * work.cpu_kv_bytes / dram
    by_flash = work.cpu_attention_flops / (constants.flash_flops_per_core_s * GIGA * cores)
    kernel = np.where(
        step.is_optimised, constants.optimised_flops_per_core_s, constants.plain_flops_per_core_s
    )
    useful = step.cores * _useful_share(step)
    by_matrices = np.where(step.is_mla, work.cpu_attention_flops / (kernel * GIGA * useful), 0.0)
    return np.maximum(by_bytes, np.where(step.is_flash_on_cpu, by_flash, by_matrices))


def _upload(step: Features, constants: Constants) -> Any:
    """Seconds of copies of weights to the GPU."""
    share = np.where(step.is_copy_known, 1.0, constants.link_fraction)
    return step.work.upload_s / share


def _waits(step: Features, constants: Constants) -> Any:
    """Return the seconds that threads wait for each other.

    Each thread adds itself to one counter (ggml_barrier), so a wait grows in proportion to their
    number.
    """
    each_s = constants.cpu_layer_us * MICRO * step.threads / NOMINAL_THREADS
    return step.work.cpu_dense_layers * each_s


def prefill_seconds(step: Features, constants: Constants) -> Seconds:
    """Return the seconds of a prompt.

    Copies, the CPU's products and the GPU's products run one after the other.
    """
    work = step.work
    dram = dram_bytes_per_s(step, constants)
    # Attention computes in floating point, so that it lacks nothing without dot products of bytes.
    all_cores = step.cores * _useful_share(step)
    cores = all_cores * AVX2_PREFILL_FRACTION**step.lag
    ours = np.where(
        step.is_kt,
        constants.kt_weights_per_core_s,
        constants.optimised_weights_per_core_s * constants.double_width_gain ** np.log2(step.width),
    )
    kernel = np.where(step.is_optimised, ours, constants.plain_weights_per_core_s)
    rate = kernel * np.where(step.has_amx, constants.amx_factor, 1.0) * GIGA
    elements = _elements_of_attention(step)
    attention_rate = np.where(
        step.is_optimised,
        constants.optimised_flops_per_core_s,
        np.where(
            np.logical_and(step.is_flash_on_cpu, np.logical_not(step.is_flash_tiled)),
            constants.flash_flops_per_core_s,
            constants.plain_flops_per_core_s,
        ),
    )
    gpu_weights, gpu_attention = _prompt_on_gpus(step, constants)
    return Seconds(
        cpu_experts=np.hypot(
            work.cpu_expert_weights / (rate * step.kernel_factor * cores),
            work.cpu_expert_bytes / dram,
        ),
        cpu_dense=np.hypot(
            work.cpu_dense_weights / (rate * step.kernel_factor * cores),
            work.cpu_dense_bytes / dram,
        )
        + _waits(step, constants),
        cpu_attention=elements * work.cpu_attention_flops / (attention_rate * GIGA * all_cores),
        gpu_weights=gpu_weights,
        gpu_attention=gpu_attention,
        upload=_upload(step, constants),
        crossings=(work.crossings + work.gpu_crossings) * constants.crossing_us * MICRO
        # A prompt's activations take time on the link; a single token's are too few.
        + work.crossing_s / constants.link_fraction,
    )


def _prompt_on_gpus(step: Features, constants: Constants) -> tuple[Any, Any]:
    """Return the seconds of a prompt's products on GPUs, and those of its attention there."""
    work = step.work
    maker = _maker_factor(step, constants)
    # Grouped products round the tokens of each expert up to a tile.
    padded = work.gpu_matrix_s + constants.expert_pad_tokens * work.gpu_pad_s
    passed = constants.activation_passes * work.gpu_activation_s + work.gpu_expansion_s
    loops = step.loops_over_experts * work.gpu_experts * constants.expert_loop_us * MICRO
    kernel = np.where(step.is_attention_ungrouped, constants.ungrouped_attention_factor, 1.0)
    attention = work.gpu_attention_s / (constants.attention_flops_fraction * kernel)
    products = (
        (work.gpu_read_s + passed) / constants.gpu_read_fraction
        + padded / constants.matrix_flops_fraction
        + work.gpu_layers * constants.gpu_layer_us * MICRO
        + loops
    )
    return maker * products, maker * _elements_of_attention(step) * attention


def _elements_of_attention(step: Features) -> Any:
    """Return the elements that a prompt's attention multiplies, over those of the cache."""
    return np.where(step.is_cache_expanded, DECOMPRESSED_FRACTION, 1.0)


def _maker_factor(step: Features, constants: Constants) -> Any:
    return np.where(step.is_other_maker, constants.other_maker_factor, 1.0)


def _useful_share(step: Features) -> Any:
    """The share of cores that help a prompt: a second socket adds 0.4 of the first."""
    return np.where(step.is_on_two_sockets, SHARED_SOCKETS_FRACTION, 1.0)


def dram_bytes_per_s(step: Features, constants: Constants) -> Any:
    """Return the rate at which experts are read from host memory.

    It is the rate of one socket, times a factor for several sockets by where threads and pages lie.
    A probe and a datasheet each state it with a spread, and both spreads are about as wide. Where
    both are known, the rate is their mean in the logarithm.
    """
    reached = np.where(
        step.is_server, constants.server_dram_fraction, constants.desktop_dram_fraction
    )
    probed = np.where(
        step.is_server, constants.server_probe_fraction, constants.desktop_probe_fraction
    )
    probed = np.where(step.is_probe_assumed, constants.assumed_rate_fraction, probed)
    by_datasheet = step.socket_bytes_per_s * reached
    by_probe = step.probe_bytes_per_s * probed
    # One that is not known is 0, and leaves the other as it is.
    one = np.where(
        by_datasheet * by_probe > 0,
        np.sqrt(by_datasheet * by_probe),
        by_datasheet + by_probe,
    )
    factors = np.array([1.0, constants.shared_sockets_factor, constants.own_sockets_factor])
    return one * factors[step.socket_use]
