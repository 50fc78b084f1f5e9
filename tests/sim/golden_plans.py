"""Two plans and a study, asked for through files, as a user asks for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hwprofiles import machine_data, write_yaml
from planner.search.make import Planned, make_plan
from planner.search.objectives import Goal
from planner.search.plan import Setting, plan_to_data
from planner.study.axes import parse_axes
from planner.study.outcome import Outcome, evaluate, jobs_of
from planner.study.study import Study
from tests.sim.small import small_machine

VERSION = "golden"
"""What results say that they come from, so that a release does not change them."""

MODEL = {
    "format": "rosin-model/1",
    "name": "small",
    "source": "made up for tests",
    "date": "2026",
    "quantization": "16bit",
    "config": {
        "model_type": "mixtral",
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1000,
        "max_position_embeddings": 1024,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "intermediate_size": 128,
        "sliding_window": None,
        "tie_word_embeddings": False,
    },
}

GOALS = {
    "plan for throughput, four prompts": (Goal(), {"batch_size": 4}),
    "plan for the first token, lossy allowed": (
        Goal(objective="ttft", is_lossless=False),
        {
            "prompt_tokens": 400,
            "output_tokens": 2,
            "machine_overrides": ("gpu.memory_bytes=3e6",),
        },
    ),
}
"""What each plan is for, and what it changes of the setting."""

AXES = ("link.h2d.bytes_per_s=0.5e9,2e9", "batch=1,2")


def plans() -> dict[str, dict[str, Any]]:
    """Return what each plan decides and predicts, by name: not the setting that it was asked for."""
    with _setting() as setting:
        found = {}
        for name, (goal, changes) in GOALS.items():
            planned = make_plan(setting.model_copy(update=changes), goal, VERSION)
            assert isinstance(planned, Planned), planned
            data = plan_to_data(planned.plan)
            kept = ("policy", "predicted", "bounds", "binding_resource")
            found[name] = {key: data[key] for key in kept}
            found[name] |= {"num_tried": planned.search.num_tried}
        return found


def study() -> list[Outcome]:
    """Return the outcomes of a study of four points, in order."""
    with _setting() as setting:
        asked = Study(base=setting, axes=parse_axes(AXES), objective="throughput", version=VERSION)
        settings = [point.setting for point in asked.points()]
        keys = asked.keys()
        names = [keys.key(setting) for setting in settings]
        return [evaluate(job) for job in jobs_of(asked, settings, names)]


@contextmanager
def _setting() -> Iterator[Setting]:
    """A small machine that holds about half of the model, and a short batch."""
    with TemporaryDirectory() as folder:
        machine, model = Path(folder, "machine.yaml"), Path(folder, "model.yaml")
        write_yaml(
            machine_data(small_machine(1_600_000, overhead_ns=500, latency_ns=1000)), machine
        )
        write_yaml(MODEL, model)
        yield Setting(
            model=str(model),
            machine=str(machine),
            prompt_tokens=20,
            output_tokens=6,
            routing="uniform",
            seed=7,
            draws=2,
        )
