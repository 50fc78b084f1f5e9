"""Compare published systems on the same tokens, and draw where their time goes."""

import rosin

found = rosin.compare(
    "qwen3-30b-a3b",
    "desktop-rtx-3060-ddr4",
    ["fiddler", "ktransformers", "lru", "on-demand"],
    prompt_tokens=32,
    output_tokens=8,
    quantization="Q4_K_M",
)
print(found)
columns = ["policy", "output_tokens_per_s", "ttft_s", "expert_hit_rate", "busiest_resource"]
print(found.to_frame()[columns].to_string(index=False))
print("written:", found.save("compare.png"), found.save("compare.csv"))
