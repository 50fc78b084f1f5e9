"""Prices of steps: laws that hold whatever the constants are, and where prompts run."""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.model.library import load_model
from sim.runtimes.asking import notes_on
from sim.runtimes.constants import NAMES, shipped, shipped_constants
from sim.runtimes.features import stacked
from sim.runtimes.formats import FormatFamily, format_family, is_interleaved
from sim.runtimes.host import RuntimeHost, Vector
from sim.runtimes.intervals import stated_spread
from sim.runtimes.predict import predict
from sim.runtimes.prices import Seconds, decode_seconds, dram_bytes_per_s, prefill_seconds
from sim.runtimes.question import PromptSide, RuntimeQuestion
from sim.runtimes.steps import steps_of
from tests.sim.runtimes.examples import DESKTOP, GPU, NO_GPU, SERVER, deepseek, question, qwen

LINES = (
    "-ngl 99",
    "-ngl 99 -cmoe",
    "-ngl 99 -ncmoe 20",
    "-ngl 24",
    "-ngl 0",
    "-ngl 99 -cmoe -nkvo",
)


def _decode(asked: RuntimeQuestion) -> float:
    return predict(asked).decode.tokens_per_s


def _prefill(asked: RuntimeQuestion) -> float:
    return predict(asked).prefill.tokens_per_s


def _faster(**changes: object) -> RuntimeHost:
    return replace(DESKTOP, **changes)  # type: ignore[arg-type]


def test_experts_cost_what_their_bytes_do() -> None:
    """Bytes that a token reads on the CPU are those of its experts in all layers, and of nothing
    else.
    """
    work = steps_of(question("-ngl 99 -cmoe")).decode.work
    assert work.cpu_expert_bytes == pytest.approx(48 * 8 * qwen().expert_bytes)
    assert work.cpu_dense_bytes == 0
    assert work.crossings == 96


def test_distinct_experts_bound_uploads() -> None:
    """A micro-batch uploads each expert in use once: all of them for many tokens, fewer for few."""
    whole = 48 * 128 * qwen().expert_bytes / GPU.link_bytes_per_s
    many = steps_of(
        replace(question("-ngl 99 -cmoe -ub 512"), prompt_tokens=512)
    ).prefill.work.upload_s
    few = steps_of(
        replace(question("-ngl 99 -cmoe -ub 32"), prompt_tokens=32)
    ).prefill.work.upload_s
    assert many == pytest.approx(whole, rel=1e-3)
    assert 0.8 * whole < few < 0.9 * whole


@pytest.mark.parametrize(
    ("runtime", "line", "tokens", "quantization", "uploads"),
    [
        ("llama.cpp", "-ngl 99 -cmoe", 31, "Q4_K_M", False),
        ("llama.cpp", "-ngl 99 -cmoe", 32, "Q4_K_M", True),
        ("llama.cpp", "-ngl 99 -cmoe -nopo", 512, "Q4_K_M", False),
        ("llama.cpp", "GGML_OP_OFFLOAD_MIN_BATCH=600 -ngl 99 -cmoe", 512, "Q4_K_M", False),
        ("llama.cpp", "-ngl 99 -cmoe --no-host", 512, "Q4_K_M", False),
        ("ik_llama.cpp", "-ngl 99 -cmoe", 511, "Q4_K_M", False),
        ("ik_llama.cpp", "-ngl 99 -cmoe", 512, "Q4_K_M", True),
        ("ik_llama.cpp", "-ngl 99 -cmoe -op 27,0", 512, "Q4_K_M", False),
        ("ik_llama.cpp", "-ngl 99 -cmoe -rtr", 512, "Q4_K_M", False),
        ("ik_llama.cpp", "-ngl 99 -cmoe", 512, "Q4_K_R4", False),
        ("ik_llama.cpp", "-ngl 99 -cmoe", 512, "IQ4_K_R4", True),
        ("ik_llama.cpp", "-ngl 99 -cmoe", 512, "IQ1_S_R4", True),
        ("ktransformers", "--kt-cpuinfer 16", 4096, "BF16", False),
        ("ktransformers", "--kt-gpu-prefill-token-threshold 400", 4096, "BF16", True),
    ],
)
def test_where_prompts_run(
    runtime: str, line: str, tokens: int, quantization: str, uploads: bool
) -> None:
    """Experts are uploaded from each program's threshold on, if their format has a kernel there."""
    asked = question(line, runtime=runtime, quantization=quantization)
    assert steps_of(replace(asked, prompt_tokens=tokens)).uploads is uploads


