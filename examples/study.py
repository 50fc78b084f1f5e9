"""Ask what a faster link and more memory would change. Finished points are kept in a folder."""

import rosin

found = rosin.study(
    "mixtral-8x7b",
    "desktop-rtx-4090-ddr5",
    {"link.h2d.bytes_per_s": [12e9, 25e9, 50e9], "gpu.memory_bytes": [24e9, 48e9]},
    folder="out/study",
    prompt_tokens=16,
    output_tokens=4,
    draws=1,
)
print(found)
columns = ["link.h2d.bytes_per_s", "gpu.memory_bytes", "policy", "output_tokens_per_s"]
print(found.to_frame()[columns].to_string(index=False))
print("written:", found.save("study.png"))
