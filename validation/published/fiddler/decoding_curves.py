"""Decoding by copies of one prompt: the authors' development runs, predicted from their prompts."""

import re
from dataclasses import dataclass, replace

from hwprofiles import load_machine
from sim.routing.beams import BeamRouting
from sim.step.metrics import Metrics
from sim.workload.batch import Batch
from validation.published.fiddler.readings import EXPERT_BYTES
from validation.published.fiddler.runs import MACHINES, ModelBench
from validation.published.published_row import PublishedRow, cell_of, published_rows
from validation.published.reproduction import Table

THRESHOLD_TOKENS = 10
"""Tokens of an expert from which the code's constants send it to the GPU.

The constants are 7 ms a token on the CPU and 70 ms on the GPU; a tie goes to the GPU.
"""

NUM_BEAMS = 2
"""Beams of each copy in the figure with beams.

The repository does not have its command. The number is that of ``test_pp.sh``, the only script of
the commit that names one.
"""

CURVE_TOKENS, BATCH_TOKENS = 20, 32
"""Output tokens: those of the figures, by the script's default, and those of ``test_pp.sh``."""

MACHINE = "E1"
"""The machine that stands for the unnamed one, except for two rates; both hold 56 experts."""

AS_CODED = {"is_pinned": "false", "believed_cost": "code"}
"""Settings that follow the commit's code.

The code copies with ``load_state_dict`` from memory that is not page-locked, and decides by 7 ms a
token against 70 ms.
"""

ASSUMPTIONS = (
    "E1, which holds the 56 experts that the unnamed machine held. Two of its rates are read off the prompts of the "
    "same runs: that of its DRAM from a prompt of one copy, that of copies from 16 copies. Decoding follows from them "
    "in seconds and nothing is scaled. The code of the commit decodes x copies of one prompt greedily; copies "
    "of a hypothesis select the same experts. Beside it E1 with its own rates."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Rates of the runs' machine that their prompts show, in bytes a second."""

    dram_bytes_per_s: float
    copy_bytes_per_s: float

    def overrides(self) -> tuple[str, ...]:
        """Return the rates as overrides of E1."""
        return (
            f"cpu.memory_bytes_per_s={self.dram_bytes_per_s}",
            f"link.h2d.pageable_bytes_per_s={self.copy_bytes_per_s}",
        )


def decoding_tables(bench: ModelBench) -> tuple[Table, ...]:
    """Return three tables: copies of one hypothesis, copies of two, and batches of two."""
    rates = prompt_rates(bench)
    return (
        _table(bench, rates, "one_beam", "Decoding by copies of one hypothesis", 1),
        _table(bench, rates, "two_beams", "Decoding by copies of two hypotheses", NUM_BEAMS),
        _table(
            bench,
            rates,
            "beam_batches",
            "Decoding batches of two hypotheses, 32 tokens",
            NUM_BEAMS,
            BATCH_TOKENS,
        ),
    )


def prompt_rates(bench: ModelBench) -> Rates:
    """Return the rates at which both published prompts take their published times.

    With one copy the CPU computes every missing expert; with sixteen every missing expert is
    copied. So each prompt takes a known number of experts at one rate. All other costs of a prompt
    stay as on E1.
    """
    computed, copied = published_prompts()
    machine = load_machine(MACHINES[MACHINE])
    own_dram_s = EXPERT_BYTES / machine.cpu.memory_bytes_per_s.effective
    pageable = machine.link.h2d.pageable_bytes_per_s
    assert pageable is not None
    own_copy_s = EXPERT_BYTES / pageable.effective

    on_cpu = _run(bench, computed, 1, ())
    dram_s = own_dram_s + (computed.value - on_cpu.ttft_s) / on_cpu.cpu_expert_calls
    on_gpu = _run(bench, copied, 1, ())
    copies = round(on_gpu.h2d_bytes / EXPERT_BYTES)
    copy_s = own_copy_s + (copied.value - on_gpu.ttft_s) / copies

    return Rates(
        dram_bytes_per_s=EXPERT_BYTES / dram_s,
        copy_bytes_per_s=EXPERT_BYTES / copy_s,
    )


def published_prompts() -> tuple[PublishedRow, PublishedRow]:
    """Return the published times of a prompt in one copy and in sixteen."""
    rows = [row for row in _all_rows() if row.quantity == "ttft_s"]
    computed, copied = sorted(rows, key=lambda row: num_copies(row.system))
    return computed, copied


def num_copies(system: str) -> int:
    """The number of copies in the name of a row, such as "2 beams, 5 copies"."""
    found = re.search(r"(\d+) cop", system)
    assert found is not None, system
    return int(found[1])


def _all_rows() -> tuple[PublishedRow, ...]:
    return published_rows("validation.published.fiddler", "decoding_curves.csv")


def _table(
    bench: ModelBench,
    rates: Rates,
    name: str,
    title: str,
    num_beams: int,
    output_tokens: int = CURVE_TOKENS,
) -> Table:
    """Return decoding with the runs' rates, and with E1's own rates beside."""
    rows = [
        row
        for row in _all_rows()
        if row.system.startswith(f"{num_beams} beam") and row.output_tokens == output_tokens
    ]
    cells = tuple(
        cell_of(
            row,
            _decode_s(bench, row, num_beams, rates.overrides()),
            comparisons={"E1's own rates": _decode_s(bench, row, num_beams, ())},
        )
        for row in rows
    )
    return Table(name=name, title=title, assumptions=ASSUMPTIONS, cells=cells)


def _decode_s(
    bench: ModelBench, row: PublishedRow, num_beams: int, overrides: tuple[str, ...]
) -> float:
    assert row.output_tokens is not None
    # The prefill gives the first output token.
    return _run(bench, row, num_beams, overrides).tpot_s * (row.output_tokens - 1)


def _run(
    bench: ModelBench, row: PublishedRow, num_beams: int, overrides: tuple[str, ...]
) -> Metrics:
    assert row.input_tokens is not None
    assert row.output_tokens is not None
    # Each hypothesis is a sequence of its own, and its copies are beams that share all tokens.
    routing = BeamRouting(base=bench.routing, divergence=0.0, num_prompts=num_beams)
    batch = Batch(
        prompt_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        batch_size=num_beams,
        beams=num_copies(row.system),
    )
    given = replace(bench, routing=routing)
    return given.run(MACHINE, "Fiddler", batch, AS_CODED, overrides)
