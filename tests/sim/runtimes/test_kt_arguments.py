"""Arguments of KTransformers, of the current program and the older one."""

import pytest

from hwprofiles import InputError
from sim.runtimes.asking import notes_on
from sim.runtimes.ktransformers import read_kt_arguments
from sim.runtimes.predict import predict
from tests.sim.runtimes.examples import SERVER, question


def test_current_flags() -> None:
    """The flags of kt-kernel's documentation."""
    read = read_kt_arguments(
        "--kt-method AMXINT4 --kt-cpuinfer 64 --kt-threadpool-count 2 --kt-num-gpu-experts 8 "
        "--kt-max-deferred-experts-per-token 1 --kt-gpu-prefill-token-threshold 400"
    )
    assert (read.method, read.threads, read.thread_pools) == ("amxint4", 64, 2)
    assert (read.gpu_experts, read.deferred_experts, read.gpu_prefill_tokens) == (8, 1, 400)


def test_older_flags() -> None:
    """local_chat's flags, a model setting before them, and a rule file that keeps experts on the
    CPU.
    """
    read = read_kt_arguments(
        "num_experts_per_tok=6 --cpu_infer 33 --optimize_config_path rules/DeepSeek-V3-Chat.yaml"
    )
    assert (read.experts_per_token, read.threads) == (6, 33)
    assert read.num_pools is None and not read.copies_experts


def test_experts_on_each_socket() -> None:
    """USE_NUMA builds the older program so that every socket has a copy; pools of the newer share them."""
    older = read_kt_arguments("USE_NUMA=1 --cpu_infer 65")
    assert older.copies_experts and older.num_pools is None
    assert read_kt_arguments("--kt-cpuinfer 64").num_pools == 2
    assert read_kt_arguments("--kt-cpuinfer 64 --kt-threadpool-count 1").num_pools == 1
    held = [
        predict(question(line, runtime="ktransformers", host=SERVER)).memory["host"].weights
        for line in ("--cpu_infer 64", "USE_NUMA=1 --cpu_infer 64", "--kt-cpuinfer 64")
    ]
    assert held[0] == held[2] < held[1] < 2 * held[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--kt-gpu-experts-ratio 1.5", "between 0 and 1"),
        ("--kt-method Q4_K", "one of amxint4"),
        ("--optimize_config_path mine.yaml", "keep all experts on the CPU"),
        ("--init-expert-location plan.pt", "is not read"),
        ("--kt-cpuinfers 3", "did you mean '--kt-cpuinfer'"),
    ],
)
def test_refused_in_one_line(line: str, message: str) -> None:
    """What cannot be predicted is refused by name."""
    with pytest.raises(InputError, match=message):
        read_kt_arguments(line)


def test_more_threads_than_cores_are_said() -> None:
    """A second thread of a core adds nothing in the price, and the note says that it costs in
    practice.
    """
    assert any("32 threads on 16 cores" in note for note in notes_on(question("-t 32")))
    assert not any("threads on" in note for note in notes_on(question("-t 16")))


def test_what_is_priced_roughly_is_said() -> None:
    """Deferral and strategies other than uniform are named."""
    line = "--kt-max-deferred-experts-per-token 2 --kt-expert-placement-strategy frequency --host x"
    said = " / ".join(notes_on(question(line, runtime="ktransformers")))
    assert all(word in said for word in ("deferral", "frequency", "--host"))
