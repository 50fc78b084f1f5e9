"""The text under the options of a command's help: an example, and the names that options take.

The names are repeated here, because the help loads no library. A test compares them with the
libraries.
"""

from collections.abc import Mapping
from types import MappingProxyType

QUANTIZATIONS = tuple(
    """
    16bit 8bit 4bit 4bit-experts fp8 mxfp4 F32 F16 BF16 Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M
    Q4_K_S Q4_1 Q4_0 IQ4_NL IQ4_XS Q3_K_L Q3_K_M Q3_K_S IQ3_M IQ3_S IQ3_XS IQ3_XXS Q2_K Q2_K_S
    IQ2_M IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S MXFP4_MOE UD-Q8_K_XL UD-Q6_K_XL UD-IQ4_XS UD-IQ3_S
    UD-IQ3_XXS UD-IQ2_XS UD-Q2_0 UD-TQ1_0 UD-Q5_K_XL UD-Q4_K_XL UD-Q3_K_XL UD-Q2_K_XL UD-IQ2_M
    UD-IQ2_XXS UD-IQ1_M UD-IQ1_S Q6_K_L Q5_K_L Q4_K_L Q3_K_XL Q2_K_L IQ6_K IQ5_K IQ5_KS IQ4_K
    IQ4_K_R4 IQ4_KS IQ4_KSS IQ4_KS_R4 IQ4_KT IQ3_K IQ3_K_R4 IQ3_KS IQ3_KT IQ2_K IQ2_K_R4 IQ2_KS
    IQ2_KT IQ2_KL IQ1_KT IQ2_XS_R4 Q2_K_R4 DQ4_K_R4 mix-IQ3_K mix-IQ6_K AWQ GPTQ-4bit GPTQ-8bit
    NVFP4 INT8 INT4 FP4
    """.split()  # noqa: SIM905  # a name a line would take a page
)
RUNTIMES = ("llama.cpp", "ik_llama.cpp", "ktransformers", "vllm", "accelerate", "exllamav3")
ROUTINGS = ("mixtral-8x7b", "mixtral-8x7b-gates", "qwen3-next-80b-a3b")

_SMALL = "--model qwen3-30b-a3b --machine desktop-rtx-4090-ddr5"
EXAMPLES: Mapping[str, str] = MappingProxyType(
    {
        "machines": "rosin machines desktop-rtx-4090-ddr5",
        "models": "rosin models qwen3-30b-a3b",
        "policies": "rosin policies fiddler",
        "routing": "rosin routing stats mixtral-8x7b uniform --model mixtral-8x7b",
        "simulate": f"rosin simulate {_SMALL} --quantization Q4_K_M --policy llama.cpp",
        "compare": f"rosin compare {_SMALL} --policies fiddler,lru --figure policies.svg",
        "plan": f"rosin plan {_SMALL} --quantization Q4_K_M -o plan.yaml",
        "choose": f"rosin choose {_SMALL} --quantization Q4_K_M",
        "whatif": f"rosin whatif {_SMALL} --vary gpu.memory_bytes=12GB,24GB -o study",
        "export": "rosin export tiers.yaml --to lmcache",
        "caches": "rosin caches --models gpt-oss-20b --tokens 10000",
        "kv-plan": "rosin kv-plan --model llama-3.1-8b --machine h100 "
        "--workload lmbenchmark-long-in-short-out --requests 60 --kv-tier cpu=100GB",
        "kv-replay": "rosin kv-replay lmbenchmark-long-in-short-out --model llama-3.1-8b "
        "--figure hits.svg",
        "reproduce": "rosin reproduce fiddler -o out",
        "accuracy": "rosin accuracy rows.csv -o out",
        "measure": "rosin measure -o here.yaml --quick",
        "calibrate": "rosin calibrate plan.yaml --machine here.yaml -o calibrated.yaml",
        "validate": "rosin validate plan.yaml --device paced --quick",
        "prepare": "rosin prepare",
        "report": "rosin report plan.yaml -o report.html",
        "serve": "rosin serve --machine 'RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800'",
    }
)
"""An example of a command line for each command."""
LISTING = ("simulate", "compare", "plan", "whatif")
"""Commands whose help lists the names of quantisations and routings."""


def names(what: str, known: tuple[str, ...]) -> str:
    """The names of one kind, on one line that the help wraps."""
    return f"{what}: {', '.join(known)}."


_ROUTINGS = names("Routings", ("uniform", *ROUTINGS))


def epilog(command: str) -> str | None:
    """Return the text under a command's options, or None."""
    parts = []
    if command in LISTING:
        parts += [names("Quantisations", QUANTIZATIONS), _ROUTINGS]
    if command in ("simulate", "plan"):
        parts.append(names("Runtimes", RUNTIMES))
    if command in EXAMPLES:
        parts.append(f"\b\nExample: {EXAMPLES[command]}")
    return "\n\n".join(parts) or None


def root_epilog() -> str:
    """Return the text under the list of commands."""
    return "\n\n".join(
        [
            names("Quantisations", QUANTIZATIONS),
            _ROUTINGS,
            names("Runtimes", RUNTIMES),
            'Shell completion: eval "$(rosin --completion bash)", or zsh or fish in its place.',
        ]
    )
