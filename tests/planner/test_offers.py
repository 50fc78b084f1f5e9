"""Offers: several ways to store the weights, several numbers of CPU threads, one search over all."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwprofiles import InputError, load_machine
from planner.search.make import Planned, make_plan
from planner.search.objectives import Goal
from planner.search.offers import offers_of
from planner.search.plan import Setting, load_plan, save_plan
from planner.search.search import Search, search
from sim.model.library import requantized
from sim.model.model import Model
from sim.step.metrics import Metrics
from sim.step.simulate import Scenario
from tests.planner.test_search import BATCHES, NUM_DRAWS, SLOW_LINK, _scenario
from tests.sim.small import MODELS, small_machine

FEW, MANY = 4, 16


def _offers(model: Model) -> list[Scenario]:
    """The same work with the weights in 16, 8 and 4 bit, on a card that holds half of them in 16."""
    scenario = _scenario(model, small_machine(0.55 * model.total_bytes, SLOW_LINK), BATCHES[0])
    return [
        replace(scenario, model=requantized(model, scheme)) for scheme in ("16bit", "8bit", "4bit")
    ]


def test_the_best_offer_is_chosen_and_the_others_are_said() -> None:
    """What one search over all finds is at least as good as the best of a search for each, and says
    of each what it would give.
    """
    offers = _offers(MODELS["plain"])
    found = search(offers, Goal(), NUM_DRAWS)
    alone = [search(offer, Goal(), NUM_DRAWS) for offer in offers]
    assert isinstance(found, Search)
    best = min(one.best.metrics.end_to_end_s for one in alone if isinstance(one, Search))
    assert found.best.metrics.end_to_end_s <= best * 1.01
    assert found.best.scenario.model == offers[found.offer].model
    assert len(found.offers) == len(offers)
    for offer, own in zip(found.offers, alone, strict=True):
        assert isinstance(own, Search) and isinstance(offer.outcome, Metrics)
        assert offer.outcome.end_to_end_s == pytest.approx(own.best.metrics.end_to_end_s, rel=0.05)
        assert offer.worse_fraction is not None and offer.worse_fraction >= 0


def test_what_makes_no_difference_goes_to_the_offer_named_first() -> None:
    """Twice the same offer: the first; what the search finds for the other is no worse than its
    draws can tell.
    """
    [first, *_] = _offers(MODELS["plain"])
    found = search([first, first], Goal(), NUM_DRAWS)
    assert isinstance(found, Search) and found.offer == 0
    other = found.offers[1]
    assert (
        other.half_width_fraction is not None
        and 0 <= other.worse_fraction <= other.half_width_fraction
    )


def test_an_offer_that_does_not_fit_says_why() -> None:
    """On a card that holds only the smallest, the others are short of bytes, and the plan is the
    smallest.
    """
    model = MODELS["plain"]
    host = small_machine(0.3 * model.total_bytes, SLOW_LINK)
    memory = host.gpu.memory_bytes.model_copy(
        update={"value": 0.55 * model.total_bytes, "efficiency": None}
    )
    machine = host.model_copy(update={"cpu": host.cpu.model_copy(update={"memory_bytes": memory})})
    offers = [replace(offer, machine=machine) for offer in _offers(model)]
    found = search(offers, Goal(), NUM_DRAWS)
    assert isinstance(found, Search) and found.offer > 0
    assert not isinstance(found.offers[0].outcome, Metrics)
    assert found.offers[0].outcome.missing_bytes > 0


def _file_with_threads(folder: Path) -> Path:
    """An RTX 4090 desktop that states rates for fewer threads: hardly less of DRAM, a quarter of
    the arithmetic.
    """
    data = load_machine("desktop-rtx-4090-ddr5").model_dump(mode="json", exclude_none=True)
    number = {"kind": "assumed", "source": "this test", "date": "2026"}
    data["cpu"]["threads"] = MANY
    data["cpu"]["by_threads"] = [
        {
            "threads": FEW,
            "memory_bytes_per_s": {"value": 50e9, **number},
            "flops_per_s": {"bf16": {"value": 0.5e12, **number}},
            "call_overhead_ns": {"value": 5e3, **number},
        }
    ]
    data["curves"] = [_curve(None, 30e6), _curve(FEW, 40e6)]
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def _curve(threads: int | None, ns: float) -> dict[str, Any]:
    own = {"threads": threads} if threads else {}
    shape = {"hidden": 64, "intermediate": 128}
    made = {"kind": "assumed", "source": "this test", "date": "2026"}
    return {
        "operation": "expert",
        "device": "cpu",
        "shape": shape,
        "points": [[1, ns], [8, ns]],
        **own,
        **made,
    }


def test_a_machine_at_another_number_of_threads(tmp_path: Path) -> None:
    """Its own rates and curves; nothing is scaled, and a number without rates is refused."""
    machine = load_machine(str(_file_with_threads(tmp_path)))
    assert machine.thread_counts == (MANY, FEW)
    few = machine.at_threads(FEW)
    assert few.cpu.memory_bytes_per_s.effective == 50e9
    assert few.cpu.flops_per_s["bf16"].effective == 0.5e12
    assert [curve.points[0][1] for curve in few.curves] == [40e6]
    assert few.gpu == machine.gpu and few.interference == machine.interference
    assert machine.at_threads(MANY) == machine
    with pytest.raises(InputError, match="states no rates for 8 CPU threads"):
        machine.at_threads(8)
    with pytest.raises(InputError, match="stated: none"):
        load_machine("desktop-rtx-4090-ddr5").at_threads(8)


def test_offers_of_a_setting(tmp_path: Path) -> None:
    """Schemes by order, then threads; what is pinned, or has its rates changed for one number
    alone, is no choice.
    """
    setting = Setting(
        model="mixtral-8x7b",
        machine=str(_file_with_threads(tmp_path)),
        prompt_tokens=8,
        output_tokens=4,
    )
    both = setting.model_copy(update={"offered_quantizations": ("4bit", "8bit")})
    assert [(one.quantization, one.cpu_threads) for one in offers_of(both)] == [
        ("4bit", MANY),
        ("4bit", FEW),
        ("8bit", MANY),
        ("8bit", FEW),
    ]
    assert [
        one.cpu_threads for one in offers_of(setting.model_copy(update={"cpu_threads": FEW}))
    ] == [FEW]
    changed = setting.model_copy(update={"machine_overrides": ("cpu.memory_bytes_per_s=80e9",)})
    assert [one.cpu_threads for one in offers_of(changed)] == [MANY]
    assert [
        one.cpu_threads for one in offers_of(setting.model_copy(update={"machine": "h100"}))
    ] == [None]


def test_the_plan_file_names_the_offers(tmp_path: Path) -> None:
    """What was chosen is the setting's own, what it was chosen from is beside it, and the best of
    each is in the file.
    """
    setting = Setting(
        model="mixtral-8x7b",
        machine=str(_file_with_threads(tmp_path)),
        prompt_tokens=8,
        output_tokens=4,
        draws=2,
    )
    planned = make_plan(
        setting.model_copy(update={"offered_quantizations": ("8bit", "4bit")}),
        Goal(),
        "test",
        has_bounds=False,
    )
    assert isinstance(planned, Planned)
    save_plan(planned.plan, tmp_path / "plan.yaml")
    plan = load_plan(tmp_path / "plan.yaml")
    assert plan.setting.quantization == "4bit"
    assert plan.setting.offered_quantizations == ("8bit", "4bit")
    assert plan.setting.offered_cpu_threads == (MANY, FEW)
    assert plan.setting.cpu_threads in (MANY, FEW)
    assert [(offer["quantization"], offer["cpu_threads"]) for offer in plan.offers] == [
        ("8bit", MANY),
        ("8bit", FEW),
        ("4bit", MANY),
        ("4bit", FEW),
    ]
    [own] = [offer for offer in plan.offers if offer["is_chosen"]]
    assert own["end_to_end_s"] == pytest.approx(plan.predicted["end_to_end_s"])
    assert own["cpu_threads"] == plan.setting.cpu_threads
    again = make_plan(plan.setting, Goal(), "test", has_bounds=False)
    assert isinstance(again, Planned) and again.plan.setting == plan.setting
