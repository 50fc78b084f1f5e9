"""Plans for runtimes: within memory, never slower than what people run, by the runtime's prices."""

from dataclasses import replace

import numpy as np
import pytest

from hwprofiles import InputError
from hwprofiles.units import GIB, format_bytes
from planner.runtimes.load import RuntimeLimits
from planner.runtimes.plan_file import call_of
from planner.runtimes.search import WAYS, NoRuntimePlan, RuntimePlan, plan_runtime
from sim.costs.host_room import RESERVED_BYTES
from sim.model.library import load_model
from sim.runtimes.llama_cpp import LlamaArguments
from sim.runtimes.placing import placement_of
from tests.planner.runtime_plans import TWO_GPUS, asked, planned, small_gpu
from tests.sim.runtimes.examples import NO_GPU, SERVER, deepseek

LLAMAS = ("llama.cpp", "ik_llama.cpp")
BORROWED = ("vllm", "accelerate", "exllamav3")
RUNTIMES = (*LLAMAS, "ktransformers", *BORROWED)


def test_everything_on_a_gpu_that_has_room() -> None:
    """Nothing is left to the host but the input embedding, and no pattern is written."""
    plan = planned(asked(host=small_gpu(24)))
    arguments = plan.best.arguments
    assert isinstance(arguments, LlamaArguments)
    assert arguments.placements == ()
    assert np.all(plan.best.placement.expert_fraction[:, 0] == 0)


def test_a_gpu_too_small_for_dense_parts() -> None:
    """Where dense parts do not fit, the first layers stay on the host with all they have."""
    plan = planned(asked(host=small_gpu(1.9)))
    attention = plan.best.placement.attention
    assert 0 < np.count_nonzero(attention < 0) < len(attention)


def test_no_gpu() -> None:
    """A machine without a GPU gets threads, and rivals that say so."""
    plan = planned(asked(host=NO_GPU))
    assert " -t 16 " in f" {call_of(plan.best).line} "
    assert [rival.name for rival in plan.rivals] == ["no arguments"]


def test_a_long_prompt_gets_a_larger_micro_batch() -> None:
    """Experts are copied once a micro-batch: long prompts take fewer, larger ones."""
    sizes = []
    for prompt_tokens, output_tokens in ((64, 1024), (16384, 64)):
        search = asked(prompt_tokens=prompt_tokens, output_tokens=output_tokens)
        arguments = planned(search).best.arguments
        assert isinstance(arguments, LlamaArguments)
        sizes.append(arguments.micro_batch_tokens)
    assert sizes[0] < sizes[1]


def test_rounds_of_a_chat_are_priced_in_the_middle() -> None:
    """A longer chat has a fuller cache, so each round takes longer, and room for all of it."""
    one = planned(asked())
    many = planned(asked(rounds=10))
    assert many.best.timing.end_to_end_s > one.best.timing.end_to_end_s
    assert many.best.arguments.context_tokens == 10 * (1024 + 256)


@pytest.mark.parametrize("runtime", LLAMAS)
def test_two_gpus(runtime: str) -> None:
    """Layers are split over both, each within its memory, as llama.cpp's own --fit does."""
    search = asked(runtime, host=TWO_GPUS)
    plan = planned(search)
    arguments = plan.best.arguments
    assert isinstance(arguments, LlamaArguments)
    assert sum(arguments.tensor_split) == 49
    assert plan.best.placement.weight_bytes[1:].min() > 0
    if runtime == "llama.cpp":
        fit = plan.rivals[0]
        assert "--fit" in fit.name and fit.option is not None
        assert fit.option.placement.weight_bytes[1:].min() > 0


def test_a_split_that_wins_is_in_the_command() -> None:
    """Where a user's own slices, cards or main card are the plan, its command says them."""
    search = asked(host=TWO_GPUS)
    plan = planned(search, "-ngl 99 -sm tensor -dev CUDA1,CUDA0 -mg 1")
    assert plan.against is not None
    words = call_of(plan.against).line
    assert "-sm tensor" in words and "-dev CUDA1,CUDA0" in words and "-mg 1" in words
    assert search.read(words) == plan.against.arguments


