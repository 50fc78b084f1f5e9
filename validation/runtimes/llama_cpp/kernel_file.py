"""Fitted laws as part of a machine file, every number with its source and noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from hwprofiles import InputError, Kind, Machine
from hwprofiles.runtime_kernels import RuntimeKernels
from hwprofiles.units import NS_PER_S
from sim.runtimes.llama_cpp.arguments import LLAMA_CPP
from validation.runtimes.llama_cpp.kernel_fit import FittedLaws, error_fraction
from validation.runtimes.llama_cpp.kernel_points import KernelPoint, Measured

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Source:
    """The measurement in words, and its date."""

    text: str
    day: str

    def quantity(self, value: float, what: str, kind: Kind = Kind.FITTED) -> Data:
        """A number with its provenance."""
        source = f"{self.text}: {what}"
        return {"value": value, "kind": kind.value, "source": source, "date": self.day}


def runtime_kernels(measured: Measured, laws: FittedLaws, version: str) -> RuntimeKernels:
    """Return the laws as a machine file has them. ``version`` is Rosin's.

    Raises InputError if noise hides a rate of decoding.
    """
    points = measured.points
    source = _Source(_words(measured, version), date.today().isoformat())
    formats = sorted({name for name, _ in laws.decode if name})
    # Noise may hide a prompt's rate in one format, which must not cost the others their laws.
    prompt_formats = [name for name in formats if _has_prompt(laws, name)]
    data: Data = {
        "runtime": LLAMA_CPP,
        "program": measured.program,
        "device": "cpu",
        "threads": measured.threads,
        "decode": {name: _decode_law(laws.decode, name, source) for name in formats},
        "node_ns": source.quantity(
            laws.decode["", "nodes"] * NS_PER_S, "each node of a token's graph that is no product"
        ),
        "nodes_per_layer": source.quantity(
            round(laws.nodes_per_layer, 3), "graph nodes by depth in the logs", Kind.MEASURED
        ),
        "decode_error": source.quantity(
            error_fraction(laws.decode_errors), _error_words("token", laws.decode_errors)
        ),
    }
    if prompt_formats:
        data |= _prompt_data(points, laws, prompt_formats, source)
    return RuntimeKernels.model_validate(data)


def with_kernels(machine: Machine, kernels: RuntimeKernels) -> Machine:
    """Return the machine with these laws.

    The machine's former laws for the same program, device and threads are replaced.
    """
    own = (kernels.runtime, kernels.device, kernels.threads)
    kept = [
        other
        for other in machine.runtime_kernels
        if (other.runtime, other.device, other.threads) != own
    ]
    return machine.model_copy(update={"runtime_kernels": (*kept, kernels)})


def _words(measured: Measured, version: str) -> str:
    points = measured.points
    noise = np.median([point.decode.noise_fraction for point in points])
    prompt_noise = np.median([point.prefill.noise_fraction for point in points])
    clock = "CPU time" if measured.threads == 1 else "wall-clock time"
    return (
        f"rosin measure {version}, {measured.program}, {clock} of {measured.threads} "
        f"thread{'s' if measured.threads > 1 else ''}, least squares over {len(points)} small random files, "
        f"medians of {points[0].decode.num_samples} interleaved runs, "
        f"noise {noise:.1%} a token, {prompt_noise:.1%} a prompt"
    )


def _error_words(what: str, errors: tuple[float, ...]) -> str:
    if not errors:
        return "one shape was measured, so the error on another is not known"
    middle = np.median(np.abs(errors))
    return (
        f"80th percentile of errors of a {what} on shapes left out of the fit, median {middle:.1%}"
    )


def _decode_law(fitted: Mapping[tuple[str, str], float], name: str, source: _Source) -> Data:
    return {
        "bytes_per_s": _rate(fitted[name, "bytes"], f"bytes of {name} weights read", source),
        "row_ns": source.quantity(fitted[name, "rows"] * NS_PER_S, f"each row of {name}"),
        "matrix_ns": source.quantity(fitted[name, "matrices"] * NS_PER_S, f"each matrix of {name}"),
    }


def _prompt_data(
    points: tuple[KernelPoint, ...], laws: FittedLaws, formats: list[str], source: _Source
) -> Data:
    return {
        "prompt": {
            name: {
                f"{kind}_products_per_s": _rate(
                    laws.prompt[name, key], f"products of {name} weights with a prompt", source
                )
                for kind, key in (("expert", "experts"), ("dense", "dense"))
            }
            for name in formats
        },
        "layer_token_ns": source.quantity(
            laws.prompt["", "layer_tokens"] * NS_PER_S, "each layer and token of a prompt"
        ),
        "prompt_tokens": points[0].prompt_tokens,
        "prompt_error": source.quantity(
            error_fraction(laws.prompt_errors), _error_words("prompt", laws.prompt_errors)
        ),
    }


def _has_prompt(laws: FittedLaws, name: str) -> bool:
    return all(laws.prompt.get((name, kind), 0.0) > 0 for kind in ("experts", "dense"))


def _rate(seconds_each: float, what: str, source: _Source) -> Data:
    # Least squares keeps terms at zero where noise would make them negative.
    if seconds_each <= 0:
        raise InputError(
            f"{what}: noise hides their rate; measure again when this computer is quiet, or with more `models`"
        )
    return source.quantity(1.0 / seconds_each, what)
