"""Models larger than host memory: rooms, rates of page faults, and published speeds."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.published_choices import STREAMED, Streamed, streamed
from hwprofiles import InputError, load_machine
from sim.costs.host_room import RESERVED_BYTES
from sim.model.library import load_model
from sim.runtimes import RuntimeQuestion, predict, read_runtime_arguments, runtime_host
from sim.runtimes.asking import notes_on
from sim.runtimes.disk import HostRoom, mapped_bytes_per_s, unread_bytes
from sim.runtimes.host import HostDisk
from sim.runtimes.steps import steps_of
from tests.sim.runtimes.examples import DESKTOP, question

GB = 1e9
DISK = HostDisk(bytes_per_s=7 * GB, latency_s=100e-6)
SMALL = replace(DESKTOP, memory_bytes=16 * GB, disk=DISK)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--no-mmap", "--no-mmap"),
        ("-lm none", "--load-mode none"),
        ("--load-mode dio", "--load-mode dio"),
        ("--mlock", "--mlock"),
        ("--load-mode mmap+mlock", r"mmap\+mlock"),
    ],
)
def test_file_that_is_not_mapped_must_fit(flags: str, said: str) -> None:
    """It is loaded whole: where memory is too small, one line says by how much, with a disk and without."""
    for host in (SMALL, replace(SMALL, disk=None)):
        with pytest.raises(InputError, match=f"{said}.*: host memory is .* too small"):
            predict(question(f"-ngl 99 -cmoe {flags}", host=host))
    mapped = predict(question("-ngl 99 -cmoe --load-mode mmap", host=SMALL))
    assert mapped.decode.seconds["disk"] > 0


@pytest.mark.parametrize(
    ("runtime", "line"),
    [
        ("ktransformers", "--kt-cpuinfer 16"),
        ("vllm", "--cpu-offload-gb 12"),
        ("exllamav3", "-mcl 40"),
    ],
)
def test_programs_that_load_whole_files_need_the_memory(runtime: str, line: str) -> None:
    """No disk is priced for them: what does not fit host memory is refused by the program's name."""
    fitting = replace(SMALL, memory_bytes=64 * GB)
    assert predict(question(line, runtime=runtime, host=fitting)).decode.seconds["disk"] == 0
    small = replace(SMALL, memory_bytes=8 * GB)
    with pytest.raises(InputError, match=f"{runtime} loads .* too small"):
        predict(question(line, runtime=runtime, host=small))


def test_a_device_map_needs_the_memory() -> None:
    """accelerate keeps layers of the host in memory, too."""
    device_map = {f"model.layers.{index}": "cpu" if index < 40 else 0 for index in range(48)}
    line = json.dumps(device_map)
    with pytest.raises(InputError, match=r"accelerate loads .* too small"):
        predict(question(line, runtime="accelerate", host=replace(SMALL, memory_bytes=8 * GB)))


def test_maverick_mapped_from_nvme() -> None:
    """Llama-4-Maverick, 143 GiB, on a host of 64 GB with an RTX 3090: 3.45 tokens/s, prompt 16.4 (r/LocalLLaMA, April 2025).

    The CPU is not stated; NVMe reads of 5 to 6 GiB/s are.
    """
    host = runtime_host(load_machine("RTX 3090 + Ryzen 9 5950X + 2x32GB DDR4-3200 + NVMe 7GB/s"))
    asked = RuntimeQuestion(
        runtime="llama.cpp",
        arguments=read_runtime_arguments("llama.cpp", "-ngl 3"),
        model=load_model("llama-4-maverick", "UD-IQ2_M"),
        quantization="UD-IQ2_M",
        host=host,
        context_tokens=128,
    )
    found = predict(asked)
    assert found.decode.tokens_per_s == pytest.approx(3.45, rel=0.3)
    assert found.prefill.tokens_per_s == pytest.approx(16.43, rel=0.3)
    assert found.prefill.limit == "disk"


@pytest.mark.parametrize("case", STREAMED, ids=lambda case: case.line)
def test_flash_moe_streams_as_published(case: Streamed) -> None:
    """flash-moe pull request 7 within 30 %: the case of a model larger than memory, its slowest machine, and
    a server that keeps all of it in memory.
    """
    speed, limit = streamed(case)
    assert speed == pytest.approx(case.tokens_per_s, rel=0.3)
    assert limit == case.limit


SIZES = st.floats(0, 1e12)


@given(SIZES, SIZES, SIZES)
def test_dense_weights_stay_first(room_bytes: float, dense: float, experts: float) -> None:
    """Experts share what is left: memory is full wherever something is missing, and never over."""
    room = HostRoom(room_bytes=room_bytes, dense_bytes=dense, expert_bytes=experts)
    held = dense - room.missing_dense_bytes + room.expert_share * experts
    assert 0 <= room.expert_share <= 1
    assert held == pytest.approx(min(room_bytes, dense + experts), abs=1)
    assert room.expert_share == 0 or room.missing_dense_bytes == 0 or not experts
    assert room.is_enough == (dense + experts <= room_bytes)


@given(st.floats(1e6, 1e11), st.floats(1e-6, 0.1), st.integers(1, 256))
def test_page_faults_need_threads(bytes_per_s: float, latency_s: float, threads: int) -> None:
    """One thread waits for each read-ahead of 128 KiB; many reach the disk's rate and no more."""
    disk = HostDisk(bytes_per_s=bytes_per_s, latency_s=latency_s)
    one = mapped_bytes_per_s(disk, 1)
    assert 131072 / one == pytest.approx(latency_s + 131072 / bytes_per_s)
    assert mapped_bytes_per_s(disk, threads) == pytest.approx(min(threads * one, bytes_per_s))


@given(st.floats(6, 400), st.floats(6, 400))
@settings(max_examples=30)
def test_less_memory_is_never_faster(size: float, other: float) -> None:
    """It reads more from the disk, and is known less; a host that holds all reads nothing, as one
    whose memory is not stated.
    """
    usual = predict(question("-ngl 99 -cmoe")).decode
    less, more = (
        predict(question("-ngl 99 -cmoe", host=replace(SMALL, memory_bytes=each * GB))).decode
        for each in sorted((size, other))
    )
    assert less.seconds["disk"] >= more.seconds["disk"] >= usual.seconds["disk"] == 0
    assert less.tokens_per_s <= more.tokens_per_s <= usual.tokens_per_s
    if more.seconds["disk"] == 0:
        assert more == usual
    width, least = (each.high_tokens_per_s / each.low_tokens_per_s for each in (less, usual))
    assert width >= least * (1 - 1e-9)
    assert less.limit == "disk" or less.seconds["disk"] < sum(less.seconds.values()) / 2


def test_weights_without_room_and_disk_are_said() -> None:
    """Where no disk is stated nothing is charged, and one line says how much memory is missing."""
    small = question("-ngl 99 -cmoe", host=replace(SMALL, disk=None))
    said = [note for note in notes_on(small) if "too small" in note]
    assert len(said) == 1
    placement = steps_of(small).placement
    missing = unread_bytes(small, placement)
    assert missing == pytest.approx(placement.weight_bytes[0] - (16 * GB - RESERVED_BYTES))
    assert predict(small).decode.seconds["disk"] == 0
    # The disk is priced, more memory is enough, and memory that nobody states is not too small.
    for host in (SMALL, replace(SMALL, disk=None, memory_bytes=64 * GB), DESKTOP):
        enough = question("-ngl 99 -cmoe", host=host)
        assert not [note for note in notes_on(enough) if "too small" in note]
