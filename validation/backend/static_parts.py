"""What all passes of a run with fixed residency have in common."""

from dataclasses import dataclass

from sim.step.lowering.prices import Prices
from sim.workload.batch import Passes
from validation.backend.accelerator_memory import AcceleratorMemory
from validation.backend.dispatching import Dispatching
from validation.backend.forward_pass import Sequences
from validation.backend.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StaticParts:
    """What is computed (``passes`` of ``sequences`` by ``weights``), what the accelerator holds
    (``memory``), and what the policy decided and its work is priced at.
    """

    passes: Passes
    sequences: Sequences
    weights: Weights
    memory: AcceleratorMemory
    dispatching: Dispatching
    prices: Prices
