"""Predict the speed of one arm of a case: a runtime's own price, or that of a cache of experts."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hwprofiles import InputError
from planner.choice.uncertain import QUANTILE
from sim.runtimes.caching.arguments import CACHING_READERS, FREETOKEN, read_caching_arguments
from sim.runtimes.caching.experts import MissRule
from sim.runtimes.caching.locality import locality_of
from sim.runtimes.caching.pricing import CacheRates, cached_decode, cached_prefill
from sim.runtimes.constants import shipped_constants
from sim.runtimes.llama_cpp.arguments import LLAMA_CPP, LlamaArguments
from sim.runtimes.predict import predict
from sim.runtimes.question import PromptSide, RuntimeQuestion
from validation.accuracy.cases import MeasuredArm
from validation.accuracy.questions import HostOf, ask, model_of, probed_host, read_probes
from validation.accuracy.rows import MeasuredRow
from validation.accuracy.spreads import spread_of

UNPROBED_DRAM_FRACTION = 0.78
"""Share of the datasheet's rate that stands for a probe of memory.

The share is used if the source states neither the memory nor a probe. Its value is the middle of
published probes of desktop memory (0.70 to 0.87).
"""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TieBreak:
    """What decides between arms with equal predictions: the higher value in the first field that
    differs.

    Fewer seconds of copying over the link come first, because the link's rate is seldom measured. A
    split of misses made for the machine comes before a fixed split, which it may equal. Then come
    rows repacked for the CPU, the larger micro-batch and the higher threshold of copying: none of
    them reads or copies more.
    """

    without_upload_s: float = 0.0
    is_free_split: bool = False
    is_repacked: bool = False
    micro_batch_tokens: int = 0
    threshold_tokens: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmPrediction:
    """A predicted speed with its spreads, and what breaks a tie.

    Both spreads are of the time's logarithm: ``spread`` as arms are compared, ``interval_spread``
    for the interval.
    """

    tokens_per_s: float
    spread: float
    interval_spread: float
    tie: TieBreak

    @property
    def expected_s(self) -> float:
        """Expected time of a token in seconds, if errors of its logarithm are normal.

        The less is known of an arm, the longer is its expected time.
        """
        return math.exp(self.spread**2 / 2) / self.tokens_per_s

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the 80 % interval in tokens a second, as ``planner.choice`` states it."""
        factor = math.exp(QUANTILE * self.interval_spread)
        return self.tokens_per_s / factor, self.tokens_per_s * factor


def predict_arm(
    arm: MeasuredArm,
    others: Sequence[MeasuredArm],
    rows: Mapping[str, MeasuredRow],
    host_of: HostOf,
) -> ArmPrediction:
    """Predict the speed of one arm. Raises InputError if the arm cannot be expressed."""
    row = _row(arm, others, rows)
    # These runtimes keep experts in a cache on the GPU: their price depends on hits.
    if arm.runtime in CACHING_READERS:
        return _cached(arm, row, host_of)
    question = _with_threshold(_question(row, host_of), arm)
    prediction = predict(question)
    speed = prediction.decode if arm.phase == "decode" else prediction.prefill
    probes = read_probes(arm.probe)
    spread, interval_spread = spread_of(
        question, arm.phase, None, CacheRates(), is_link_measured="h2d" in probes
    )
    return ArmPrediction(
        tokens_per_s=speed.tokens_per_s,
        spread=spread,
        interval_spread=interval_spread,
        tie=_tie(question, arm, speed.seconds["upload"]),
    )


def _row(
    arm: MeasuredArm, others: Sequence[MeasuredArm], rows: Mapping[str, MeasuredRow]
) -> MeasuredRow:
    """Return the measured row that the arm names, else a row made of the arm's own fields.

    A made row takes its bytes per weight from another arm of the case that is stored alike.
    """
    named = _named_row(arm, rows)
    if named is not None:
        return named
    # FreeToken stores weights in its own way, so its arms are alike to each other alone.
    alike = [
        row
        for other in others
        if (other.runtime == FREETOKEN) == (arm.runtime == FREETOKEN)
        and (row := _named_row(other, rows)) is not None
    ]
    return MeasuredRow(
        id=arm.arm,
        rig=arm.rig,
        machine=arm.machine,
        model=arm.model,
        runtime=arm.runtime,
        args=arm.args,
        quantization=arm.quantization,
        # Arms of one case run one model, so the bytes of another arm hold for this one.
        bytes_per_weight=alike[0].bytes_per_weight if alike else "",
        probe=arm.probe,
        source=arm.source,
        mechanism=arm.arm if arm.phase == "prefill" else "",
    )


