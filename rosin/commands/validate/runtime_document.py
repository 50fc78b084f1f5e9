"""A plan run by a real runtime as the document that ``rosin validate --runtime`` writes."""

from rosin.report.document import Document
from validation.runtimes.llama_cpp import PlanRun, RanOption


class RuntimeSpeeds(Document):
    """The speeds of writing an answer and of reading a prompt, in tokens a second."""

    decode_tokens_per_s: float
    prefill_tokens_per_s: float


class RuntimeRival(Document):
    """Another set of arguments that was run: predicted and measured speeds, and the noise."""

    name: str
    predicted: RuntimeSpeeds
    measured: RuntimeSpeeds
    decode_noise_fraction: float
    prefill_noise_fraction: float
    placement_matches: bool


class RuntimePlacement(Document):
    """Bytes of weights on the host, then on each device: as Rosin expects, and as the runtime
    reports.
    """

    expected_bytes: list[float]
    reported_bytes: list[float]
    num_overridden_tensors: int


class RuntimeValidateResult(Document):
    """The answer of ``rosin validate --runtime``."""

    runtime: str
    program: str
    device: str
    machine: str
    model: str
    model_file: str
    arguments: str
    prompt_tokens: int
    output_tokens: int
    rounds: int
    predicted: RuntimeSpeeds
    measured: RuntimeSpeeds
    decode_error_fraction: float
    prefill_error_fraction: float
    decode_noise_fraction: float
    prefill_noise_fraction: float
    rests_on: str
    rivals: list[RuntimeRival]
    regret_fraction: float
    placement_matches: bool
    placement: RuntimePlacement
    history: str | None


LAWS = "kernels of the runtime that were measured on this machine"
CONSTANTS = "constants fitted on published rows of other machines"


def runtime_validate_result(ran: PlanRun, **asked: str | int | None) -> RuntimeValidateResult:
    """The document of a run; ``asked`` holds the fields that repeat the question."""
    plan = ran.plan
    predicted = _predicted(plan)
    measured = _measured(plan)
    return RuntimeValidateResult(
        **asked,  # type: ignore[arg-type]
        program=ran.program,
        device=ran.device,
        model=ran.model.name,
        predicted=predicted,
        measured=measured,
        decode_error_fraction=predicted.decode_tokens_per_s / measured.decode_tokens_per_s - 1,
        prefill_error_fraction=predicted.prefill_tokens_per_s / measured.prefill_tokens_per_s - 1,
        decode_noise_fraction=plan.decode.noise_fraction,
        prefill_noise_fraction=plan.prefill.noise_fraction,
        rests_on=LAWS if plan.prediction.decode.is_by_measured_kernels else CONSTANTS,
        # The first of the options is the plan itself.
        rivals=[_rival(option) for option in ran.options[1:]],
        regret_fraction=ran.regret_fraction,
        # A single wrong placement makes the whole comparison doubtful.
        placement_matches=all(option.placed.matches for option in ran.options),
        placement=RuntimePlacement(
            expected_bytes=list(plan.placed.expected),
            reported_bytes=list(plan.placed.logged),
            num_overridden_tensors=plan.placed.num_overridden,
        ),
    )


def _rival(option: RanOption) -> RuntimeRival:
    return RuntimeRival(
        name=option.name,
        predicted=_predicted(option),
        measured=_measured(option),
        decode_noise_fraction=option.decode.noise_fraction,
        prefill_noise_fraction=option.prefill.noise_fraction,
        placement_matches=option.placed.matches,
    )


def _predicted(option: RanOption) -> RuntimeSpeeds:
    return RuntimeSpeeds(
        decode_tokens_per_s=option.prediction.decode.tokens_per_s,
        prefill_tokens_per_s=option.prediction.prefill.tokens_per_s,
    )


def _measured(option: RanOption) -> RuntimeSpeeds:
    return RuntimeSpeeds(
        decode_tokens_per_s=option.decode.tokens_per_s,
        prefill_tokens_per_s=option.prefill.tokens_per_s,
    )
