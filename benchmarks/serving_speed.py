"""Measure how fast serving is simulated: requests and steps a CPU-second, and peak memory.

Run it as ``python -m benchmarks.serving_speed [FOLDER]``. The folder has two real traces,
``mooncake-conversation.jsonl`` and ``azure-2023-conversation.csv``. The default folder is
../shared/data/requests.
"""

import resource
import sys
import time
from pathlib import Path

from hwprofiles import load_machine
from hwprofiles.units import GB, KIB, MB
from sim.model.library import load_model
from sim.serving import Cluster, InstanceOptions, prepare, serve, source_of
from sim.serving.setting import serving_setting
from sim.serving.spec import ServingSpec
from sim.serving.tier import TierSpec
from sim.workload.requests import load_requests

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "requests"
TRACES = ("azure-2023-conversation.csv", "mooncake-conversation.jsonl")
HOST = TierSpec(name="cpu", capacity_bytes=500 * GB)


def main(folder: Path) -> None:
    """Print a line for each trace, model and set of tiers."""
    for trace in TRACES:
        for model in ("llama-3.1-8b", "llama-3.3-70b"):
            for tiers in ((), (HOST,)):
                _report(folder / trace, model, tiers)


def _report(trace: Path, model: str, tiers: tuple[TierSpec, ...]) -> None:
    setting = serving_setting(ServingSpec(tiers=tiers), load_machine("h100-x8"), load_model(model))
    assert isinstance(setting.instance, InstanceOptions)
    cluster = prepare(setting)
    assert isinstance(cluster, Cluster), cluster
    source = source_of(load_requests(str(trace)), seed=0)
    start = time.process_time()
    metrics = serve(cluster, source).metrics
    cpu_s = time.process_time() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB / MB
    behind = "with 500 GB behind" if tiers else "GPU cache alone"
    print(
        f"{trace.name:32} {model:14} {behind:18} {cpu_s:5.1f} s  {metrics.num_requests / cpu_s:6,.0f} requests/s  "
        f"{metrics.num_steps / cpu_s:9,.0f} steps/s  peak so far {peak_mb:,.0f} MB"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