def test_builds_before_a_change() -> None:
    """A build before the pull request that scales the threshold by experts uploads from 32 tokens
    on.
    """
    asked = replace(question("-ngl 99 -cmoe", runtime="ik_llama.cpp"), prompt_tokens=64)
    assert not steps_of(asked).uploads
    assert steps_of(replace(asked, build=519)).uploads
    assert not steps_of(replace(asked, build=519, prompt_side=PromptSide.CPU)).uploads


def test_second_gpu_with_layers_on_the_cpu_is_no_faster() -> None:
    """A second card takes over layers, one after the other with the first, and work crosses between
    them.
    """
    two = replace(DESKTOP, gpus=(GPU, GPU))
    for line, model in (("-ngl 99", qwen()), ("-ngl 99 -cmoe", deepseek())):
        assert _decode(question(line, model=model, host=two)) < _decode(question(line, model=model))


def test_kernels_of_one_token_differ_by_program() -> None:
    """ik_llama.cpp multiplies faster in formats that llama.cpp has, too; its own formats have one rate."""
    constants = shipped_constants()
    for quantization, is_shared in (("Q4_K_M", True), ("Q8_0", True), ("IQ4_K", False)):
        unread = [
            replace(step, work=replace(step.work, cpu_expert_bytes=0.0))
            for step in (
                steps_of(
                    question("-t 8", runtime=name, host=NO_GPU, quantization=quantization)
                ).decode
                for name in ("llama.cpp", "ik_llama.cpp")
            )
        ]
        plain, own = (float(decode_seconds(step, constants).cpu_experts) for step in unread)
        gain = constants.optimised_decode_gain if is_shared else 1.0
        assert plain / own == pytest.approx(gain)


ONE_SOCKET = replace(SERVER, sockets=1, gpus=())


@pytest.mark.parametrize(
    ("runtime", "one", "shared", "own"),
    [
        ("llama.cpp", "-t 32 --numa isolate", "-t 32", "-t 64 --numa distribute"),
        ("ik_llama.cpp", "-t 32 --numa numactl", "-t 64", "-t 64 --numa numactl"),
        (
            "ktransformers",
            "--kt-cpuinfer 32 --kt-threadpool-count 1",
            "--cpu_infer 64",
            "USE_NUMA=1 --cpu_infer 64",
        ),
        ("ktransformers", "--kt-cpuinfer 32 --kt-threadpool-count 1", "--cpu_infer 64", ""),
    ],
)
def test_two_sockets_count_by_where_pages_lie(
    runtime: str, one: str, shared: str, own: str
) -> None:
    """A socket's own memory is as fast as a machine of one; both read their own faster, but less than
    twice; where the system places pages, memory is slower than one socket's.
    """
    host = replace(SERVER, gpus=())
    rates = [
        float(
            dram_bytes_per_s(
                steps_of(question(line, runtime=runtime, host=host, model=deepseek())).decode,
                shipped_constants(),
            )
        )
        for line in (one, shared, own)
    ]
    alone = steps_of(question(one, runtime=runtime, host=ONE_SOCKET, model=deepseek())).decode
    assert rates[0] == float(dram_bytes_per_s(alone, shipped_constants()))
    assert rates[1] < rates[0] < rates[2] < 2 * rates[0]


def test_sockets_that_the_system_shares_are_said() -> None:
    """A note says so for programs that compute on the CPU, and none where arguments place threads."""
    words = "the system places threads"
    for runtime, line in (("llama.cpp", "-t 32"), ("ktransformers", "--cpu_infer 32")):
        assert words in " ".join(notes_on(question(line, runtime=runtime, host=SERVER)))
    assert words not in " ".join(notes_on(question("--numa distribute", host=SERVER)))
    assert words not in " ".join(notes_on(question("-t 8")))


