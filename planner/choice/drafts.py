"""When drafts pay: each arm with a batch of drafts, against the arm without."""

from dataclasses import dataclass

from hwprofiles import InputError
from hwprofiles.ranges import check_at_least, check_shares
from planner.choice.arms import Arm
from planner.choice.question import ChoiceQuestion
from sim.runtimes.caching.pricing import cached_decode
from sim.runtimes.constants import shipped_constants
from sim.runtimes.drafts import committed_tokens, reads_factor
from sim.runtimes.placing import placement_of
from sim.runtimes.prices import decode_seconds
from sim.runtimes.steps import decode_step

MAX_COST = 1000
"""The most that making one draft may take, in times of a token: more is a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """The drafts of a step, ``num_drafts`` of them.

    A draft is kept with probability ``acceptance_fraction`` if all before it are kept. Making one
    draft takes ``cost_fraction`` of the time of a token without drafts.
    """

    num_drafts: int
    acceptance_fraction: float
    cost_fraction: float

    def __post_init__(self) -> None:
        check_at_least(self, num_drafts=0, cost_fraction=0)
        check_shares(self, "acceptance_fraction")
        if self.cost_fraction > MAX_COST:
            raise InputError(f"cost_fraction must be at most {MAX_COST}, got {self.cost_fraction}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftedSpeed:
    """The speed of an arm with drafts, and without (``plain_tokens_per_s``).

    ``committed_tokens`` are the mean tokens that a step keeps. ``reads_factor`` is the number of
    experts read for each token kept, over that without drafts. ``pays`` always says whether drafts
    make the arm faster.
    """

    tokens_per_s: float
    plain_tokens_per_s: float
    committed_tokens: float
    reads_factor: float
    pays: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "pays", self.tokens_per_s > self.plain_tokens_per_s)


def with_drafts(question: ChoiceQuestion, arm: Arm, drafts: Drafts) -> DraftedSpeed:
    """Price an arm with drafts. Raises InputError for numbers of drafts that are out of range."""
    committed = committed_tokens(drafts.num_drafts, drafts.acceptance_fraction)
    plain_s = _step_s(question, arm, 1)
    # A step checks all drafts, and the token before them gives one more of its own.
    checking_s = _step_s(question, arm, drafts.num_drafts + 1)
    drafting_s = drafts.num_drafts * drafts.cost_fraction * plain_s
    model = question.model
    layers = [
        (model.layers[index].num_experts, model.layers[index].top_k) for index in model.moe_layers
    ]
    return DraftedSpeed(
        tokens_per_s=committed / (checking_s + drafting_s),
        plain_tokens_per_s=1 / plain_s,
        committed_tokens=committed,
        reads_factor=reads_factor(layers, drafts.num_drafts, drafts.acceptance_fraction),
    )


def _step_s(question: ChoiceQuestion, arm: Arm, num_tokens: int) -> float:
    """Return the seconds of a step that checks that many tokens together.

    For so few tokens, no weights are copied to a GPU.
    """
    question = question.on(arm.gpus).run_by(arm.program)
    asked = question.runtime_question(arm.expert_layers, arm.arguments)
    constants = shipped_constants()
    if arm.cached is not None:
        step = cached_decode(
            asked, arm.cached, question.locality, question.rates, constants, num_tokens
        )
        return float(step.seconds.total)
    counted = decode_step(asked, placement_of(asked), num_tokens)
    return float(decode_seconds(counted, constants).total)
