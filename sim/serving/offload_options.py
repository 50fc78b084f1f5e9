"""Options of the KV tiers behind an instance's GPUs, in the words of LMCache (arXiv 2510.09665)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from hwprofiles import InputError
from hwprofiles.file_part import FilePart
from hwprofiles.limits import MAX_BYTES, Tokens, TokensOrNone
from sim.serving.blend import Blend
from sim.serving.kv.replay import TouchOrder
from sim.serving.numbers import Fraction
from sim.serving.pins import Pin
from sim.serving.tier import TierOptions


class Mode(StrEnum):
    """The process that moves KV: the instance's own inside its steps, or a server's while the steps
    go on.
    """

    IN_PROCESS = "in-process"
    SERVER = "server"


class Loading(StrEnum):
    """The rule for loading KV that was found: always, or as far as loading is predicted to take
    less time than computing anew.
    """

    ALWAYS = "always"
    CHEAPER = "cheaper"


class OffloadSpec(FilePart):
    """The rules by which KV moves between an instance and its tiers, as a serving file states them.

    KV moves in chunks of ``chunk_tokens`` over all layers. A token has ``bytes_per_token`` (None:
    as many as on the GPU). ``is_layerwise`` pipelines copies between host memory and GPUs with the
    computation of layers; in-process only. ``prefetches`` moves chunks of deeper tiers into host
    memory while a request waits; in-process only. Each second, the server's host memory is emptied
    by ``evicted_fraction`` of what it holds, if it is above ``watermark_fraction``.
    ``retains_deep_hits`` is the server's prefetch policy ``retain``: chunks of deeper tiers stay in
    host memory too. ``pins`` name prefixes that no tier lets go of. With ``blend``, chunks are
    named by what is in them, and found anywhere in a prompt.
    """

    mode: Mode = Mode.IN_PROCESS
    chunk_tokens: Tokens = 256
    bytes_per_token: Annotated[int, Field(ge=1, le=MAX_BYTES, strict=True)] | None = None
    loading: Loading = Loading.ALWAYS
    min_retrieve_tokens: TokensOrNone = 0
    is_layerwise: bool = False
    prefetches: bool = False
    touch_order: TouchOrder = TouchOrder.TAIL_FIRST
    watermark_fraction: Fraction = 0.8
    evicted_fraction: Fraction = 0.2
    retains_deep_hits: bool = False
    pins: tuple[Pin, ...] = ()
    blend: Blend | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadOptions:
    """Tiers, searched in order, and the rules by which an instance uses them.

    The first tier is the host memory that every copy goes through. Raises InputError for tiers and
    rules that do not go together.
    """

    tiers: tuple[TierOptions, ...]
    rules: OffloadSpec

    def __post_init__(self) -> None:
        if not self.tiers:
            raise InputError("offload.tiers must name at least one tier, the host memory first")
        names = [tier.name for tier in self.tiers]
        # Hit rates are reported by tier, and those of the GPUs' own blocks under this name.
        repeated = next((name for name in names if names.count(name) > 1 or name == "gpu"), None)
        if repeated is not None:
            raise InputError(
                f"offload.tiers: each tier needs a name of its own, other than gpu; got {', '.join(names)}"
            )
        self._check_pins()
        self._check_blend()
        self._check_mode()

    def _check_pins(self) -> None:
        numbers = [pin.request for pin in self.rules.pins]
        if len(set(numbers)) < len(numbers):
            raise InputError("offload.pins: each request may be named once")
        # Only full chunks are stored: such a pin would keep nothing, without a word.
        short = next((pin for pin in self.rules.pins if pin.tokens < self.rules.chunk_tokens), None)
        if short is not None:
            raise InputError(
                f"offload.pins: tokens must be at least offload.chunk_tokens ({self.rules.chunk_tokens}), got {short.tokens}"
            )

    def _check_blend(self) -> None:
        if self.rules.blend is None:
            return
        if self.rules.mode is Mode.SERVER or self.rules.prefetches:
            raise InputError(
                "offload.blend is for mode in-process without prefetches: it loads layer by layer inside the step"
            )
        if self.rules.touch_order is not TouchOrder.TAIL_FIRST:
            raise InputError("offload.blend needs touch_order tail-first")

    def _check_mode(self) -> None:
        if self.rules.mode is Mode.SERVER:
            wrong = [name for name in ("is_layerwise", "prefetches") if getattr(self.rules, name)]
            if wrong:
                raise InputError(
                    f"offload.{wrong[0]} is for mode in-process; the server always works beside the instance's steps"
                )
            return
        if self.rules.retains_deep_hits:
            raise InputError(
                "offload.retains_deep_hits is for mode server; in-process, what is found deeper always moves to host memory"
            )
        if self.tiers[0].is_shared:
            raise InputError(
                f"offload.tiers: in-process, {self.tiers[0].name} belongs to one instance; leave is_shared out or use mode server"
            )
