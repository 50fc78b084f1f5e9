"""`rosin compare`: several policies side by side on the same work."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rosin.cli.failures import NoFeasiblePlan
from rosin.cli.named_option import named
from rosin.cli.output import OutputOptions
from rosin.cli.scenario import (
    ScenarioOptions,
    ScenarioRequest,
    read_options,
    record_of,
)

if TYPE_CHECKING:
    from rosin.report.json_documents import MisfitPolicy
    from sim.policies import Policy

PoliciesOption = Annotated[
    str | None, named("--policies", "A,B,...", "The policies, by name; otherwise all.")
]
FigureOption = Annotated[
    Path | None, named("--figure", "FILE", "Draw the comparison: .png, .svg or .pdf.")
]


def compare(
    *,
    options: ScenarioOptions,
    policies: PoliciesOption = None,
    figure: FigureOption = None,
    said: OutputOptions,
) -> None:
    """Set policies side by side, on the same work."""
    from hwprofiles.text_file import write_bytes
    from rosin.commands.compare.document import compare_all
    from rosin.commands.compare.figure import draw
    from rosin.commands.compare.page import compare_page
    from rosin.report.figure_style import check_figure

    # A wrong file name should fail before minutes of simulation, not after them.
    if figure is not None:
        check_figure(figure)
    request = read_options(options)
    scenarios = request.scenarios(_policies(request, policies))
    output = said.with_seed(request.setting.seed)
    words = ("compare", "--policies", policies) if policies else ("compare",)
    record = record_of(request, scenarios[0], options.command(*words), has_policy=False)
    # A step is told when a policy begins, so the bar is not full while the last one is simulated.
    with output.waiting("comparing", len(scenarios) + 1) as waiting:
        comparison = compare_all(scenarios, record, request.num_draws, waiting.step)
    if not comparison.result.rows:
        raise _nothing_fits(comparison.result.infeasible)
    if figure is not None:
        with output.waiting("drawing"):
            write_bytes(draw(comparison.result, figure.suffix), figure)
    page = compare_page(comparison.result, scenarios[0])
    output.emit(
        comparison.result.model_dump(mode="json"),
        page,
        provenance=comparison.provenance,
        warnings=comparison.warnings,
    )


def _policies(request: ScenarioRequest, names: str | None) -> list["Policy"]:
    """Return the plan's policy, if there is a plan, then the named policies in the order given.

    Each policy is returned once; without names, all policies are. Raises InputError for an empty
    list or an unknown name.
    """
    from hwprofiles import InputError
    from sim.policies import POLICIES, find_policy

    named = (
        list(POLICIES)
        if names is None
        else [name.strip() for name in names.split(",") if name.strip()]
    )
    if not named:
        raise InputError(
            f"--policies {names}: name at least one, for example --policies fiddler,ktransformers"
        )
    found = [find_policy(name) for name in dict.fromkeys(named)]
    if request.plan is None:
        return found
    planned = request.plan.policy
    is_taken = planned.name in {policy.name for policy in found}
    # A plan may have the name of a policy that ships, and two rows of one name look alike.
    return [replace(planned, name=f"{planned.name} (plan)") if is_taken else planned, *found]


def _nothing_fits(misfits: Sequence["MisfitPolicy"]) -> NoFeasiblePlan:
    """Return the failure of a comparison without a row; it states the policy nearest to fitting."""
    from hwprofiles.units import format_bytes

    # Who is refused for another reason than memory misses no bytes, and is nearest to nothing.
    short = [misfit for misfit in misfits if misfit.missing_bytes]
    if not short:
        return NoFeasiblePlan(f"no feasible plan: {misfits[0].policy}: {misfits[0].reason}")
    nearest = min(short, key=lambda misfit: misfit.missing_bytes)
    others = f"none of {len(misfits)} policies fits, nearest is " if len(misfits) > 1 else ""
    return NoFeasiblePlan(
        f"no feasible plan: {others}{nearest.policy}: {nearest.reason}; {format_bytes(nearest.missing_bytes)} too much"
    )