def test_wide_units_help_prompts() -> None:
    """Prompts run faster on 512-bit units, and slower on AVX2, in ik_llama.cpp."""
    asked = [
        question(
            "-t 16", runtime="ik_llama.cpp", host=replace(NO_GPU, vector=vector, vector_bits=bits)
        )
        for vector, bits in (
            (Vector.AVX2, 256),
            (Vector.AVX512, 256),
            (Vector.VNNI, 256),
            (Vector.VNNI, 512),
        )
    ]
    speeds = [_prefill(each) for each in asked]
    assert speeds == sorted(speeds)
    assert speeds[0] < speeds[-1]


@given(st.integers(8192, 14_000), st.integers(1, 2000))
@settings(max_examples=8)
def test_cache_of_experts_helps_decode_alone(mib: int, more: int) -> None:
    """--moe-cache-mib serves part of the host's experts from the GPU, the more the larger it is, and
    prompts as before.
    """
    plain, small, large = (
        question(f"-ngl 99 -cmoe{each}")
        for each in ("", f" --moe-cache-mib {mib}", f" --moe-cache-mib {mib + more}")
    )
    assert _decode(plain) < _decode(small) <= _decode(large) * (1 + 1e-9)
    assert _prefill(small) == pytest.approx(_prefill(plain))


def _same_rate(host: RuntimeHost) -> float:
    """What a probe of the memory gives where experts are read as the datasheet's share says."""
    constants = shipped_constants()
    assert host.dram_bytes_per_s is not None
    share = constants.desktop_dram_fraction / constants.desktop_probe_fraction
    return host.dram_bytes_per_s * share


def test_assumption_is_one_that_matters() -> None:
    """With all experts on the CPU, decoding rests most on what the CPU's memory reaches or on
    crossings; a change is not nothing.
    """
    speed = predict(question("-ngl 99 -cmoe", model=deepseek())).decode
    assert speed.limit == "cpu_experts"
    assert abs(speed.assumption.change_fraction) > 0.02


def test_constants_are_documented() -> None:
    """Every constant of the file is one that prices use, with its meaning and source, near its
    prior.
    """
    file = shipped()
    assert set(file.constants) == set(NAMES)
    for constant in file.constants.values():
        assert constant.meaning
        assert constant.source
        assert abs(np.log(constant.value / constant.prior)) < 4 * constant.prior_spread


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Q4_K_M", FormatFamily.K),
        ("UD-Q2_K_XL", FormatFamily.K),
        ("Q8_0", FormatFamily.LEGACY),
        ("MXFP4", FormatFamily.LEGACY),
        ("IQ4_XS", FormatFamily.LEGACY),
        ("IQ2_XXS", FormatFamily.CODEBOOK),
        ("UD-IQ1_M", FormatFamily.CODEBOOK),
        ("IQ4_K_R4", FormatFamily.IQ_K),
        ("mix-IQ3_K", FormatFamily.IQ_K),
        ("IQ4_KS", FormatFamily.IQ_K),
        ("IQ2_KT", FormatFamily.TRELLIS),
        ("BF16", FormatFamily.WIDE),
        ("INT8", FormatFamily.LEGACY),
    ],
)
def test_families_by_name(name: str, family: FormatFamily) -> None:
    """The family of a public name."""
    assert format_family(name) is family
    assert is_interleaved(name) is ("R4" in name)


def _gpu_attention_s(line: str, runtime: str, tokens: int, build: int) -> float:
    asked = question(line, runtime=runtime)
    deep = replace(asked, context_tokens=tokens, build=build)
    return float(decode_seconds(steps_of(deep).decode, shipped_constants()).gpu_attention)


