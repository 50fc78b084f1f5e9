"""Replay a routing trace: the experts that each token selected, token by token, in order.

The script makes its own trace. Yours comes from `rosin routing import`, or has the same arrays.
"""

import numpy as np

import rosin

NUM_TOKENS, NUM_LAYERS, NUM_EXPERTS, TOP_K = 40, 32, 8, 2

chances = np.random.default_rng(0).dirichlet(np.full(NUM_EXPERTS, 0.5), NUM_LAYERS)
noise = np.random.default_rng(1).gumbel(size=(NUM_TOKENS, NUM_LAYERS, NUM_EXPERTS))
ranked = np.argsort(-(np.log(chances) + noise), axis=2)
np.savez("trace.npz", expert_ids=ranked[:, :, :TOP_K].astype(np.uint8), num_experts=NUM_EXPERTS)

for policy in ("lru", "on-demand"):
    run = rosin.simulate(
        "mixtral-8x7b",
        "desktop-rtx-4090-ddr5",
        policy,
        routing="trace.npz",
        prompt_tokens=32,
        output_tokens=8,
    )
    print(run, f"{run.metrics.expert_hit_rate:.0%} of selections found on the GPU")
