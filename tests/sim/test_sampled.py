"""Figures foretold from a run's first tokens: those of the whole run, nearly, and exactly where
nothing is left out.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sim.costs.compute_buffers import compute_buffer_bytes
from sim.costs.memory import Residency
from sim.model.model import Model
from sim.policies import POLICIES
from sim.policies.placement.limits import placed
from sim.policies.problem import Problem
from sim.room import Rooms
from sim.routing import load_routing
from sim.step import sampled
from sim.step.metrics import Metrics
from sim.step.sampled import first_tokens, is_worth_sampling, metrics_sampled
from sim.step.simulate import Drawn, Scenario, draw, problem_of, run_drawn, tuned
from sim.workload.batch import Batch
from tests.sim.small import MODELS, ODD_MODELS, small_machine, small_model

ROOMS = Rooms()
LONG = 600
"""Output tokens, of which a sample runs 64."""
LARGER = (
    small_model("many-experts", num_layers=6, num_experts=32, top_k=4),
    small_model("shared", num_layers=5, num_experts=24, top_k=3, has_shared=True),
)
CLOSE = 0.08
"""These models select some twenty experts a token; those of today select hundreds."""


def _scenario(model: Model, batch: Batch, rate: float = 4e9) -> Scenario:
    tokens = batch.num_sequences * batch.prompt_tokens
    working = compute_buffer_bytes(model, tokens, batch.context_tokens, has_head=True)
    kv_bytes = batch.num_sequences * model.kv_bytes(batch.context_tokens)
    room = 0.75 * model.total_bytes + working + kv_bytes
    return Scenario(
        machine=small_machine(room, rate, overhead_ns=900),
        model=model,
        batch=batch,
        policy=POLICIES["on-demand"],
        routing=load_routing(None, model),
        seed=3,
    )


def _fitting(scenario: Scenario) -> Iterator[tuple[Scenario, Problem, Residency, Drawn]]:
    """Every named system that fits, with what its run is made from."""
    for policy in POLICIES.values():
        own = tuned(replace(scenario, policy=policy))
        problem = problem_of(own)
        residency = placed(own.policy.placement, problem)
        if isinstance(residency, Residency):
            yield own, problem, residency, draw(own, own.policy.feeding)


def _both(
    scenario: Scenario, problem: Problem, residency: Residency, drawn: Drawn
) -> tuple[Metrics, Metrics]:
    """The sample's figures and those of the whole run."""
    first = first_tokens(drawn, sampled.SAMPLED_TOKENS)
    found = metrics_sampled(scenario, problem, residency, (drawn, first), ROOMS)
    return found, run_drawn(scenario, problem, residency, drawn).metrics


@pytest.mark.parametrize("model", [*MODELS.values(), *ODD_MODELS.values()], ids=lambda m: m.name)
def test_nothing_left_out_changes_nothing(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run as long as the sample, every figure is that of the run, to the last bit."""
    monkeypatch.setattr(sampled, "SAMPLED_TOKENS", 12)
    monkeypatch.setattr(sampled, "WARM_TOKENS", 5)
    num_seen = 0
    for each in _fitting(_scenario(model, Batch(prompt_tokens=30, output_tokens=12))):
        if not each[0].policy.feeding.is_pipelined:
            found, whole = _both(*each)
            assert found == whole, each[0].policy.name
            num_seen += 1
    assert num_seen > 5


@pytest.mark.parametrize("model", LARGER, ids=lambda m: m.name)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_first_tokens_foretell_the_rest(model: Model, batch_size: int) -> None:
    """Times, hits, bytes and calls come near the whole run's."""
    num_seen = 0
    batch = Batch(prompt_tokens=20, output_tokens=LONG, batch_size=batch_size)
    for each in _fitting(_scenario(model, batch)):
        scenario, problem, residency, drawn = each
        if not is_worth_sampling(scenario.policy, problem, residency, drawn.passes):
            continue
        found, whole = _both(*each)
        name = scenario.policy.name
        # A predictor of stated accuracy errs elsewhere in a run of another length.
        assert found.ttft_s == pytest.approx(whole.ttft_s, rel=CLOSE), name
        assert found.end_to_end_s == pytest.approx(whole.end_to_end_s, rel=CLOSE), name
        assert found.expert_hit_rate == pytest.approx(whole.expert_hit_rate, abs=CLOSE), name
        assert found.h2d_bytes == pytest.approx(whole.h2d_bytes, rel=2 * CLOSE), name
        calls = whole.cpu_expert_calls + whole.gpu_expert_calls
        assert found.cpu_expert_calls + found.gpu_expert_calls == pytest.approx(calls, rel=CLOSE), (
            name
        )
        num_seen += 1
    assert num_seen > 5


def test_attention_over_a_growing_context_is_added() -> None:
    """Where steps differ in attention alone, the whole run is foretold to a tenth of a per cent,
    though its attention lasts several times as long as the sample's.
    """
    model = replace(LARGER[0], max_context_tokens=10**6)
    scenario = _scenario(model, Batch(prompt_tokens=4, output_tokens=5000), rate=4e12)
    found, whole = next(
        _both(*each) for each in _fitting(scenario) if each[0].policy.name == "zero-streaming"
    )
    assert found.tpot_s > 0
    assert found.end_to_end_s == pytest.approx(whole.end_to_end_s, rel=0.001)


def test_short_runs_are_not_sampled() -> None:
    """Neither are micro-batches, nor what one layer of each kind stands for."""
    short = Batch(prompt_tokens=20, output_tokens=200)
    for batch in (short, replace(short, output_tokens=LONG)):
        worth = {
            each[0].policy.name
            for each in _fitting(_scenario(LARGER[0], batch))
            if is_worth_sampling(each[0].policy, each[1], each[2], each[3].passes)
        }
        assert ("lru" in worth) == (batch is not short)
        assert not worth & {"fiddler", "moe-lightning"}
