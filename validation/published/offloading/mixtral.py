"""Mixtral-Offloading's table of speeds: simulated whole, and from what its rows leave beside
copies.
"""

from collections.abc import Mapping
from dataclasses import replace

from hwprofiles import Machine, load_machine
from hwprofiles.units import NS_PER_MS, NS_PER_S
from sim.policies import Policy, find_policy, with_settings
from sim.workload.batch import Batch
from validation.published.fmoe.host_cost import kernel_overhead_ns, layer_overhead_ns
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
NUM_MATRICES = 4 + 2 * 3
"""Quantised matrices of a layer that a token multiplies: those of attention and of two experts."""
KERNELS_PER_MATRIX = 2 * 3 + 1
"""Kernels that the released ``forward_triton`` starts for a matrix.

The kernels are conversion, difference and product for the scales and for the zeros, which are
quantised themselves, and the multiplication.
"""
NUM_WEIGHTS = 2 * (4096 + 1024) * 4096 + 2 * 3 * 14336 * 4096
"""Weights of the NUM_MATRICES matrices."""
BYTES_READ_PER_WEIGHT = 4
"""Bytes read beside each weight: the released Triton kernel loads a 16-bit scale and a 16-bit zero.

Weights with the same scale stand far apart, so caches are taken to hold none of them.
"""
ASSUMPTIONS = (
    "The time of a layer that is not copies is what the row without cache and speculation leaves beside copying "
    "both experts of every layer, for each GPU; the two other rows follow from it. Q2_K as above."
)


def speed_cell(row: PublishedRow, seed: int) -> Cell:
    """Return the speed of the full algorithm with all that the code does beside copies.

    Beside it stand the speed without speculation, and that with the loop of transformers alone.
    """
    name, overrides = MACHINES[row.environment]
    machine = load_machine(name, overrides)
    loop_ns = layer_overhead_ns(MODEL, machine, has_hooks=False)
    layer_ns = loop_ns + quantised_ns(machine)
    others = {
        "no speculation": 1.0 / _tpot_s(row, WITHOUT_SPECULATION, layer_ns, seed),
        "the loop alone": 1.0 / _tpot_s(row, FULL, loop_ns, seed),
    }
    note = f"{layer_ns / NS_PER_MS:.1f} ms a layer beside copies"
    return cell_of(row, 1.0 / _tpot_s(row, FULL, layer_ns, seed), note=note, comparisons=others)


def quantised_ns(machine: Machine) -> float:
    """Return ns that a layer's quantised matrices take beside the loop and beside their own bytes.

    The time is the host's for kernels, and the GPU's for reading scales and zeros. The loop asks
    for lists of tokens, so the host waits for the GPU in every layer and the two add up.
    """
    host_ns = NUM_MATRICES * KERNELS_PER_MATRIX * kernel_overhead_ns(MODEL, machine)
    read_s = NUM_WEIGHTS * BYTES_READ_PER_WEIGHT / machine.gpu.memory_bytes_per_s.effective
    return host_ns + read_s * NS_PER_S


def ablation_table(seed: int, environments: tuple[str, ...] = ENVIRONMENTS) -> Table:
    """Return speeds with and without speculation.

    For each GPU they follow from its row without speculation and cache.
    """
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
    """Return the policy of a row, without writing victims back.

    The released code swaps, and copies each victim back over the same stream. The paper's rows
    leave no time for that (its page says how), and weights do not change.
    """
    if system == WITHOUT_CACHE:
        return find_policy("on-demand")
    name = "mixtral-next-gate" if system == FULL else "mixtral-offloading"
    return with_settings(find_policy(name), {"writes_back": "false"})
