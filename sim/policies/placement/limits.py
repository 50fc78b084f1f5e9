"""Every limit of memory that a problem breaks, not the first alone."""

from hwprofiles.units import format_bytes
from sim.costs.memory import Infeasible, Residency, machine_bytes
from sim.policies.placement.base import Placement
from sim.policies.problem import Problem


def placed(placement: Placement, problem: Problem) -> Residency | Infeasible:
    """Place the problem; where it does not fit, name every limit that it breaks."""
    return with_every_limit(problem, placement.place(problem))


def with_every_limit(problem: Problem, found: Residency | Infeasible) -> Residency | Infeasible:
    """Return what was found. If it is a shortage of GPU memory, its reason also names a shortage of
    host memory, where there is one.

    The larger shortage stands last, and its bytes are the answer's. A placement looks at host
    memory only once the GPU's is enough, so a shortage of both is seen only here.
    """
    if not isinstance(found, Infeasible) or not found.missing_bytes:
        return found
    host = _host_shortage(problem)
    # Where the reason speaks of host memory, the placement has counted it, and more exactly.
    if host is None or HOST_WORDS in found.reason:
        return found
    lesser, larger = sorted((found, host), key=lambda shortage: shortage.missing_bytes)
    return Infeasible(
        reason=f"{lesser.reason} ({format_bytes(lesser.missing_bytes)} too much); {larger.reason}",
        missing_bytes=larger.missing_bytes,
    )


HOST_WORDS = "host memory would hold"


def _host_shortage(problem: Problem) -> Infeasible | None:
    """Return how many bytes host memory lacks even if the GPUs held nothing but weights.

    It is None where host memory is enough, not stated, or backed by a disk.
    """
    stated = problem.machine.cpu.memory_bytes
    model = problem.model
    if stated is None or problem.machine.disk is not None:
        return None
    num_cards = 1 if problem.split is None else problem.split.num_cards
    least = model.total_bytes - num_cards * machine_bytes(problem.machine)
    if problem.keeps_host_copies:
        copies = sum(layer.num_experts * layer.expert_bytes for layer in model.layers)
        least = max(least, copies)
    missing = least - int(stated.effective)
    if missing <= 0:
        return None
    has = format_bytes(stated.effective)
    return Infeasible(
        reason=f"{HOST_WORDS} at least {format_bytes(least)} of weights, has {has}",
        missing_bytes=missing,
    )
