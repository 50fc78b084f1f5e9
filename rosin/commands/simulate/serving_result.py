"""The figures of a served run, for its page and its JSON."""

from collections import Counter

from hwprofiles import Kind
from rosin.commands.simulate.serving_document import (
    ServeBasis,
    ServedWorkload,
    ServeRecord,
    ServeResult,
)
from rosin.report.json_documents import Memory, MemoryItem
from sim.serving import ServingRun, ServingSetting
from sim.serving.setting import serving_numbers
from sim.serving.spec import ServingSpec


def serve_result(run: ServingRun, setting: ServingSetting, record: ServeRecord) -> ServeResult:
    """Return the document of one served run."""
    numbers = list(serving_numbers(setting))
    counts = Counter(number.provenance.kind for number in numbers)
    return ServeResult(
        scenario=record,
        metrics=run.metrics,
        memory=_memory(run, setting),
        basis=ServeBasis(
            num_numbers={kind: counts[kind] for kind in Kind},
            numbers=numbers,
            model=setting.model.provenance,
        ),
    )


def serve_record(
    command: str,
    setting: ServingSetting,
    spec: ServingSpec,
    workload: ServedWorkload,
    policy: str | None,
) -> ServeRecord:
    """Return the record that repeats the run."""
    return ServeRecord(
        command=command,
        machine=setting.machine.name,
        model=setting.model.name,
        quantization=setting.model.quantization,
        workload=workload,
        serving=spec.model_dump(mode="json"),
        policy=policy,
    )


def _memory(run: ServingRun, setting: ServingSetting) -> Memory:
    """Return the memory of one instance's GPUs together: KV blocks, resident weights and the rest.

    The rest is for activations, or is unused.
    """
    total = int(setting.machine.gpu.memory_bytes.effective * setting.instance.num_gpus)
    kv_bytes = (
        run.cluster.num_blocks * setting.instance.block_tokens * setting.model.kv_bytes_per_token
    )
    items = {"KV blocks": kv_bytes, "weights": run.cluster.resident_bytes}
    peak = round(kv_bytes * run.metrics.gpu_kv_peak_fraction) + run.cluster.resident_bytes
    return Memory(
        total_bytes=total,
        peak_bytes=peak,
        items=sorted(
            (MemoryItem(item=item, bytes=size) for item, size in items.items()),
            key=lambda item: -item.bytes,
        ),
    )
