"""A simulated run as a trace: its tasks, and the memory that they use."""

from pathlib import Path

import numpy as np

from rosin.commands.simulate.document import host_items
from sim.engine.trace import write_trace
from sim.engine.trace_slices import TraceView
from sim.step.metrics import staged_bytes
from sim.step.simulate import Run


def write_run_trace(run: Run, path: Path) -> None:
    """Write the timeline and the memory in use on GPU 0 and the host, for a trace viewer.

    The trace is named after model, machine and policy. Raises InputError if it cannot be written.
    """
    scenario = run.scenario
    instants, staged = staged_bytes(run.timeline, scenario.policy.overlap.staging_layer_share)
    on_gpu = (
        # The counter begins with what is there before anything is copied.
        np.concatenate([[0], instants]),
        np.concatenate([[0], staged]) + sum(run.memory_items.values()),
    )
    # What the host holds does not change during a run, so two points make its line.
    in_host = ([0, run.timeline.makespan_ns], [sum(host_items(run).values())] * 2)
    title = f"{scenario.model.name} ({scenario.model.quantization}) on {scenario.machine.name}, {scenario.policy.name}"
    view = TraceView(
        title=title,
        counters={"GPU memory in use": on_gpu, "host memory in use": in_host},
    )
    write_trace(run.timeline, path, view)
