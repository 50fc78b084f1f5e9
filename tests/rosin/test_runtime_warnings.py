"""What `rosin validate --runtime` says of the computer that it ran on."""

import os
from typing import Any, cast

import pytest

from rosin.commands.validate.runtime_command import warnings_of
from sim.runtimes.llama_cpp import LlamaArguments
from validation.runtimes.llama_cpp.plan_run import CPU, LOOPBACK, PlanRun, RanOption
from validation.runtimes.llama_cpp.sample import Timed

CORES = os.cpu_count() or 1


def _ran(*, noise: float = 0.01, device: str = "CUDA0", threads: int = 1) -> PlanRun:
    def timed(noise_fraction: float) -> Timed:
        return Timed(
            token_s=0.01,
            noise_fraction=noise_fraction,
            spread_fraction=0.0,
            num_samples=6,
            num_disturbed=0,
        )

    unused = cast(Any, None)
    option = RanOption(
        name="the plan",
        arguments=LlamaArguments(runtime="llama.cpp", threads=threads),
        prediction=unused,
        decode=timed(0.0),
        prefill=timed(noise),
        placed=unused,
    )
    return PlanRun(
        program="llama-bench", device=device, model=unused, prompt_tokens=8, options=(option,)
    )


@pytest.mark.parametrize(
    ("ran", "words"),
    [
        (_ran(), ()),
        (_ran(noise=0.5), ("this computer was noisy", "differ by 50%")),
        (_ran(device=CPU), ("everything ran on the CPU",)),
        (_ran(device=LOOPBACK), ("stood for the GPUs",)),
        (_ran(threads=CORES + 1), (f"{CORES + 1} threads shared the {CORES} cores",)),
    ],
)
def test_a_run_says_what_makes_it_doubtful(ran: PlanRun, words: tuple[str, ...]) -> None:
    """Nothing is said of a quiet run on GPUs; each of the others has its one warning."""
    warnings = warnings_of(ran)
    assert len(warnings) == bool(words)
    assert all(word in warning for warning in warnings for word in words)
