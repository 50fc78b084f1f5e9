"""Laws of plans for runtimes and of choices that hold for any machine, model and load."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import load_machine
from planner.choice import choice_question, choose
from planner.runtimes.asked import Asked
from planner.runtimes.plan_file import call_of
from planner.runtimes.search import NoRuntimePlan, plan_runtime
from sim.model.library import load_model
from sim.runtimes.model_files import load_model_for
from sim.runtimes.predict import predict
from tests.planner.runtime_plans import asked, small_gpu
from tests.sim.runtimes.examples import DESKTOP, GPU, SERVER, deepseek, qwen

RUNTIMES = ("llama.cpp", "ik_llama.cpp", "ktransformers", "vllm", "accelerate", "exllamav3")
OBJECTIVES = ("throughput", "ttft", "tpot", "latency")


@st.composite
def searches(draw: st.DrawFn) -> Asked:
    """A search for any runtime and load, on a GPU of any size."""
    host = draw(st.sampled_from((DESKTOP, replace(SERVER, gpus=DESKTOP.gpus))))
    memory = draw(st.integers(2, 40)) * 2**30
    return asked(
        draw(st.sampled_from(RUNTIMES)),
        host=replace(host, gpus=(replace(GPU, memory_bytes=memory),)),
        model=draw(st.sampled_from((qwen(), deepseek()))),
        prompt_tokens=draw(st.integers(1, 8000)),
        output_tokens=draw(st.integers(1, 1000)),
        host_memory_bytes=draw(st.sampled_from((32e9, 64e9, 512e9))),
        objective=draw(st.sampled_from(OBJECTIVES)),
    )


@given(searches())
@settings(max_examples=15)
def test_no_rival_is_faster(search: Asked) -> None:
    """By the objective, the plan is at least as good as every rival that fits; where there is no
    plan, none fits.
    """
    plan = plan_runtime(search)
    if isinstance(plan, NoRuntimePlan):
        assert plan.reason
        return
    own = search.rank(plan.best.timing)
    for rival in plan.rivals:
        if rival.option is not None:
            late, score = search.rank(rival.option.timing)
            assert (own[0], own[1]) <= (late, score * (1 + 1e-9)), rival.name


@given(searches())
@settings(max_examples=12)
def test_the_command_means_the_plan_and_fits(search: Asked) -> None:
    """The arguments, read as the runtime reads them, are predicted as the plan is, and every device
    keeps its margin.
    """
    plan = plan_runtime(search)
    if isinstance(plan, NoRuntimePlan):
        return
    question = search.question(search.read(call_of(plan.best).line))
    again = predict(question)
    timing = plan.best.timing
    assert again.decode.tokens_per_s == pytest.approx(1 / timing.tpot_s)
    assert question.prompt_tokens / again.prefill.tokens_per_s == pytest.approx(timing.ttft_s)
    assert search.missing_bytes(again.memory, question.arguments) == {}


@given(st.sampled_from(RUNTIMES), st.integers(3, 24), st.integers(1, 16))
@settings(max_examples=8)
def test_more_memory_is_never_slower(runtime: str, gib: int, more: int) -> None:
    """A larger GPU holds whatever a smaller one does."""
    small, large = (
        plan_runtime(asked(runtime, host=small_gpu(size))) for size in (gib, gib + more)
    )
    if isinstance(small, NoRuntimePlan):
        return
    assert not isinstance(large, NoRuntimePlan)
    # A refinement ends where no neighbour is better, so sizes may end a little apart.
    assert large.best.timing.end_to_end_s <= small.best.timing.end_to_end_s * 1.005


LINES = st.integers(0, 60).map("-ngl 99 -ncmoe {}".format) | st.integers(1, 60).map(
    "-ngl {}".format
)


@given(searches(), LINES)
@settings(max_examples=8)
def test_no_plan_is_worse_than_what_the_user_runs(search: Asked, line: str) -> None:
    """What is run today is a candidate, too, if it fits."""
    own = replace(search, runtime="llama.cpp")
    plan = plan_runtime(own, line)
    if isinstance(plan, NoRuntimePlan) or plan.against is None:
        return
    if own.fits(plan.against):
        late, score = own.rank(plan.against.timing)
        found = own.rank(plan.best.timing)
        assert (found[0], found[1]) <= (late, score * (1 + 1e-9))
    else:
        assert plan.against_missing_bytes


GPUS = ("RTX 3090", "RTX 4060", "RTX 4090", "RTX 5090", "2xRTX 3090")
CPUS = ("Ryzen 9 7950X", "Core i9-13900K", "Ryzen 9 9950X")


@given(
    st.sampled_from(GPUS),
    st.sampled_from(CPUS),
    st.sampled_from((16, 32, 64)),
    st.integers(16, 4096),
    st.integers(1, 512),
)
@settings(max_examples=8)
def test_a_choice_is_in_the_order_of_its_expectation(
    gpu: str, cpu: str, gib: int, prompt_tokens: int, output_tokens: int
) -> None:
    """Best first; speeds lie within their intervals, regret is a share, and an arm that is left out
    says why.
    """
    file = load_model_for("llama.cpp", "qwen3-30b-a3b", "Q4_K_M")
    machine = load_machine(f"{gpu} + {cpu} + 2x{gib}GB DDR5-5600")
    choice = choose(
        choice_question(
            machine,
            file.model,
            "Q4_K_M",
            prompt_tokens,
            output_tokens,
            checkpoint=load_model("qwen3-30b-a3b"),
        )
    )
    expected = [arm.expected_s for arm in choice.arms]
    assert expected == sorted(expected)
    for arm in choice.arms:
        for speed in (arm.decode, arm.prefill):
            assert 0 < speed.low_tokens_per_s <= speed.tokens_per_s <= speed.high_tokens_per_s
        assert 0 <= arm.regret_fraction < 1
        assert arm.expected_s >= arm.request_s * (1 - 1e-9)
    assert all(left.reason for left in choice.left_out)
    shown = [arm.arm.arm for arm in choice.arms]
    assert len(set(shown)) == len(shown)
