"""The constants that prices of runtimes rest on, read from one file.

The file states what each constant means and where it comes from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hwprofiles import Kind, read_yaml
from sim.runtimes.formats import FormatFamily

Phase = Literal["decode", "prefill"]
Above0 = Annotated[float, Field(gt=0)]


class Constant(BaseModel):
    """One constant, with what was expected of it before any fit.

    Spreads are standard deviations of the logarithm. ``spread`` is how far fits that leave one
    machine out move the constant. ``prior_spread`` is the spread of ``prior``, and also how far one
    machine's constant may be from the shared one: intervals rest on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Above0
    spread: Annotated[float, Field(ge=0)]
    prior: Above0
    prior_spread: Above0
    phase: Phase
    meaning: str
    source: str


class OwnSpread(BaseModel):
    """The error that the form of a law leaves where all its constants are known.

    ``value`` is the standard deviation of the logarithm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Above0
    source: str


class ConstantsFile(BaseModel):
    """The file of constants.

    An interval reaches ``spreads_to_an_end`` stated spreads of its phase to each side. The share
    ``coverage_fraction`` of published rows then lies within it, on machines that the fit does not
    know, where each machine weighs alike. For normal errors the number would be 1.28.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    source: str
    date: str
    coverage_fraction: Annotated[float, Field(gt=0, lt=1)]
    spreads_to_an_end: dict[Phase, Above0]
    own_spreads: dict[Phase, OwnSpread]
    constants: dict[str, Constant]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """The values of the constants.

    Their meanings are in constants.yaml. Rates are in 10⁹ a second, those of a core at 4.5 GHz.
    """

    desktop_dram_fraction: float
    server_dram_fraction: float
    desktop_probe_fraction: float
    server_probe_fraction: float
    assumed_rate_fraction: float
    shared_sockets_factor: float
    own_sockets_factor: float
    wide_weights_per_core_s: float
    legacy_weights_per_core_s: float
    k_weights_per_core_s: float
    iq_k_weights_per_core_s: float
    codebook_weights_per_core_s: float
    trellis_weights_per_core_s: float
    optimised_decode_gain: float
    cpu_layer_us: float
    gpu_read_fraction: float
    gpu_layer_us: float
    other_maker_factor: float
    server_card_factor: float
    crossing_us: float
    kv_reads: float
    ungrouped_kv_share: float
    mla_flops_fraction: float
    cpu_kv_reads: float
    flash_flops_per_core_s: float
    optimised_weights_per_core_s: float
    kt_weights_per_core_s: float
    plain_weights_per_core_s: float
    double_width_gain: float
    amx_factor: float
    optimised_flops_per_core_s: float
    plain_flops_per_core_s: float
    expert_pad_tokens: float
    activation_passes: float
    expert_loop_us: float
    matrix_flops_fraction: float
    attention_flops_fraction: float
    ungrouped_attention_factor: float
    link_fraction: float

    @property
    def decode_weights_per_core_s(self) -> tuple[float, ...]:
        """The rates of products of one token by FormatFamily, in 10⁹ weights a second."""
        # By the families' own names, so that a new family without a constant fails at once.
        return tuple(getattr(self, f"{family.value}_weights_per_core_s") for family in FormatFamily)


NAMES = tuple(item.name for item in fields(Constants))


def constants_of(values: Mapping[str, float]) -> Constants:
    """The constants with those values, each named once."""
    return Constants(**values)


@cache
def shipped() -> ConstantsFile:
    """The file that ships with Rosin."""
    path = Path(str(resources.files("sim") / "runtimes" / "constants.yaml"))
    return ConstantsFile.model_validate(read_yaml(path, "constants"))


def shipped_constants() -> Constants:
    """The values that ship with Rosin."""
    return constants_of({name: constant.value for name, constant in shipped().constants.items()})
