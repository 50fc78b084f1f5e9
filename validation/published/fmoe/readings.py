"""Readings of fMoE's evaluation: questions about the five systems that its paper leaves open.

Some answers are those of its authors' released code.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from hwprofiles import InputError

CHOICES: Mapping[str, tuple[str, ...]] = {
    "serving": ("in turn, all", "in turn", "all links"),
    "keeping": ("emptied", "kept"),
    "prompt": ("one iteration", "by token"),
    "deepspeed": ("layers", "experts"),
    "mixtral_offloading": ("all links", "one at a time", "not awaited"),
    "promoe": ("gates", "trained"),
    "moe_infinity": ("a quarter of six layers", "top-k of all layers", "all positive"),
    "fmoe": ("all", "threshold"),
}
"""Possible answers by question, the adopted answer first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One answer of ``CHOICES`` to each question. The first three hold for all systems alike.

    ``serving``: a loop brings a layer's experts one at a time, either all or those that a token
    selects. Or all misses come over all links at once. ``keeping``: experts are given up after each
    pass, or kept in a cache. ``prompt``: a whole prompt is one iteration, in which speculation
    names top-k experts of a layer; or every token is one.

    ``deepspeed``: it fetches whole layers, or selected experts. ``mixtral_offloading``: how the
    next layer waits for speculated experts. ``promoe``: gates on earlier hidden states, or
    predictors as accurate as ProMoE's. ``moe_infinity``: which experts of the matched request's
    counts are fetched. ``fmoe``: experts by the released selection, which names all of a layer, or
    by the paper's threshold.
    """

    serving: str = CHOICES["serving"][0]
    keeping: str = CHOICES["keeping"][0]
    prompt: str = CHOICES["prompt"][0]
    deepspeed: str = CHOICES["deepspeed"][0]
    mixtral_offloading: str = CHOICES["mixtral_offloading"][0]
    promoe: str = CHOICES["promoe"][0]
    moe_infinity: str = CHOICES["moe_infinity"][0]
    fmoe: str = CHOICES["fmoe"][0]

    def __post_init__(self) -> None:
        for question, answer in asdict(self).items():
            if answer not in CHOICES[question]:
                raise InputError(
                    f"{question} must be one of {', '.join(CHOICES[question])}; got {answer}"
                )


ADOPTED = Answers()
"""Adopted answers, each the paper's or the released code's.

Where paper and code differ, the page says which answer was taken, and what the other gives.
"""
RELEASED = replace(ADOPTED, prompt="by token", mixtral_offloading="not awaited")
"""Answers of the released code alone."""


def one_otherwise() -> Mapping[str, Answers]:
    """Return the adopted reading, all that answer one question otherwise, and the released
    code's.
    """
    others = {
        f"{question.replace('_', ' ')}: {answer}": replace(ADOPTED, **{question: answer})
        for question, known in CHOICES.items()
        for answer in known[1:]
    }
    return {"as adopted": ADOPTED} | others | {"released code alone": RELEASED}
