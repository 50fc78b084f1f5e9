"""Checkpoints of transformers, loaded and run by the backend: the same logits and the same tokens
as transformers' own code.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")
pytest.importorskip("safetensors", reason="needs safetensors, from the extra `validate`")
transformers = pytest.importorskip("transformers", reason="needs transformers, from the extra `hf`")

from hwprofiles import InputError
from sim.policies import POLICIES
from sim.routing import uniform
from sim.step.simulate import Scenario, problem_of
from sim.workload.batch import Batch, forward_passes
from tests.sim.small import small_machine
from validation.backend import (
    Checkpoint,
    RunInputs,
    Tier,
    execute_policy,
    load_checkpoint,
    plain_forward,
)
from validation.comparison.trial import as_executed

BATCH = Batch(prompt_tokens=7, output_tokens=6, batch_size=2)
SHARED: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
}
QWEN = {"num_experts": 6, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 40}
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_group": 4,
    "topk_group": 2,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("Mixtral", {"num_local_experts": 4, "rms_norm_eps": 1e-5}),
    "mixtral-window": ("Mixtral", {"num_local_experts": 4, "sliding_window": 5}),
    "qwen2-moe": ("Qwen2Moe", QWEN),
    "qwen2-moe-normalized-and-dense": (
        "Qwen2Moe",
        QWEN | {"norm_topk_prob": True, "mlp_only_layers": [0]},
    ),
    "qwen3-moe": (
        "Qwen3Moe",
        {
            "num_experts": 6,
            "moe_intermediate_size": 16,
            "head_dim": 12,
            "norm_topk_prob": True,
            "mlp_only_layers": [1],
        },
    ),
    "deepseek-v2": (
        "DeepseekV2",
        LATENT | {"q_lora_rank": None, "topk_method": "greedy", "n_group": 1, "topk_group": 1},
    ),
    "deepseek-v2-groups": (
        "DeepseekV2",
        LATENT
        | {"q_lora_rank": 20, "topk_method": "group_limited_greedy", "routed_scaling_factor": 2.5},
    ),
    "deepseek-v3": (
        "DeepseekV3",
        LATENT | {"q_lora_rank": 20, "routed_scaling_factor": 2.5, "norm_topk_prob": True},
    ),
    "qwen2-moe-tied": ("Qwen2Moe", QWEN | {"tie_word_embeddings": True}),
}


@pytest.fixture(scope="module", params=CASES)
def saved(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    """A random model of transformers and the folder it is saved in, in several shards."""
    family, more = CASES[request.param]
    torch.manual_seed(5)
    config = getattr(transformers, f"{family}Config")(**SHARED | more)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)  # zero at birth, which would hide a bias left out
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            torch.nn.init.normal_(buffer, std=0.1)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder, max_shard_size="60KB")
    return model, folder


def test_logits_equal_those_of_transformers(saved: tuple[Any, Path]) -> None:
    """Prefill and greedy decode, with our cache against none of theirs."""
    theirs, folder = saved
    checkpoint = load_checkpoint(folder)
    prompts = torch.randint(
        SHARED["vocab_size"],
        (BATCH.batch_size, BATCH.prompt_tokens),
        generator=torch.Generator().manual_seed(1),
    )
    tokens = prompts
    ours = plain_forward(
        checkpoint.weights, BATCH, forward_passes(BATCH, POLICIES["on-demand"].feeding), prompts
    )
    for logits in ours.logits_SV:
        with torch.inference_mode():
            expected = theirs(tokens, use_cache=False).logits[:, -1]
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
        tokens = torch.cat([tokens, expected.argmax(dim=-1, keepdim=True)], dim=1)
    assert torch.equal(ours.tokens_SC, tokens)


@pytest.mark.parametrize("policy", ["ktransformers", "on-demand", "zero-streaming"])
def test_policies_equal_transformers(saved: tuple[Any, Path], policy: str) -> None:
    """The weights of a checkpoint, spread over the machine, choose the tokens that transformers
    chooses.
    """
    theirs, folder = saved
    checkpoint = load_checkpoint(folder)
    prompts = torch.randint(
        SHARED["vocab_size"],
        (BATCH.batch_size, BATCH.prompt_tokens),
        generator=torch.Generator().manual_seed(2),
    )
    executed = _executed(checkpoint, policy, prompts)
    tokens = prompts
    for _ in range(BATCH.output_tokens):
        with torch.inference_mode():
            tokens = torch.cat(
                [
                    tokens,
                    theirs(tokens, use_cache=False).logits[:, -1].argmax(dim=-1, keepdim=True),
                ],
                dim=1,
            )
    assert torch.equal(executed, tokens)


def test_problems_of_a_checkpoint_are_named(tmp_path: Path, saved: tuple[Any, Path]) -> None:
    """No configuration, an unknown family, no tensors, a tensor of another shape: one line each."""
    _, folder = saved
    with pytest.raises(InputError, match=r"config\.json"):
        load_checkpoint(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "other"}))
    with pytest.raises(InputError, match="'other' is not executed"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"no \*\.safetensors"):
        load_checkpoint(tmp_path)
    for path in folder.glob("*.safetensors"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 95}))
    with pytest.raises(InputError, match="its configuration says"):
        load_checkpoint(tmp_path)


def _executed(checkpoint: Checkpoint, name: str, prompts: Any) -> Any:
    policy, model = as_executed(POLICIES[name], Tier.FREE), checkpoint.model
    scenario = Scenario(
        machine=small_machine(1e9),
        model=model,
        batch=BATCH,
        policy=policy,
        routing=uniform(),
        slots_per_layer=2,
    )
    problem = problem_of(scenario)
    residency = policy.placement.place(problem)
    inputs = RunInputs(weights=checkpoint.weights, prompts_SL=prompts)  # type: ignore[arg-type]
    executed = execute_policy(policy, problem, residency, inputs, tier=Tier.FREE)
    assert isinstance(executed.expert_ids, np.ndarray)
    return executed.tokens_SC
