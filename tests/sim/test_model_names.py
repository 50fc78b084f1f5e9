"""Names of models as people write them: repositories, files, tags, with dates, variants, schemes."""

from pathlib import Path

import pytest
import yaml

from hwprofiles import InputError
from sim.model.library import load_model, load_spec, model_names

NAMES = """
Qwen/Qwen3-30B-A3B qwen3-30b-a3b 16bit
Qwen/Qwen3-30B-A3B-FP8 qwen3-30b-a3b fp8
Qwen/Qwen3-30B-A3B-Instruct-2507 qwen3-30b-a3b 16bit
Qwen/Qwen3-30B-A3B-Thinking-2507-FP8 qwen3-30b-a3b fp8
Qwen/Qwen3-30B-A3B-GPTQ-Int4 qwen3-30b-a3b GPTQ-4bit
Qwen3-30B-A3B-Instruct-2507-UD-Q4_K_XL.gguf qwen3-30b-a3b UD-Q4_K_XL
Qwen_Qwen3-30B-A3B-Instruct-2507-Q4_K_M.gguf qwen3-30b-a3b Q4_K_M
unsloth/Qwen3-30B-A3B-GGUF:Q4_K_M qwen3-30b-a3b Q4_K_M
hf.co/unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF:UD-Q4_K_XL qwen3-30b-a3b UD-Q4_K_XL
https://huggingface.co/Qwen/Qwen3-VL-30B-A3B-Instruct qwen3-30b-a3b 16bit
qwen3:30b-a3b qwen3-30b-a3b 16bit
qwen3:30b-a3b-q4_K_M qwen3-30b-a3b Q4_K_M
qwen3:30b qwen3-30b-a3b 16bit
qwen3-coder:30b qwen3-30b-a3b 16bit
mlx-community/Qwen3-30B-A3B-4bit qwen3-30b-a3b 4bit
lmstudio-community/Qwen3-Coder-30B-A3B-Instruct-MLX-4bit qwen3-30b-a3b 4bit
mradermacher/Qwen3-30B-A3B-abliterated-i1-GGUF qwen3-30b-a3b 16bit
Qwen3-30B-A3B-128K-IQ4_XS.gguf qwen3-30b-a3b IQ4_XS
Alibaba-NLP/Tongyi-DeepResearch-30B-A3B qwen3-30b-a3b 16bit
Qwen/Qwen3-235B-A22B-Instruct-2507-FP8 qwen3-235b-a22b fp8
Qwen3-235B-A22B-UD-Q2_K_XL-00001-of-00002.gguf qwen3-235b-a22b UD-Q2_K_XL
nvidia/Qwen3-235B-A22B-NVFP4 qwen3-235b-a22b NVFP4
Qwen/Qwen3-VL-235B-A22B-Thinking qwen3-235b-a22b 16bit
qwen3:235b qwen3-235b-a22b 16bit
ubergarm/Qwen3-235B-A22B-GGUF:IQ3_K qwen3-235b-a22b IQ3_K
Qwen/Qwen3-Next-80B-A3B-Instruct-FP8 qwen3-next-80b-a3b fp8
Qwen3-Next-80B-A3B-Thinking-UD-Q4_K_XL.gguf qwen3-next-80b-a3b UD-Q4_K_XL
Qwen/Qwen3-Coder-Next qwen3-next-80b-a3b 16bit
Qwen/Qwen3.5-35B-A3B qwen3.5-35b-a3b 16bit
Qwen/Qwen3.6-35B-A3B-FP8 qwen3.6-35b-a3b fp8
Qwen3.6-35B-A3B-UD-Q4_K_XL.gguf qwen3.6-35b-a3b UD-Q4_K_XL
qwen3.6:35b-a3b qwen3.6-35b-a3b 16bit
nvidia/Qwen3.5-397B-A17B-NVFP4 qwen3.5-397b-a17b NVFP4
Qwen/Qwen1.5-MoE-A2.7B-Chat qwen1.5-moe-a2.7b 16bit
Qwen/Qwen1.5-MoE-A2.7B-Chat-GPTQ-Int4 qwen1.5-moe-a2.7b GPTQ-4bit
Qwen/Qwen2-57B-A14B-Instruct qwen2-57b-a14b 16bit
Qwen/Qwen2.5-72B-Instruct-AWQ qwen2.5-72b AWQ
qwen2.5:72b qwen2.5-72b 16bit
Qwen/Qwen3-8B-FP8 qwen3-8b fp8
zai-org/GLM-4.6 glm-4.6 16bit
zai-org/GLM-4.5-FP8 glm-4.6 fp8
unsloth/GLM-4.6-GGUF:UD-Q2_K_XL glm-4.6 UD-Q2_K_XL
ubergarm/GLM-4.6-GGUF:smol-IQ4_KSS glm-4.6 smol-IQ4_KSS
nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8 nemotron-3-super-120b-a12b fp8
deepseek-ai/DeepSeek-V4-Pro deepseek-v4-pro fp8-mxfp4
RedHatAI/Qwen3-30B-A3B-quantized.w4a16 qwen3-30b-a3b GPTQ-4bit
Intel/Qwen3-30B-A3B-int4-AutoRound qwen3-30b-a3b INT4
baidu/ERNIE-4.5-21B-A3B-PT ernie-4.5-21b-a3b 16bit
baidu/ERNIE-4.5-300B-A47B-PT ernie-4.5-300b-a47b 16bit
Qwen/Qwen3-14B-AWQ qwen3-14b AWQ
qwen3:14b qwen3-14b 16bit
Qwen/Qwen3-4B-Instruct-2507 qwen3-4b 16bit
Qwen/Qwen3-VL-8B-Instruct-FP8 qwen3-8b fp8
Qwen/Qwen2-57B-A14B-Instruct-GPTQ-Int4 qwen2-57b-a14b GPTQ-4bit
tencent/Hunyuan-A13B-Instruct-FP8 hunyuan-a13b fp8
ibm-granite/granite-4.0-h-small-GGUF:Q4_K_M granite-4.0-h-small Q4_K_M
granite4:tiny-h granite-4.0-h-tiny 16bit
inclusionAI/Ring-flash-2.0 ling-flash-2.0 16bit
inclusionAI/Ring-1T-FP8 ling-1t fp8
inclusionAI/Ling-mini-base-2.0 ling-mini-2.0 16bit
moonshotai/Kimi-Linear-48B-A3B-Instruct kimi-linear-48b-a3b 16bit
rednote-hilab/dots.llm1.inst dots.llm1 16bit
unsloth/dots.llm1.inst-GGUF:UD-Q4_K_XL dots.llm1 UD-Q4_K_XL
ai21labs/AI21-Jamba-Mini-1.7 jamba-mini 16bit
ai21labs/AI21-Jamba-Large-1.6-FP8 jamba-large fp8
databricks/dbrx-instruct dbrx 16bit
xai-org/grok-2 grok-2 16bit
google/gemma-3-27b-it gemma-3-27b 16bit
gemma3:12b-it-q4_K_M gemma-3-12b Q4_K_M
deepseek-ai/DeepSeek-Coder-V2-Instruct deepseek-v2 16bit
nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-NVFP4 nemotron-3-ultra-550b-a55b NVFP4
MiniMaxAI/MiniMax-M3 minimax-m3 16bit
unsloth/Mistral-Small-4-119B-2603-GGUF:UD-Q5_K_XL mistral-small-4-119b UD-Q5_K_XL
upstage/Solar-Open-100B solar-open-100b 16bit
tencent/Hy3-preview-FP8 hy3-preview fp8
phi3.5-moe phi-3.5-moe 16bit
qwen-3-30b-a3b qwen3-30b-a3b 16bit
kimi-k2:1t kimi-k2 fp8
olmoe:7b olmoe-1b-7b 16bit
deepseek-ai/DeepSeek-R1-0528-Qwen3-8B qwen3-8b 16bit
deepseek-ai/DeepSeek-R1 deepseek-v3 fp8
deepseek-ai/DeepSeek-R1-0528 deepseek-v3 fp8
deepseek-ai/DeepSeek-V3-0324 deepseek-v3 fp8
deepseek-ai/DeepSeek-V3.1 deepseek-v3 fp8
deepseek-ai/DeepSeek-V3.1-Terminus deepseek-v3 fp8
deepseek-ai/DeepSeek-V3.1-Base deepseek-v3 fp8
DeepSeek-R1-UD-Q2_K_XL.gguf deepseek-v3 UD-Q2_K_XL
DeepSeek-R1-0528-Q4_K_M-00001-of-00009.gguf deepseek-v3 Q4_K_M
DeepSeek-V3-0324-IQ2_K_R4.gguf deepseek-v3 IQ2_K_R4
deepseek-r1:671b deepseek-v3 fp8
deepseek-v3:671b-q4_K_M deepseek-v3 Q4_K_M
tngtech/DeepSeek-TNG-R1T2-Chimera deepseek-v3 fp8
perplexity-ai/r1-1776 deepseek-v3 fp8
nvidia/DeepSeek-V3.1-NVFP4 deepseek-v3 NVFP4
cognitivecomputations/DeepSeek-R1-AWQ deepseek-v3 AWQ
deepseek-ai/DeepSeek-V2-Lite-Chat deepseek-v2-lite 16bit
deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct deepseek-v2-lite 16bit
DeepSeek-Coder-V2-Lite-Instruct-Q8_0.gguf deepseek-v2-lite Q8_0
deepseek-coder-v2:16b deepseek-v2-lite 16bit
deepseek-ai/DeepSeek-V4-Flash deepseek-v4-flash fp8-mxfp4
openai/gpt-oss-20b gpt-oss-20b mxfp4
openai/gpt-oss-120b gpt-oss-120b mxfp4
ggml-org/gpt-oss-120b-GGUF gpt-oss-120b mxfp4
gpt-oss:20b gpt-oss-20b mxfp4
gpt-oss:120b gpt-oss-120b mxfp4
gpt-oss-20b-mxfp4.gguf gpt-oss-20b mxfp4
openai_gpt-oss-20b-MXFP4_MOE.gguf gpt-oss-20b MXFP4_MOE
gpt-oss-120b-F16.gguf gpt-oss-120b F16
openai/gpt-oss-safeguard-20b gpt-oss-20b mxfp4
mistralai/Mixtral-8x7B-v0.1 mixtral-8x7b 16bit
mistralai/Mixtral-8x7B-Instruct-v0.1 mixtral-8x7b 16bit
TheBloke/Mixtral-8x7B-Instruct-v0.1-GGUF:Q4_K_M mixtral-8x7b Q4_K_M
mixtral-8x7b-instruct-v0.1.Q4_K_M.gguf mixtral-8x7b Q4_K_M
mixtral:8x7b mixtral-8x7b 16bit
mixtral:8x22b-instruct-v0.1-q4_0 mixtral-8x22b Q4_0
NousResearch/Nous-Hermes-2-Mixtral-8x7B-DPO mixtral-8x7b 16bit
mistralai/Mixtral-8x22B-Instruct-v0.1 mixtral-8x22b 16bit
alpindale/WizardLM-2-8x22B mixtral-8x22b 16bit
zai-org/GLM-4.5-Air glm-4.5-air 16bit
zai-org/GLM-4.5-Air-FP8 glm-4.5-air fp8
GLM-4.5-Air-UD-Q4_K_XL-00001-of-00002.gguf glm-4.5-air UD-Q4_K_XL
cpatonn/GLM-4.5-Air-AWQ-4bit glm-4.5-air AWQ
zai-org/GLM-4.5V glm-4.5-air 16bit
zai-org/GLM-4.7-Flash glm-4.7-flash 16bit
GLM-4.7-Flash-Q4_K_M.gguf glm-4.7-flash Q4_K_M
zai-org/GLM-5 glm-5 16bit
zai-org/GLM-5.1-FP8 glm-5 fp8
zai-org/GLM-5.2 glm-5.2 16bit
GLM-5.2-UD-IQ2_M-00001-of-00006.gguf glm-5.2 UD-IQ2_M
moonshotai/Kimi-K2-Instruct-0905 kimi-k2 fp8
moonshotai/Kimi-K2-Thinking kimi-k2 fp8
moonshotai/Kimi-K2.5 kimi-k2 fp8
Kimi-K2-Instruct-UD-Q2_K_XL-00001-of-00008.gguf kimi-k2 UD-Q2_K_XL
MiniMaxAI/MiniMax-M2 minimax-m2 16bit
MiniMaxAI/MiniMax-M2.5 minimax-m2 16bit
MiniMax-M2.1-UD-Q3_K_XL.gguf minimax-m2 UD-Q3_K_XL
meta-llama/Llama-4-Scout-17B-16E-Instruct llama-4-scout 16bit
Llama-4-Scout-17B-16E-Instruct-UD-Q2_K_XL.gguf llama-4-scout UD-Q2_K_XL
llama4:scout llama-4-scout 16bit
meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8 llama-4-maverick fp8
meta-llama/Meta-Llama-3.1-8B-Instruct llama-3.1-8b 16bit
meta-llama/Llama-3.3-70B-Instruct llama-3.3-70b 16bit
unsloth/Llama-3.3-70B-Instruct-bnb-4bit llama-3.3-70b 4bit
llama3.3:70b llama-3.3-70b 16bit
deepseek-ai/DeepSeek-R1-Distill-Llama-70B llama-3.3-70b 16bit
meta-llama/Meta-Llama-3-70B-Instruct llama-3-70b 16bit
nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16 nemotron-3-nano-30b-a3b BF16
Nemotron-3-Nano-30B-A3B-UD-Q4_K_XL.gguf nemotron-3-nano-30b-a3b UD-Q4_K_XL
LiquidAI/LFM2-8B-A1B-GGUF lfm2-8b-a1b 16bit
LFM2-8B-A1B-Q4_K_M.gguf lfm2-8b-a1b Q4_K_M
microsoft/Phi-3.5-MoE-instruct phi-3.5-moe 16bit
allenai/OLMoE-1B-7B-0924-Instruct olmoe-1b-7b 16bit
ibm-granite/granite-3.1-3b-a800m-instruct granite-3-3b-a800m 16bit
ibm-granite_granite-3.1-1b-a400m-instruct-Q8_0.gguf granite-3-1b-a400m Q8_0
turboderp/Qwen3-30B-A3B-exl3-4.0bpw qwen3-30b-a3b EXL3-4.0bpw
Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8 qwen3-coder-480b-a35b fp8
Qwen/Qwen3.5-122B-A10B qwen3.5-122b-a10b 16bit
google/gemma-4-26B-A4B-it gemma-4-26b-a4b 16bit
gemma-4-26B-A4B-it-UD-Q4_K_XL.gguf gemma-4-26b-a4b UD-Q4_K_XL
XiaomiMiMo/MiMo-V2-Flash mimo-v2-flash 16bit
deepseek-ai/DeepSeek-V3.2 deepseek-v3.2 fp8
DeepSeek-V3.2-Exp-UD-Q2_K_XL-00001-of-00005.gguf deepseek-v3.2 UD-Q2_K_XL
qwen3:32b-q4_K_M qwen3-32b Q4_K_M
Qwen/Qwen3.6-27B-FP8 qwen3.5-27b fp8
Qwen/Qwen3.8-Flash-Next qwen3.8-flash-next 16bit
"""


