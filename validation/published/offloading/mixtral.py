"""Mixtral-Offloading's table of speeds: whole, and what its own rows leave beside copies."""

from collections.abc import Mapping
from dataclasses import replace

from hwprofiles import load_machine
from hwprofiles.units import NS_PER_MS, NS_PER_S
from sim.policies import Policy, find_policy, with_settings
from sim.workload.batch import Batch
from validation.published.fmoe.host_cost import layer_overhead_ns
from validation.published.offloading.runs import MACHINES, OffloadingRun
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import Cell, Table

ENVIRONMENTS = ("A100 80 GB", "RTX 3080 Laptop", "RTX 3060", "Tesla T4")
FULL = "2-bit experts"
WITHOUT_SPECULATION = "2-bit experts, no speculation"
WITHOUT_CACHE = "2-bit experts, no cache"

SLOTS: Mapping[str, int] = {"RTX 3060": 2}
"""Experts of a layer that the GPU holds where they are not 4: the paper's k for 12 and 16 GB."""

NUM_LAYERS = 32
MODEL = "mixtral-8x7b"
ASSUMPTIONS = (
    "The time of a layer that is not copies is what the row without cache and speculation leaves beside copying "
    "both experts of every layer, for each GPU; the two other rows follow from it. Q2_K as above."
)


def speed_cell(row: PublishedRow, seed: int) -> Cell:
    """The full algorithm with the loop of transformers as it was measured; beside it no speculation."""
    machine = load_machine(MACHINES[row.environment][0])
    loop_ns = layer_overhead_ns(MODEL, machine, has_hooks=False)
    without = {"no speculation": 1.0 / _tpot_s(row, WITHOUT_SPECULATION, loop_ns, seed)}
    return cell_of(row, 1.0 / _tpot_s(row, FULL, loop_ns, seed), comparisons=without)


def ablation_table(seed: int, environments: tuple[str, ...] = ENVIRONMENTS) -> Table:
    """Speeds with and without speculation, from the row of each GPU that has neither it nor a cache."""
    rows = {(row.environment, row.system): row for row in _rows()}
    cells = []
    for environment in environments:
        plain = rows[environment, WITHOUT_CACHE]
        copies_s = _tpot_s(plain, WITHOUT_CACHE, 0.0, seed)
        rest_ns = (1.0 / plain.value - copies_s) / NUM_LAYERS * NS_PER_S
        for system in (WITHOUT_SPECULATION, FULL):
            row = rows[environment, system]
            found = 1.0 / _tpot_s(row, system, rest_ns, seed)
            note = f"{rest_ns / NS_PER_MS:.1f} ms a layer beside copies"
            cells.append(cell_of(row, found, note=note))
    return Table(
        name="given_rest",
        title="Mixtral-Offloading, given what its row without a cache leaves beside copies",
        assumptions=ASSUMPTIONS,
        cells=tuple(cells),
    )


def _rows() -> list[PublishedRow]:
    rows = published_rows("validation.published.offloading", "figures.csv")
    return [row for row in rows if row.environment in ENVIRONMENTS]


def _tpot_s(row: PublishedRow, system: str, layer_overhead_ns: float, seed: int) -> float:
    assert row.input_tokens is not None
    assert row.output_tokens is not None
    job = OffloadingRun(
        environment=row.environment,
        model=MODEL,
        policy=_policy(system),
        batch=Batch(prompt_tokens=row.input_tokens, output_tokens=row.output_tokens),
        quantization="Q2_K",
        slots=SLOTS.get(row.environment, 4),
        layer_overhead_ns=layer_overhead_ns,
    )
    # Without a cache both experts of every layer are copied for every token.
    run = replace(job, slots=0) if system == WITHOUT_CACHE else job
    return run.run(seed).tpot_s


def _policy(system: str) -> Policy:
    """The released code swaps, copying each victim back over the same stream; the paper's rows
    leave no time for that (its page says how), and weights do not change.
    """
    if system == WITHOUT_CACHE:
        return find_policy("on-demand")
    name = "mixtral-next-gate" if system == FULL else "mixtral-offloading"
    return with_settings(find_policy(name), {"writes_back": "false"})
