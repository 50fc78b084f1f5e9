"""A choice as it is written to JSON."""

from collections.abc import Mapping

from planner.choice import Choice, ChosenArm, DraftedSpeed, SpeedInterval
from rosin.commands.simulate.runtime_document import SpeedEnds
from rosin.report.document import Document


class ArmSpeed(SpeedEnds):
    """Tokens a second between ends that cover a share of machines, and what takes most of the time."""

    coverage_fraction: float
    limit: str


class DraftedArm(Document):
    """One way with drafts. ``reads_factor`` is over experts read for each token without drafts."""

    tokens_per_s: float
    plain_tokens_per_s: float
    committed_tokens: float
    reads_factor: float
    pays: bool


class ArmResult(Document):
    """One way to run the model."""

    arm: str
    decode: ArmSpeed
    prefill: ArmSpeed
    request_s: float
    expected_s: float
    regret_fraction: float
    regret_against: str | None
    rests_on: str
    gpu_expert_layers: int
    cached_fraction: float
    program: str
    command: str
    drafts: DraftedArm | None = None


class LeftOutArm(Document):
    """A way that the machine does not allow."""

    arm: str
    reason: str


class ChooseResult(Document):
    """What ``rosin choose`` answers, best arm first."""

    machine: str
    model: str
    quantization: str
    prompt_tokens: int
    output_tokens: int
    locality: str
    arms: tuple[ArmResult, ...]
    left_out: tuple[LeftOutArm, ...]


def choose_result(
    choice: Choice, drafted: Mapping[str, DraftedSpeed], **asked: str | int
) -> ChooseResult:
    """The document of a choice; ``asked`` holds the fields that repeat the question, ``drafted`` arms with drafts."""
    return ChooseResult(
        **asked,  # type: ignore[arg-type]
        arms=tuple(_arm(own, drafted.get(own.arm.arm)) for own in choice.arms),
        left_out=tuple(LeftOutArm(arm=own.arm, reason=own.reason) for own in choice.left_out),
    )


def _drafted(own: DraftedSpeed) -> DraftedArm:
    return DraftedArm(
        tokens_per_s=own.tokens_per_s,
        plain_tokens_per_s=own.plain_tokens_per_s,
        committed_tokens=own.committed_tokens,
        reads_factor=own.reads_factor,
        pays=own.pays,
    )


def _arm(own: ChosenArm, drafted: DraftedSpeed | None) -> ArmResult:
    cached = own.arm.cached
    return ArmResult(
        arm=own.arm.arm,
        decode=_speed(own.decode),
        prefill=_speed(own.prefill),
        request_s=own.request_s,
        expected_s=own.expected_s,
        regret_fraction=own.regret_fraction,
        regret_against=own.regret_against,
        rests_on=own.rests_on,
        gpu_expert_layers=own.arm.expert_layers,
        cached_fraction=0.0 if cached is None else cached.share,
        program=own.arm.program,
        command=own.arm.command,
        drafts=None if drafted is None else _drafted(drafted),
    )


def _speed(own: SpeedInterval) -> ArmSpeed:
    return ArmSpeed(
        tokens_per_s=own.tokens_per_s,
        low_tokens_per_s=own.low_tokens_per_s,
        high_tokens_per_s=own.high_tokens_per_s,
        coverage_fraction=own.coverage_fraction,
        limit=own.limit,
    )