def test_a_quantised_cache_is_not_cheaper_on_a_gpu() -> None:
    """Grouped kernels convert it: 34/32 + 2 + 2 bytes for each element, against 2 of f16.

    Kernels for one query head unpack it anew for each: as many bytes as f16.
    """
    line = "-ngl 99 -cmoe -fa 1"
    quantised = f"{line} -ctk q8_0 -ctv q8_0"
    grouped = _gpu_attention_s(line, "ik_llama.cpp", 32768, 400)
    converted = _gpu_attention_s(quantised, "ik_llama.cpp", 32768, 400)
    assert converted / grouped == pytest.approx((34 / 32 + 4) / 2)
    old = _gpu_attention_s(line, "ik_llama.cpp", 32768, 300)
    unpacked = _gpu_attention_s(quantised, "ik_llama.cpp", 32768, 300)
    assert unpacked == pytest.approx(old)
    assert old > grouped
    assert _gpu_attention_s(quantised, "llama.cpp", 32768, 10**9) > _gpu_attention_s(
        line, "llama.cpp", 32768, 10**9
    )


def test_attention_follows_its_matrices_to_the_gpu() -> None:
    """Where a prompt uploads the matrices of attention, its cache is copied along, unless -nkvo."""
    uploaded = steps_of(question("-ngl 0")).prefill.work
    held = steps_of(question("-ngl 0 -nkvo")).prefill.work
    assert uploaded.cpu_attention_flops == 0 < uploaded.gpu_attention_s
    assert held.gpu_attention_s == 0 < held.cpu_attention_flops
    assert uploaded.upload_s > held.upload_s


def test_compressed_caches_are_expanded_for_prompts() -> None:
    """ik_llama.cpp makes keys and values of all heads for 128 tokens and more, but for -mla 1;
    llama.cpp never does.
    """
    line = "-ngl 99 -ot exps=CPU -fa on"
    whole = question(line, runtime="ik_llama.cpp", model=deepseek())
    few = replace(whole, prompt_tokens=127)
    absorbed = question(f"{line} -mla 1", runtime="ik_llama.cpp", model=deepseek())
    other = question(line, model=deepseek())
    expanded = [steps_of(asked).prefill for asked in (whole, few, absorbed, other)]
    assert [step.is_cache_expanded for step in expanded] == [True, False, False, False]
    assert [step.work.gpu_expansion_s > 0 for step in expanded] == [True, False, False, False]


@pytest.mark.parametrize("runtime", ["llama.cpp", "ik_llama.cpp"])
def test_a_compressed_cache_on_the_cpu_is_bound_by_its_products(runtime: str) -> None:
    """Every head's query meets each row of the cache: by hand, where reading takes no time.

    576 weights of a row for the score and 512 for the value, in each of 128 heads and 61 layers.
    """
    asked = question("-ngl 0 -fa off", runtime=runtime, model=load_model("deepseek-v3", "Q4_K_M"))
    deep = replace(asked, context_tokens=32_000)
    step = steps_of(deep).decode
    unread = replace(step, work=replace(step.work, cpu_kv_bytes=0.0))
    constants = shipped_constants()
    own = constants.optimised_flops_per_core_s
    rate = own if runtime == "ik_llama.cpp" else constants.plain_flops_per_core_s
    by_hand = 2 * 61 * 128 * (576 + 512) * 32_000 / (rate * 1e9 * step.cores)
    assert decode_seconds(unread, constants).cpu_attention == pytest.approx(by_hand, rel=0.01)
    assert decode_seconds(step, constants).cpu_attention >= by_hand * 0.99


@pytest.mark.parametrize("line", ["-ngl 0 -mla 0 -fa off", "-ngl 0 -mla 0 -fa on"])
def test_other_caches_on_the_cpu_are_read(line: str) -> None:
    """Keys and values of each head meet its own query alone, so reading them takes longer."""
    step = steps_of(question(line, runtime="ik_llama.cpp", model=deepseek())).decode
    constants = shipped_constants()
    faster = replace(constants, optimised_flops_per_core_s=1e9, plain_flops_per_core_s=1e9)
    seconds = decode_seconds(step, constants).cpu_attention
    assert seconds > 0
    assert decode_seconds(step, faster).cpu_attention == seconds


