"""Overrides of where tensors go, which ``-ot`` states.

``-cmoe`` and ``-ncmoe`` stand for such patterns.
"""

import re
import warnings
from dataclasses import dataclass

HOST = -1
"""The device number of host memory; GPUs count from 0."""

EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
"""The pattern that -cmoe stands for (llama.cpp common/common.h at 0c1e57098)."""

_DEVICE = re.compile(r"(?:CUDA|Vulkan|ROCm|SYCL|Metal|HIP|MUSA|CANN)(\d+)$")
_HOST_BUFFERS = frozenset(
    {"CPU", "CUDA_Host", "ROCm_Host", "Vulkan_Host", "SYCL_Host", "CPU_Mapped"}
)
_NOT_ECMASCRIPT = (
    (r"\(\?[^:=!]", "(?…) other than (?:, (?= and (?!"),
    (r"[*+?]\+", "possessive quantifiers"),
    (r"\[\^?\]", "an empty class [] or [^]"),
    (r"\[[:.=]", "POSIX classes such as [:alpha:]"),
    (r"\\[AZazGhHQEpP]", r"escapes such as \A, \Z, \p"),
)
"""Constructs that ECMAScript's regular expressions (std::regex) and Python's treat differently.

The two read them in different ways, or only one reads them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A rule: tensors whose names match ``pattern`` go to ``device`` (HOST, or a GPU's number)."""

    pattern: str
    device: int

    def finds(self, tensor_name: str) -> bool:
        """Whether the pattern is found anywhere in the name."""
        return re.search(self.pattern, tensor_name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuExperts:
    """A rule: the routed experts of ``num_layers`` layers stay in host memory (None: of all).

    The layers are the first ones, or the last ones with ``is_from_end``.
    """

    num_layers: int | None
    is_from_end: bool = False

    def overrides(self, num_layers: int, moe_layers: tuple[int, ...]) -> tuple[Override, ...]:
        """Return the overrides that the rule stands for in a model of ``num_layers`` layers.

        Layers from the first on are counted with dense ones; from the end, only those with experts
        are.
        """
        if self.num_layers is None:
            return (Override(pattern=EXPERTS, device=HOST),)
        chosen = self.layers(num_layers, moe_layers)
        return tuple(Override(pattern=rf"blk\.{layer}{EXPERTS}", device=HOST) for layer in chosen)

    def layers(self, num_layers: int, moe_layers: tuple[int, ...]) -> tuple[int, ...]:
        """Return the layers whose experts stay in host memory, counted as in ``overrides``."""
        if self.num_layers is None:
            return moe_layers
        if self.is_from_end:
            return moe_layers[max(0, len(moe_layers) - self.num_layers) :]
        # By number of layer: a pattern for a dense layer matches nothing there.
        return tuple(range(min(self.num_layers, num_layers)))


def read_overrides(text: str) -> tuple[Override, ...]:
    """Return the overrides of one argument of -ot: ``pattern=buffer``, separated by commas.

    A semicolon separates as well, as in llama-bench. Raises ValueError for what llama.cpp refuses.
    """
    return tuple(_override(part) for part in re.split("[,;]", text))


def _override(text: str) -> Override:
    pattern, equals, buffer = text.partition("=")
    if not equals or not pattern:
        raise ValueError(
            f"{text!r} is no pattern=buffer (a pattern contains neither a comma nor =)"
        )
    for construct, name in _NOT_ECMASCRIPT:
        if re.search(construct, pattern):
            raise ValueError(
                f"{pattern!r} uses {name}, which ECMAScript does not read as Python does"
            )
    try:
        # Python warns of patterns that it reads as ECMAScript does; the user can do nothing about
        # it.
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return Override(pattern=pattern, device=_device(buffer))


def _device(buffer: str) -> int:
    if buffer in _HOST_BUFFERS:
        return HOST
    matched = _DEVICE.match(buffer)
    if matched is None:
        raise ValueError(f"no buffer type {buffer!r}; known: CPU, CUDA_Host, CUDA0, CUDA1, …")
    return int(matched.group(1))