def _named_row(arm: MeasuredArm, rows: Mapping[str, MeasuredRow]) -> MeasuredRow | None:
    return None if arm.row_id is None else rows.get(arm.row_id)


def _question(row: MeasuredRow, host_of: HostOf) -> RuntimeQuestion:
    """Return the row's question.

    If neither the memory nor a probe of it is stated, the memory is the usual one of the CPU. That
    orders arms well enough.
    """
    asked = ask(row, host_of)
    # The usual rate is tried only where the source states neither the memory nor a probe of it.
    if asked.question is None and not row.probe:
        rate = (host_of(row.machine).dram_bytes_per_s or 0.0) * UNPROBED_DRAM_FRACTION
        asked = ask(replace(row, probe=f"dram={rate:g}"), host_of)
    if asked.question is None:
        raise InputError(str(asked.reason))
    return asked.question


def _with_threshold(question: RuntimeQuestion, arm: MeasuredArm) -> RuntimeQuestion:
    """Return the question with the threshold of copying that the arm's name states.

    The threshold is in tokens of a micro-batch.
    """
    threshold = _threshold(arm)
    arguments = question.arguments
    if threshold is None or not isinstance(arguments, LlamaArguments):
        return question
    # The program compares its threshold with the tokens of a micro-batch, not with the prompt.
    tokens = min(arguments.micro_batch_tokens, arguments.batch_tokens, question.prompt_tokens)
    side = PromptSide.UPLOAD if tokens >= threshold else PromptSide.CPU
    return replace(question, prompt_side=side)


def _threshold(arm: MeasuredArm) -> float | None:
    found = re.search(r"from (\d+) tokens", arm.arm) if arm.phase == "prefill" else None
    return float(found[1]) if found else None


def _tie(question: RuntimeQuestion, arm: MeasuredArm, upload_s: float) -> TieBreak:
    arguments = question.arguments
    if not isinstance(arguments, LlamaArguments):
        # Negated, because the higher value comes first and less copying is the surer choice.
        return TieBreak(without_upload_s=-upload_s)
    return TieBreak(
        without_upload_s=-upload_s,
        is_repacked=arguments.is_runtime_repacked,
        micro_batch_tokens=arguments.micro_batch_tokens,
        threshold_tokens=_threshold(arm) or 0.0,
    )


def _cached(arm: MeasuredArm, row: MeasuredRow, host_of: HostOf) -> ArmPrediction:
    probes = read_probes(arm.probe)
    model = model_of(arm.runtime, row.model, row.quantization, row.bytes_per_weight)
    read = read_caching_arguments(arm.runtime, arm.args, model)
    cached = replace(read.cached, hit_fraction=arm.hit_fraction)
    question = RuntimeQuestion(
        runtime=LLAMA_CPP,
        arguments=read.others,
        model=model,
        quantization=row.quantization,
        host=probed_host(arm.machine, probes, host_of),
    )
    constants = shipped_constants()
    if arm.phase == "prefill":
        seconds, step = cached_prefill(question, cached, constants)
        speed = float(step.tokens / seconds.total)
    else:
        made = cached_decode(question, cached, locality_of(model.name), _rates(probes), constants)
        seconds = made.seconds
        speed = made.tokens_per_s
    is_free = cached.misses is MissRule.SPLIT and cached.fetch_table is None
    tie = TieBreak(without_upload_s=-float(seconds.upload), is_free_split=is_free)
    is_measured = "h2d" in probes or "gather" in probes
    spread, interval_spread = spread_of(
        question, arm.phase, cached, _rates(probes), is_link_measured=is_measured
    )
    return ArmPrediction(
        tokens_per_s=speed, spread=spread, interval_spread=interval_spread, tie=tie
    )


def _rates(probes: Mapping[str, float]) -> CacheRates:
    both = probes.get("both")
    # Some sources state what the CPU and the link read at once as two rates.
    if both is None and "both_cpu" in probes and "both_h2d" in probes:
        both = probes["both_cpu"] + probes["both_h2d"]
    return CacheRates(
        cpu_experts_bytes_per_s=probes.get("cpu_moe"),
        link_bytes_per_s=probes.get("gather"),
        both_bytes_per_s=both,
    )
