"""Compare HybriMoE's speed with KTransformers', on HybriMoE's testbed."""

from statistics import mean

from hwprofiles import InputError, load_machine
from sim.costs.memory import Infeasible
from sim.memo import remembered
from sim.model.library import load_model
from sim.policies import find_policy
from sim.routing import load_routing
from sim.step.metrics import Metrics
from sim.step.simulate import Scenario, simulate
from sim.workload.batch import Batch
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import Cell, Table

MACHINE = "RTX A6000 + Xeon Gold 5220R + 6x32GB DDR4-2666"
"""The testbed. The paper limits the CPU to 10 of its cores, and does not state its memory."""
MODELS = ("mixtral-8x7b", "deepseek-v2-lite")
QUANTIZATION = "Q4_K_M"
RESIDENT_FRACTIONS = (0.25, 0.5, 0.75)
"""The resident shares of every layer's experts, as in the paper's figures."""
BATCH = Batch(prompt_tokens=128, output_tokens=32)
MOST_RUNS = 128

ASSUMPTIONS = (
    "Mean of Mixtral-8x7B and DeepSeek-V2-Lite with 25, 50 and 75 % of the experts resident; the paper's third model, Qwen2-57B-A14B, is "
    "not in the library. Q4_K_M, 128 prompt and 32 output tokens, routing as shipped. KTransformers is its placement by number, "
    "`kt-uniform`, which never moves an expert. The paper's 10 cores are not imposed: the CPU's experts are bound by DRAM."
)


def speed_table(seed: int) -> Table:
    """Return KTransformers' time over HybriMoE's, as a mean over models and shares.

    Each model and share stands beside.
    """
    rows = published_rows("validation.published.hybrimoe", "speeds.csv")
    return Table(
        name="speeds",
        title="Speed against KTransformers",
        assumptions=ASSUMPTIONS,
        cells=tuple(_cell(row, seed) for row in rows),
    )


def _cell(row: PublishedRow, seed: int) -> Cell:
    quantity = row.quantity.replace("_ratio", "_s")
    compared = {
        f"{model}, {share:.0%} resident": _ratio(quantity, model, share, seed)
        for model in MODELS
        for share in RESIDENT_FRACTIONS
    }
    return cell_of(row, mean(compared.values()), comparisons=compared)


def _ratio(quantity: str, model: str, share: float, seed: int) -> float:
    slow, fast = (_run(name, model, share, seed) for name in ("kt-uniform", "hybrimoe"))
    return float(getattr(slow, quantity) / getattr(fast, quantity))


# TTFT and TPOT come from the same runs, which both rows ask for.
@remembered(MOST_RUNS)
def _run(policy: str, model_name: str, share: float, seed: int) -> Metrics:
    model = load_model(model_name, QUANTIZATION)
    found = simulate(
        Scenario(
            machine=load_machine(MACHINE),
            model=model,
            batch=BATCH,
            policy=find_policy(policy),
            routing=load_routing(None, model),
            seed=seed,
            slots_per_layer=round(model.num_experts * share),
        )
    )
    if isinstance(found, Infeasible):
        raise InputError(f"{policy} on {MACHINE}: {found.reason}")
    return found.metrics
