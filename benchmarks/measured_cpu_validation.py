"""Compare predictions with real operations on this computer.

    python benchmarks/measured_cpu_validation.py [-o DIR] [--rounds N]

A Mixtral-shaped decoder of 16 layers × 8 experts (hidden 1024, bf16, random weights) runs on an
emulated accelerator. One core computes as the accelerator, the others as the CPU, and a paced
copier plays the link. The machine is measured first (or read: --machine FILE). The planner plans
for this machine. The plan runs interleaved with its rivals. Each run stands between two runs of a
calibration plan, which is not among the compared plans.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hwprofiles import Kind, Machine, Provenance, Quantity, load_machine, parse_machine
from rosin.version import __version__
from sim.model.importers import model_from_config
from sim.model.model import Model
from sim.policies.overlap import Overlap
from sim.policies.table import POLICIES
from sim.routing.recorded import RecordedRouting
from sim.step.simulate import Scenario
from sim.workload.batch import Batch, Feeding, forward_passes
from validation.backend import Tier, architecture_of, random_weights
from validation.backend.plain import plain_forward
from validation.backend.rehearsal import random_prompts
from validation.backend.weights import Weights
from validation.comparison import Contender, run_rounds
from validation.comparison.contest import CALIBRATION, RIVALS, contest
from validation.comparison.report_files import host_words, markdown, write_report
from validation.measuring import EFFORTS, Emulation, Subject, machine_data, measure

NUM_PROFILED = 8
"""Requests in the offline profile."""

PROFILE_SEED = 1_000_003
"""Seed of the profile, far from the seeds of the runs."""

CONFIG = {
    "model_type": "mixtral",
    "hidden_size": 1024,
    "intermediate_size": 1024,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 4096,
    "max_position_embeddings": 2048,
}
BATCH = Batch(prompt_tokens=8, output_tokens=6)
SLOTS = 4
"""Experts of each layer that the accelerator has memory for, beside the rest of the model."""

LINK_BYTES_PER_S = 2.5e9
TOO_NOISY = 3
"""Exit code if calibration runs differ by more than the comparison can bear.

The benchmark stops after that round, unless --even-if-noisy is given.
"""

_LANES = replace(POLICIES["fiddler"], name="fiddler with lanes", overlap=Overlap())
CONTENDERS = (
    *(
        Contender(name=name, policy=policy)
        for name, policy in RIVALS.items()
        if name != "streaming"
    ),
    Contender(name="fiddler with lanes", policy=_LANES),
    *(
        Contender(name=name, policy=POLICIES[name])
        for name in ("lfu", "moe-infinity", "fmoe", "hybrimoe")
    ),
    *(
        Contender(name=f"{name}, {slots} slots", policy=policy, slots_per_layer=slots)
        for name, policy, slots in (
            ("on-demand balanced", replace(CALIBRATION, name="on-demand balanced"), 1),
            ("on-demand", POLICIES["on-demand"], 2),
            ("static CPU experts", POLICIES["ktransformers"], 2),
            ("lru", POLICIES["lru"], 2),
        )
    ),
)


def profiled(weights: Weights, batch: Batch, seed: int) -> RecordedRouting:
    """Return the routing of random requests, recorded by plain forward passes.

    The requests are as long as the batch's. The recording stands for an offline profile of the
    decoder.
    """
    own = replace(batch, batch_size=NUM_PROFILED, beams=1)
    ids = plain_forward(
        weights,
        own,
        forward_passes(own, Feeding()),
        random_prompts(weights, own, seed + PROFILE_SEED),
    ).expert_ids
    return RecordedRouting(
        name=f"profile of {weights.architecture.name}",
        expert_ids=ids.reshape(-1, *ids.shape[2:]),
        num_experts=max(shape.num_experts for shape in weights.architecture.layers),
        sequence_num_tokens=np.full(NUM_PROFILED, ids.shape[1]),
    )


def main() -> None:
    """Measure, plan and run; print the report, and write it to the folder if one is given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--machine", type=Path, help="a machine file that `rosin measure` wrote on this computer"
    )
    parser.add_argument(
        "--even-if-noisy",
        action="store_true",
        help="run all rounds, even if calibration runs differ too much",
    )
    parser.add_argument("-o", dest="folder", type=Path)
    arguments = parser.parse_args()
    began_s = time.monotonic()
    model = model_from_config(CONFIG, name="16 layers x 8 experts", provenance=_ASSUMED)
    measured = load_machine(str(arguments.machine)) if arguments.machine else measure_here(model)
    weights = random_weights(architecture_of(model), seed=0, dtype=torch.bfloat16)
    torch.set_num_threads(1)
    scenario = Scenario(
        machine=_with_memory(measured, model),
        model=model,
        batch=BATCH,
        policy=CALIBRATION,
        routing=profiled(weights, BATCH, seed=0),
    )
    chosen = contest(scenario, CONTENDERS, weights, Tier.CPU)
    for name, reason in chosen.left_out.items():
        print(f"not run: {name}: {reason}", file=sys.stderr)
    report = run_rounds(
        chosen.trials,
        chosen.calibration,
        arguments.rounds,
        _show_progress,
        stops_when_noisy=not arguments.even_if_noisy,
    )
    facts = {
        "tier": "measured-cpu: real bf16 operations, one core as the accelerator, a paced copier as the link; no GPU",
        "host": host_words(),
        "machine": measured.description,
        "model": f"{model.name}, hidden {model.hidden}, expert {model.expert_bytes / 1e6:.1f} MB, {SLOTS} of 8 in the accelerator's memory",
        "work": f"{BATCH.prompt_tokens} prompt and {BATCH.output_tokens} output tokens, {len(report.plans[0].runs)} interleaved rounds",
        "took": f"{time.monotonic() - began_s:.0f} s",
    }
    print("\n" + "\n".join(markdown(report, "measured-cpu", facts)))
    if arguments.folder is not None:
        write_report(report, arguments.folder, "measured-cpu", facts)
    raise SystemExit(TOO_NOISY if report.is_too_noisy else 0)


def _show_progress(_: str) -> None:
    print(".", end="", file=sys.stderr, flush=True)


_ASSUMED = Provenance(kind=Kind.ASSUMED, source="chosen for this benchmark", date="2026-11")


def measure_here(model: Model) -> Machine:
    """Return this computer as a machine, as `rosin measure` measures it for the model's shapes."""
    effort, emulation = EFFORTS["quick"], Emulation(link_bytes_per_s=LINK_BYTES_PER_S)
    findings = measure((model,), Subject(device="cpu", emulation=emulation), effort=effort)
    return parse_machine(machine_data(findings, "this-computer", __version__), "this computer")


def _with_memory(machine: Machine, model: Model) -> Machine:
    """Return the machine with GPU memory for SLOTS experts of each layer and the rest of the model.

    The rest includes caches and buffers.
    """
    routed = SLOTS * len(model.moe_layers) * model.expert_bytes
    working = BATCH.num_sequences * model.kv_bytes(BATCH.context_tokens) + 4 * 2**20
    needed = (model.non_expert_bytes + working + 2.5 * model.expert_bytes + routed) / 0.95
    memory = Quantity(value=needed, kind=_ASSUMED.kind, source=_ASSUMED.source, date=_ASSUMED.date)
    return machine.model_copy(
        update={"gpu": machine.gpu.model_copy(update={"memory_bytes": memory})}
    )


if __name__ == "__main__":
    main()