@pytest.mark.parametrize("line", NAMES.strip().splitlines())
def test_a_name_stands_for_its_model_and_scheme(line: str) -> None:
    """Owner, date, variant and container are passed over; a scheme in the name is taken."""
    name, expected, quantization = line.split()
    model = load_model(name)
    assert (model.name, model.quantization.lower()) == (expected, quantization.lower())


def test_what_is_asked_for_goes_before_what_the_name_says() -> None:
    """``--quantization`` beside a name with a scheme."""
    model = load_model("Qwen/Qwen3-30B-A3B-FP8", "Q4_K_M")
    assert model == load_model("qwen3-30b-a3b", "Q4_K_M")


def test_a_file_goes_before_a_model_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is there is read, whatever its name stands for elsewhere."""
    monkeypatch.chdir(tmp_path)
    Path("qwen3-30b-a3b-q4_k_m.gguf").write_bytes(b"no")
    with pytest.raises(InputError, match="truncated"):
        load_model("qwen3-30b-a3b-q4_k_m.gguf")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("models/Qwen3-30B-A3B-Q4_K_M.gguf", "no model file models/Qwen3"),
        ("/models/qwen3-30b-a3b", "no model file /models/qwen3-30b-a3b"),
        ("./qwen3-30b-a3b", r"no model file \./qwen3-30b-a3b"),
        ("qwen3-30b-a3b.yaml", "no model file .*did you mean 'qwen3-30b-a3b'"),
        (
            "Qwen3-30B-A3B-UD-Q9_K_XL.gguf",
            "'qwen3-30b-a3b' is a model, but 'ud-q9_k_xl' is neither",
        ),
        (
            "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
            "'deepseek-v3' is a model, but 'distill-qwen-7b'",
        ),
        ("Qwen/Qwen3-5B-Instruct-2507", "did you mean 'qwen3-8b'"),
        ("liquidai/lfm3-moe-large-preview-x", "of that family: lfm2-8b-a1b"),
        ("arcee-ai/Trinity-Mini", "a config.json or GGUF file is read too"),
        ("Qwen/Qwen3-30B-A3", "did you mean 'qwen3-30b-a3b'"),
        ("Q4_K_M", "no model named 'Q4_K_M'"),
        ("gguf", "no model named 'gguf'"),
    ],
)
def test_another_name_is_refused_in_one_line(name: str, message: str) -> None:
    """What of a name is not understood, or the nearest one; a path is never taken for a name."""
    with pytest.raises(InputError, match=message) as caught:
        load_model(name)
    assert "\n" not in str(caught.value)


def test_no_name_stands_for_two_models() -> None:
    """Nor is one that of a model that ships by itself."""
    own = model_names()
    others = [name for model in own for name in load_spec(model).other_names]
    assert len(others) == len(set(others))
    assert not set(others) & set(own)


def test_other_names_survive_a_file(tmp_path: Path) -> None:
    """A copy of a shipped file may be edited; a name in capitals is refused, as none would find it."""
    data = load_spec("glm-5").model_dump(mode="json", exclude_defaults=True)
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump(data))
    assert load_spec(str(path)).other_names == ("glm-5.1",)
    path.write_text(yaml.safe_dump(data | {"other_names": ["GLM-5.1"]}))
    with pytest.raises(InputError, match="other_names"):
        load_spec(str(path))
