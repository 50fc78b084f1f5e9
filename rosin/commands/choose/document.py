"""A choice as it is written to JSON."""

from collections.abc import Mapping

from planner.choice import Choice, ChosenArm, DraftedSpeed, LeftOut, SpeedInterval
from rosin.report.document import Document


class ArmResult(Document):
    """One way to run the model (an arm), with its speeds and the share of speed that is at risk."""

    arm: str
    decode: SpeedInterval
    prefill: SpeedInterval
    request_s: float
    expected_s: float
    regret_fraction: float
    regret_against: str | None
    rests_on: str
    gpu_expert_layers: int
    cached_fraction: float
    program: str
    command: str
    drafts: DraftedSpeed | None = None


class ChooseResult(Document):
    """The answer of ``rosin choose``, the best arm first."""

    machine: str
    model: str
    quantization: str
    prompt_tokens: int
    output_tokens: int
    locality: str
    arms: tuple[ArmResult, ...]
    left_out: tuple[LeftOut, ...]


def choose_result(
    choice: Choice, drafted: Mapping[str, DraftedSpeed], **asked: str | int
) -> ChooseResult:
    """Return the document of a choice.

    ``asked`` holds the fields that repeat the question; ``drafted`` holds the speeds with drafts by
    arm.
    """
    return ChooseResult(
        **asked,  # type: ignore[arg-type]
        arms=tuple(_arm(own, drafted.get(own.arm.arm)) for own in choice.arms),
        left_out=choice.left_out,
    )


def _arm(own: ChosenArm, drafted: DraftedSpeed | None) -> ArmResult:
    cached = own.arm.cached
    return ArmResult.of(
        own,
        arm=own.arm.arm,
        gpu_expert_layers=own.arm.expert_layers,
        cached_fraction=0.0 if cached is None else cached.share,
        program=own.arm.program,
        command=own.arm.command,
        drafts=drafted,
    )
