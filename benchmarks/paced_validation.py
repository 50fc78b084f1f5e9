"""Compare predictions with paced runs on a 4090 desktop.

    python benchmarks/paced_validation.py [--rounds N] [-o FILE.json]

The model is the first 12 layers of Mixtral 8x7B, with a prompt of 16 tokens and 4 output tokens. 16
plans run, three of them with caches. Tensors are small; their copies and operations are real, and
each sleeps until the time of the machine file is over. Every run stands between two runs of the
calibration plan, to which the costs of real lanes are fitted. The calibration plan is not among the
16 plans.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hwprofiles import load_machine
from hwprofiles.units import NS_PER_S
from sim.model.library import load_model
from sim.policies.dispatch.balanced import BalancedDispatch
from sim.policies.overlap import Overlap
from sim.policies.table import POLICIES
from sim.routing import uniform
from sim.step.simulate import Scenario
from sim.workload.batch import Batch
from validation.comparison import Contender, ErrorSummary, Report, prepare, run_rounds

NUM_LAYERS = 12
CALIBRATION = Contender(name="calibration", policy=POLICIES["fiddler-v1"], slots_per_layer=3)
_LANES = replace(POLICIES["fiddler"], name="fiddler, lanes", overlap=Overlap())
_BALANCED = replace(POLICIES["on-demand"], name="on-demand, balanced", dispatch=BalancedDispatch())
CONTENDERS = (
    *(
        Contender(
            name=f"ktransformers, {slots} slots",
            policy=POLICIES["ktransformers"],
            slots_per_layer=slots,
        )
        for slots in (2, 4)
    ),
    *(
        Contender(
            name=f"on-demand, {slots} slots", policy=POLICIES["on-demand"], slots_per_layer=slots
        )
        for slots in (2, 4)
    ),
    *(
        Contender(
            name=f"on-demand balanced, {slots} slots", policy=_BALANCED, slots_per_layer=slots
        )
        for slots in (1, 4)
    ),
    *(
        Contender(name=f"fiddler, {slots} slots", policy=POLICIES["fiddler"], slots_per_layer=slots)
        for slots in (1, 4)
    ),
    *(
        Contender(name=f"fiddler with lanes, {slots} slots", policy=_LANES, slots_per_layer=slots)
        for slots in (1, 4)
    ),
    Contender(name="fiddler-v1, 2 slots", policy=POLICIES["fiddler-v1"], slots_per_layer=2),
    *(
        Contender(name=f"{name}, 4 slots", policy=POLICIES[name], slots_per_layer=4)
        for name in ("lru", "promoe", "fmoe")
    ),
    Contender(name="zero-streaming", policy=POLICIES["zero-streaming"]),
    Contender(name="llama.cpp", policy=POLICIES["llama.cpp"]),
)


def main() -> None:
    """Run all plans, print the table, and write the report to a file if one is given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", dest="file", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model("mixtral-8x7b")
    scenario = Scenario(
        machine=load_machine("desktop-rtx-4090-ddr5"),
        model=replace(
            model, name=f"{model.name}, first {NUM_LAYERS} layers", layers=model.layers[:NUM_LAYERS]
        ),
        batch=Batch(prompt_tokens=16, output_tokens=4),
        policy=CALIBRATION.policy,
        routing=uniform(),
    )
    calibration, *trials = prepare(scenario, (CALIBRATION, *CONTENDERS))
    report = run_rounds(
        tuple(trials),
        calibration,
        arguments.rounds,
        lambda _: print(".", end="", file=sys.stderr, flush=True),
    )
    print(
        f"\npaced on {scenario.machine.name}, torch {torch.__version__}, {arguments.rounds} rounds"
    )
    show(report)
    if arguments.file is not None:
        arguments.file.write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")


def show(report: Report) -> None:
    """Print the table of plans, and the summaries over all runs."""
    print(
        f"{'plan':32}{'measured s':>11}{'plain %':>9}{'absolute %':>12}{'paired %':>10}{'noise %':>9}"
    )
    for plan in report.plans:
        errors = zip(
            (plan.plain_fraction, plan.absolute_fraction, plan.paired_fraction),
            (9, 12, 10),
            strict=True,
        )
        columns = "".join(f"{value * 100:{width}.2f}" for value, width in errors)
        print(
            f"{plan.name:32}{plan.measured_ns / NS_PER_S:11.3f}{columns}{plan.noise_fraction * 100:9.2f}"
        )
    for name in ("plain", "absolute", "paired", "noise"):
        found: ErrorSummary = getattr(report, name)
        percent = f"median {found.median_fraction * 100:.2f} %, 90th percentile {found.p90_fraction * 100:.2f} %"
        print(f"|{name}|: {percent} of {found.num_compared} runs")
    print(
        f"calibration runs vary by {report.calibration_variation_fraction * 100:.1f} %{', too noisy' if report.is_too_noisy else ''}"
    )
    for name in sorted({kind for plan in report.plans for kind in plan.runs[0].paired.by_kind}):
        kinds = [
            run.paired.by_kind[name]
            for plan in report.plans
            for run in plan.runs
            if name in run.paired.by_kind
        ]
        medians = sorted(kind.median_fraction for kind in kinds)
        print(f"  {name:16} median of medians {medians[len(medians) // 2] * 100:6.2f} %")


if __name__ == "__main__":
    main()