def test_slices_are_shown_and_taken_only_where_they_are_run() -> None:
    """-sm tensor is experimental: a faster one stands beside the plan, and is it where the user has it."""
    alike = replace(TWO_GPUS, gpus=(replace(TWO_GPUS.gpus[0], memory_bytes=24 * GIB),) * 2)
    search = asked(host=alike, model=load_model("qwen3-32b", "8bit"), prompt_tokens=16)
    plan = planned(search)
    slices = next(rival for rival in plan.rivals if rival.name.startswith("-sm tensor"))
    assert slices.option is not None and not slices.is_offered
    assert slices.option.timing.end_to_end_s < plan.best.timing.end_to_end_s
    assert isinstance(plan.best.arguments, LlamaArguments)
    assert plan.best.arguments.split_mode == "layer"
    again = planned(search, call_of(slices.option).line)
    assert again.best.arguments == slices.option.arguments


def test_what_a_user_runs_is_compared() -> None:
    """Their arguments are priced with room for the load; what they lack is said by device."""
    search = asked()
    slow = planned(search, "-ngl 99 -cmoe")
    assert slow.against is not None
    assert slow.against.arguments.context_tokens == search.load.cache_tokens
    assert slow.best.timing.end_to_end_s < slow.against.timing.end_to_end_s
    too_large = planned(search, "-ngl 99")
    assert too_large.against_missing_bytes is not None
    assert set(too_large.against_missing_bytes) == {"gpu0"}


def test_what_a_user_runs_may_be_the_best() -> None:
    """Where the user's arguments are better than all that was tried, they are the plan."""
    search = asked(host=small_gpu(24))
    best = planned(search)
    line = call_of(best.best).line
    assert planned(search, line).best.timing == best.best.timing


def test_a_wrong_argument_is_refused() -> None:
    """A flag that does not exist is an error, not a slow plan."""
    with pytest.raises(InputError, match="did you mean '-ncmoe'"):
        plan_runtime(asked(), "-ncmo 3")


def test_what_fits_nowhere_says_by_how_much() -> None:
    """Weights that neither GPU nor host can hold: a typed answer with the missing bytes."""
    none = plan_runtime(asked(host=small_gpu(8), model=deepseek()))
    assert isinstance(none, NoRuntimePlan)
    assert "more than GPUs and host have free" in none.reason


@pytest.mark.parametrize("runtime", WAYS)
def test_a_gpu_that_is_taken_says_by_how_much(runtime: str) -> None:
    """Memory suffices, but all of the GPU is to stay free: its bytes are named."""
    search = replace(asked(runtime), limits=RuntimeLimits(margin_vram_bytes=13 * GIB))
    none = plan_runtime(search)
    assert isinstance(none, NoRuntimePlan)
    least = WAYS[runtime].least(search)
    short = search.missing_bytes(least.memory, least.arguments)
    assert f"{format_bytes(round(short['gpu0']))} more than gpu0 has free" in none.reason


@pytest.mark.parametrize("runtime", WAYS)
def test_keys_and_values_without_room_say_by_how_much(runtime: str) -> None:
    """The weights alone would fit: what is missing counts keys, values and buffers too."""
    search = asked(runtime, prompt_tokens=400_000, host_memory_bytes=21e9)
    none = plan_runtime(search)
    assert isinstance(none, NoRuntimePlan)
    assert "weights, keys and values, and buffers take" in none.reason
    assert "more than GPUs and host have free" in none.reason


