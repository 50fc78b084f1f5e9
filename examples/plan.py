"""Plan a model on a machine, and keep the plan: a file that `rosin simulate --plan` reads."""

import rosin

plan = rosin.plan(
    "mixtral-8x7b",
    "RTX 4090 + Ryzen 9 7950X + 2x32GB DDR5-4800",
    prompt_tokens=32,
    output_tokens=8,
    quantization="Q4_K_M",
    draws=2,
    has_bounds=False,
)
print(plan)
print(plan.policy.summary)
print(plan.to_frame().head(5).to_string(index=False))
print("written:", plan.save("plan.yaml"), plan.save("plan.png"))