def test_products_hide_reading_on_the_cpu() -> None:
    """Experts of a prompt take less than products and reading one after the other, and not less
    than either.
    """
    step = steps_of(question("-ngl 99 -cmoe -nopo")).prefill
    constants = shipped_constants()
    seconds = prefill_seconds(step, constants).cpu_experts
    read_only = replace(step, work=replace(step.work, cpu_expert_weights=0.0))
    computed_only = replace(step, work=replace(step.work, cpu_expert_bytes=0.0))
    reading = prefill_seconds(read_only, constants).cpu_experts
    computing = prefill_seconds(computed_only, constants).cpu_experts
    assert max(reading, computing) <= seconds < reading + computing


def test_vnni_is_what_avx512_adds() -> None:
    """ik_llama.cpp runs its AVX2 kernels where AVX-512 has no dot products of bytes."""
    line = "-ngl 99 -ot exps=CPU -rtr -fa on"
    speeds = {
        vector: _prefill(
            question(line, runtime="ik_llama.cpp", host=_faster(vector=vector, vector_bits=512))
        )
        for vector in (Vector.AVX2, Vector.AVX512, Vector.VNNI)
    }
    assert speeds[Vector.AVX2] == pytest.approx(speeds[Vector.AVX512])
    assert speeds[Vector.VNNI] > 1.5 * speeds[Vector.AVX512]


def test_old_builds_launch_kernels_for_each_expert() -> None:
    """ik_llama.cpp before its pull request 728, and attention before 370, were slower."""
    asked = question("-ngl 99 -fa on", runtime="ik_llama.cpp")
    speeds = [_prefill(replace(asked, build=build)) for build in (369, 727, 728)]
    assert speeds == sorted(speeds)
    assert len(set(speeds)) == len(speeds)


@given(st.floats(20e9, 500e9), st.integers(1, 48))
@settings(max_examples=20)
def test_a_measured_rate_makes_the_range_narrower(bytes_per_s: float, layers: int) -> None:
    """A probe of the memory has a narrower spread than its datasheet, the more layers rest on it."""
    host = _faster(dram_bytes_per_s=bytes_per_s)
    line = f"-ngl 99 -ncmoe {layers}"
    datasheet = predict(question(line, host=host)).decode
    probed = predict(question(line, host=replace(host, probe_bytes_per_s=_same_rate(host)))).decode
    assert (
        probed.high_tokens_per_s / probed.tokens_per_s
        < datasheet.high_tokens_per_s / datasheet.tokens_per_s
    )


def test_spread_of_one_constant_is_its_share() -> None:
    """A step that is all upload has the link's spread, beside the law's own."""
    file = shipped()
    spread = stated_spread(
        lambda constants: 3.0 / constants.link_fraction, shipped_constants(), file, "prefill"
    )
    link = file.constants["link_fraction"].prior_spread
    assert spread == pytest.approx(np.hypot(link, file.own_spreads["prefill"].value))


def test_other_makers_have_wider_ranges() -> None:
    """The constants of GPUs are mostly of NVIDIA's cards, so others' work has a spread of its own."""
    other = _faster(gpus=(replace(GPU, is_nvidia=False),))
    known = predict(question("-ngl 99")).decode
    unknown = predict(question("-ngl 99", host=other)).decode
    factor = shipped_constants().other_maker_factor
    assert unknown.tokens_per_s == pytest.approx(known.tokens_per_s / factor)
    reaches = [each.high_tokens_per_s / each.tokens_per_s for each in (unknown, known)]
    assert reaches[0] > 1.2 * reaches[1]


PLACES = st.sampled_from(LINES) | st.integers(0, 48).map(lambda count: f"-ngl 99 -ncmoe {count}")
FACTORS = st.floats(1, 16)
BETTER: dict[str, Callable[[float], RuntimeHost]] = {
    "memory": lambda factor: _faster(dram_bytes_per_s=80e9 * factor),
    "clock": lambda factor: _faster(clock_hz=4.5e9 * factor),
    "GPU memory": lambda factor: _faster(gpus=(replace(GPU, bytes_per_s=1000e9 * factor),)),
    "GPU peak": lambda factor: _faster(gpus=(replace(GPU, flops_per_s=100e12 * factor),)),
    "link": lambda factor: _faster(gpus=(replace(GPU, link_bytes_per_s=25e9 * factor),)),
}