def test_a_host_takes_what_prices_take() -> None:
    """Memory that no system leaves free is no room, however little is reserved: no plan is then
    refused while it is priced.
    """
    outcomes = set()
    for memory_bytes in np.linspace(17e9, 25e9, 17):
        search = asked("ktransformers", host_memory_bytes=float(memory_bytes))
        found = plan_runtime(replace(search, limits=RuntimeLimits(reserve_ram_bytes=0)))
        outcomes.add(type(found))
        if isinstance(found, RuntimePlan):
            assert found.best.memory["host"].total <= memory_bytes - RESERVED_BYTES
    assert outcomes == {RuntimePlan, NoRuntimePlan}


def test_ktransformers_needs_experts() -> None:
    """A dense model is refused: there is nothing that the program would place."""
    with pytest.raises(InputError, match="has no experts, which ktransformers places"):
        plan_runtime(asked("ktransformers", model=load_model("llama-3.1-8b")))


def test_a_late_first_token_is_no_plan() -> None:
    """A constraint that nothing meets names the best that was reached."""
    none = plan_runtime(asked(prompt_tokens=8192, max_ttft_s=0.001))
    assert isinstance(none, NoRuntimePlan)
    assert "the best reaches" in none.reason


def test_a_constraint_that_can_be_met_is_met() -> None:
    """With a limit on the first token between the extremes, the plan keeps to it."""
    free = planned(asked(prompt_tokens=8192, output_tokens=2048, objective="tpot"))
    limit = 0.95 * free.best.timing.ttft_s
    bound = planned(
        asked(prompt_tokens=8192, output_tokens=2048, objective="tpot", max_ttft_s=limit)
    )
    assert bound.best.timing.ttft_s <= limit


def test_two_sockets_choose_threads() -> None:
    """On two sockets both numbers of threads are tried, for answers and prompts apart."""
    search = asked(host=replace(SERVER, gpus=small_gpu(12).gpus))
    arguments = planned(search).best.arguments
    assert isinstance(arguments, LlamaArguments)
    assert arguments.threads in (32, 64)


def test_types_of_keys_and_values_are_chosen_among_those_allowed() -> None:
    """More types are never slower; one alone is taken as it is, with the attention it needs."""
    few = {"prompt_tokens": 60_000, "host": small_gpu(4)}
    only = planned(asked(**few, kv_types=("q8_0",)))
    both = planned(asked(**few, kv_types=("f16", "q8_0")))
    assert isinstance(only.best.arguments, LlamaArguments)
    assert isinstance(both.best.arguments, LlamaArguments)
    assert only.best.arguments.key_type == "q8_0"
    assert only.best.arguments.is_flash_attention is True
    assert both.best.timing.end_to_end_s <= only.best.timing.end_to_end_s
    assert both.best.arguments.key_type in ("f16", "q8_0")


def test_search_and_evaluation_place_alike() -> None:
    """The placement of the search equals that of the patterns, tensor for tensor."""
    for host in (small_gpu(6), small_gpu(13.7), TWO_GPUS):
        plan = planned(asked(host=host))
        placed = placement_of(plan.best.question)
        assert np.array_equal(placed.weight_bytes, plan.best.placement.weight_bytes)


@pytest.mark.parametrize("runtime", LLAMAS)
def test_the_programs_own_fit_is_a_rival(runtime: str) -> None:
    """What each chooses by itself is priced, and its words make the program choose again."""
    (fit,) = (
        rival for rival in planned(asked(runtime)).rivals if rival.name == "--fit, its own choice"
    )
    assert fit.option is not None
    words = call_of(fit.option).arguments
    assert ("--fit" in words) == (runtime == "ik_llama.cpp")
    read = asked(runtime).read(call_of(fit.option).line)
    assert isinstance(read, LlamaArguments)
    assert read.uses_fit


def test_the_fit_of_ik_fails_without_room_for_dense_parts() -> None:
    """llama.cpp leaves whole layers to the host then; ik_llama.cpp's fit ends with an error."""
    (fit,) = (
        rival
        for rival in planned(asked("ik_llama.cpp", host=small_gpu(1.9))).rivals
        if rival.name == "--fit, its own choice"
    )
    assert "do not fit the GPU, so it fails" in str(fit.reason)
