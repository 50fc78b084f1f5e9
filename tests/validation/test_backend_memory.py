"""What a run leaves behind: a finished run must not keep the accelerator's copies of the weights."""

import gc
import weakref

import pytest

torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")

from sim.policies import POLICIES
from tests.validation.backend_runs import BATCHES, SHAPES, case
from validation.backend import real_run
from validation.backend.accelerator_memory import AcceleratorMemory

KINDS = {"static": "fiddler", "streaming": "zero-streaming", "live": "lru"}


@pytest.mark.parametrize("name", KINDS.values(), ids=KINDS)
def test_a_finished_run_gives_its_memory_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The accelerator's memory goes with the run, without waiting for a collection of cycles.

    Such collections are rare here (200,000 objects), and a run of a real model has gigabytes.
    """
    made: list[weakref.ref[AcceleratorMemory]] = []

    class Watched(AcceleratorMemory):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[arg-type]
            made.append(weakref.ref(self))

    monkeypatch.setattr(real_run, "AcceleratorMemory", Watched)
    subject = case(POLICIES[name], SHAPES["plain"], BATCHES["one"], share=0.4)
    gc.collect()
    gc.disable()
    try:
        subject.run()
        assert made and all(reference() is None for reference in made)
    finally:
        gc.enable()