@given(part=st.sampled_from(sorted(BETTER)), line=PLACES, factor=FACTORS)
@settings(max_examples=40)
def test_a_better_part_is_never_slower(part: str, line: str, factor: float) -> None:
    """Neither phase loses by a faster part, wherever the model lies."""
    better = predict(question(line, host=BETTER[part](factor)))
    plain = predict(question(line))
    assert better.decode.tokens_per_s >= plain.decode.tokens_per_s * (1 - 1e-9)
    assert better.prefill.tokens_per_s >= plain.prefill.tokens_per_s * (1 - 1e-9)


DEPTHS = st.integers(0, 60_000)


@given(line=PLACES, depth=DEPTHS, more=st.integers(1, 60_000))
@settings(max_examples=40)
def test_depth_is_never_faster(line: str, depth: int, more: int) -> None:
    """Decoding and reading a prompt take longer the more tokens came before."""
    shallow, deep = (
        predict(replace(question(line), context_tokens=tokens, prompt_context_tokens=tokens))
        for tokens in (1 + depth, 1 + depth + more)
    )
    assert deep.decode.tokens_per_s <= shallow.decode.tokens_per_s * (1 + 1e-9)
    assert deep.prefill.tokens_per_s <= shallow.prefill.tokens_per_s * (1 + 1e-9)


@given(st.integers(0, 48), st.integers(0, 48))
@settings(max_examples=40)
def test_decode_falls_with_layers_on_the_cpu(count: int, other: int) -> None:
    """Each layer whose experts stay on the CPU costs its reads and two crossings."""
    fewer, more = (_decode(question(f"-ngl 99 -ncmoe {each}")) for each in sorted((count, other)))
    assert more <= fewer
    assert (more == fewer) == (count == other)


@given(st.lists(PLACES, min_size=1, max_size=5), DEPTHS, st.integers(1, 8192))
@settings(max_examples=40)
def test_parts_are_not_negative(lines: list[str], depth: int, tokens: int) -> None:
    """No part of a step takes negative time, in either phase; steps priced as arrays cost what each
    costs alone.
    """
    asked = [
        steps_of(
            replace(
                question(line),
                context_tokens=depth + 1,
                prompt_context_tokens=depth,
                prompt_tokens=tokens,
            )
        )
        for line in lines
    ]
    constants = shipped_constants()
    for price, steps in (
        (decode_seconds, [each.decode for each in asked]),
        (prefill_seconds, [each.prefill for each in asked]),
    ):
        alone = [price(step, constants) for step in steps]
        for seconds in alone:
            assert all(float(getattr(seconds, item.name)) >= 0 for item in fields(Seconds))
        together = price(stacked(steps), constants).total
        assert np.allclose(together, [float(seconds.total) for seconds in alone])


@given(st.integers(32, 4096), st.integers(1, 8192))
@settings(max_examples=40)
def test_uploads_cost_once_a_micro_batch(micro_batch: int, tokens: int) -> None:
    """As many micro-batches as the prompt needs; each uploads no more than all experts."""
    line = f"-ngl 99 -cmoe -b 8192 -ub {micro_batch}"
    prompt = steps_of(replace(question(line), prompt_tokens=tokens))
    whole_s = 48 * 128 * qwen().expert_bytes / GPU.link_bytes_per_s
    assert prompt.prefill.micro_batches == -(-tokens // micro_batch)
    assert prompt.uploads == (min(tokens, micro_batch) >= 32)
    upload_s = float(prompt.prefill.work.upload_s)
    assert 0 <= upload_s <= prompt.prefill.micro_batches * whole_s * (1 + 1e-9)
    assert (upload_s > 0) == prompt.uploads
