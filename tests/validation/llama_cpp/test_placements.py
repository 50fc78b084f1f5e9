"""Random placements by our evaluation, against what llama.cpp itself reports."""

import random
import shutil
from pathlib import Path

import pytest

from benchmarks.llama_cpp_placements import NUM_DEVICES, SHAPES, random_placement
from validation.runtimes.llama_cpp import write_random_gguf
from validation.runtimes.llama_cpp.rpc import SERVER, loopback_devices

FIT_PARAMS = shutil.which("llama-fit-params")
PROGRAMS = Path(FIT_PARAMS).parent if FIT_PARAMS else Path()


@pytest.mark.slow
@pytest.mark.skipif(
    not (PROGRAMS / SERVER).is_file(),
    reason=f"llama-fit-params and {SERVER} are not on the search path",
)
@pytest.mark.parametrize("number", range(3))
def test_llama_cpp_reports_the_mib_that_we_evaluate(number: int, tmp_path: Path) -> None:
    """Each matrix of experts somewhere, two loopback devices, a sparse file: the same MiB on each."""
    shape, formats = SHAPES[number]
    file = write_random_gguf(shape, formats, tmp_path / "sparse.gguf", is_sparse=True)
    with loopback_devices(PROGRAMS, NUM_DEVICES) as devices:
        placed = random_placement(PROGRAMS, file, shape, devices, random.Random(number))
    assert placed.expected_mib == placed.reported_mib
