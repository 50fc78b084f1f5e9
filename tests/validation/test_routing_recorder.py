"""The routing recorder on tiny Hugging Face models, built without downloading anything."""

from pathlib import Path

import numpy as np
import pytest

from hwprofiles import InputError
from sim.routing import load_trace

torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")
transformers = pytest.importorskip("transformers", reason="needs transformers, from the extra `hf`")

SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
}
SEQUENCES = ([1, 2, 3, 4, 5], [6, 7, 8])


def _tiny(kind: str):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    if kind == "mixtral":
        return transformers.MixtralForCausalLM(
            transformers.MixtralConfig(**SIZES, num_local_experts=8)
        ).eval()
    return transformers.OlmoeForCausalLM(transformers.OlmoeConfig(**SIZES, num_experts=8)).eval()


@pytest.mark.parametrize("kind", ["mixtral", "olmoe"])
def test_recorded_is_what_the_model_reports(kind: str, tmp_path: Path) -> None:
    """Ids and weights equal the top-k of the router logits that the model itself returns, and the
    file holds them.
    """
    from validation.routing_recorder import record_routing

    model = _tiny(kind)
    trace = record_routing(model, SEQUENCES, top_k=2, name=kind, path=tmp_path / "t.npz")
    first = 0
    for tokens in SEQUENCES:
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor([tokens]), output_router_logits=True
            ).router_logits
        for layer, layer_logits in enumerate(logits):
            weights, ids = torch.softmax(layer_logits.float(), dim=-1).topk(2)
            rows = slice(first, first + len(tokens))
            assert trace.expert_ids[rows, layer].tolist() == ids.tolist()
            assert trace.weights is not None
            assert np.allclose(trace.weights[rows, layer], weights.numpy(), atol=1e-6)
        first += len(tokens)
    loaded = load_trace(tmp_path / "t.npz")
    assert (loaded.expert_ids == trace.expert_ids).all()
    assert (loaded.borders.tolist(), loaded.num_experts) == ([0, 5, 8], 8)
    assert loaded.token_ids is not None
    assert loaded.token_ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_dense_model_is_refused() -> None:
    """No router, no trace."""
    from validation.routing_recorder import record_routing

    with pytest.raises(InputError, match="no module named gate or router"):
        record_routing(torch.nn.Linear(2, 2), SEQUENCES, top_k=2, name="dense")
