"""The choice of the page for a result."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwprofiles import InputError, validated
from hwprofiles.json_rows import JsonRows, read_json_rows
from planner.runtimes.plan_file import is_runtime_plan
from planner.search.objectives import Goal
from planner.search.plan import Plan, Setting
from rosin.cli.memory_guard import refuse_large_run
from rosin.cli.scenario import read_plan
from rosin.commands.report.row_pages import rows_page
from rosin.commands.report.shapes import Comparison, PlanFound, RunFound, check_shape
from rosin.commands.report.study_page import study_folder_page, study_page
from rosin.commands.simulate.document import run_warnings
from rosin.report.html.markup import Section, command_line, facts
from rosin.report.html.other_sections import bounds_section, policies_section
from rosin.report.html.page import Page
from rosin.report.html.run_sections import run_sections
from rosin.report.tables import format_count, format_share, shortfall
from rosin.version import __version__
from sim.policies.serialize import policy_from_data
from sim.step.draws import simulate_draws
from sim.step.provenance import provenance_of
from sim.step.simulate import Run


def page_of(source: Path, importable: Sequence[str]) -> Page:
    """Return the page of a plan, of a result in JSON, or of a folder.

    Raises InputError for any other source.
    """
    if source.is_dir():
        return _of_folder(source)
    if source.suffix.lower() in (".yaml", ".yml"):
        return _of_plan_file(source, importable)
    return _of_json(_read(source), source, importable)


def _of_plan_file(source: Path, importable: Sequence[str]) -> Page:
    """Return the page of a plan file, which is a policy's plan or a plan for a runtime."""
    if is_runtime_plan(source):
        from rosin.commands.report.runtime_plan import runtime_plan_file_page

        return runtime_plan_file_page(source)
    plan = read_plan(source, importable)
    command = shlex.join(["rosin", "simulate", "--plan", str(source)])
    return plan_page(plan, command, (), dict(plan.bounds))


def plan_page(
    plan: Plan, command: str, rivals: Sequence[Mapping[str, Any]], bounds: Mapping[str, Any]
) -> Page:
    """Return the page of a plan with its run, its known rivals, and its bounds."""
    run = _run(plan.setting, plan)
    provenance = provenance_of(run)
    own = {
        "policy": plan.policy.name,
        "metrics": {
            "output_tokens_per_s": run.metrics.output_tokens_per_s,
            "ttft_s": run.metrics.ttft_s,
            "tpot_s": run.metrics.tpot_s,
            "expert_hit_rate": run.metrics.expert_hit_rate,
        },
        "is_lossless": plan.policy.is_lossless,
        "knows_future": plan.policy.knows_future,
    }
    # The rivals follow the speed: both answer how fast the plan is.
    speed, *others = run_sections(run, provenance)
    sections = [speed]
    if rivals:
        sections.append(policies_section([own, *rivals], plan.policy.name))
    sections += bounds_section(bounds, run.metrics.end_to_end_s)
    sections += [*others, repeat_section(command, run)]
    return Page(
        title=_title(run),
        answer=_answer(run),
        command=command,
        sections=sections,
        warnings=run_warnings(run, provenance),
    )


def _run(setting: Setting, plan: Plan) -> Run:
    """Return the run of the plan, with metrics that are means over its draws.

    Raises InputError if the plan does not fit the machine.
    """
    scenario = setting.scenario(plan.policy)
    refuse_large_run(scenario)
    run = simulate_draws(scenario, setting.draws or 1)
    if not isinstance(run, Run):
        raise InputError(f"the plan does not fit this machine: {shortfall(run)}")
    return run


def _title(run: Run) -> str:
    scenario = run.scenario
    return f"{scenario.model.name} ({scenario.model.quantization}) on {scenario.machine.name}"


def _answer(run: Run) -> str:
    metrics = run.metrics
    name = run.scenario.policy.name
    busiest = max(metrics.busy_s, key=lambda resource: metrics.busy_s[resource])
    from rosin.commands.simulate.page import resource_name

    share = format_share(metrics.utilization[busiest])
    return (
        f"{name} reaches {format_count(metrics.output_tokens_per_s)} tokens/s, the prompt's time included; "
        f"{resource_name(busiest)} is busiest, {share} of the time."
    )


def repeat_section(command: str, run: Run) -> Section:
    """Return the section that says how to repeat the run to the nanosecond."""
    rows = [
        ("version", __version__),
        ("seed", str(run.scenario.seed)),
        ("timeline digest", run.timeline.digest),
    ]
    lead = "The same version, command and seed give the same timeline: equal digests, equal runs."
    return Section(title="How to repeat it", lead=lead, body=facts(rows) + command_line(command))


def _of_json(data: Mapping[str, Any], source: Path, importable: Sequence[str]) -> Page:
    """Return the page of a document of ``--json``, whose keys tell what it is.

    Raises InputError for a document without a page.
    """
    for key, make in _KINDS.items():
        if key in data:
            if make is not _of_study and isinstance(data.get("rows"), JsonRows):
                data = {**data, "rows": list(data["rows"])}
            return make(data, source, importable)
    raise InputError(
        f"{source}: no result that a page is made of; it has {', '.join(sorted(data)[:8])}"
    )


def _of_plan_json(data: Mapping[str, Any], source: Path, importable: Sequence[str]) -> Page:
    check_shape(PlanFound, data, source)
    written = data["plan"]
    plan = _plan(written["setting"], written["policy"], source, importable)
    command = data.get("command") or ""
    line = command if isinstance(command, str) else shlex.join(command)
    return plan_page(plan, line, data.get("rivals") or (), data)


def _of_run_json(data: Mapping[str, Any], source: Path, importable: Sequence[str]) -> Page:
    check_shape(RunFound, data, source)
    scenario = data["scenario"]
    plan = _plan(scenario["setting"], scenario["policy"], source, importable)
    return plan_page(plan, scenario["command"], (), {})


def _plan(
    setting: Mapping[str, Any], policy: Mapping[str, Any], source: Path, importable: Sequence[str]
) -> Plan:
    """Return the plan of a result with only those fields that a run needs."""
    found = policy_from_data(policy, f"{source}: policy", importable=importable)
    return Plan(
        setting=validated(Setting, setting, f"{source}: setting"),
        goal=Goal(),
        policy=found,
        predicted={},
        bounds={},
        binding_resource="",
        provenance={},
        version=__version__,
    )


def _of_comparison(data: Mapping[str, Any], source: Path, importable: Sequence[str]) -> Page:
    check_shape(Comparison, data, source)
    rows = data["rows"]
    if not rows:
        raise InputError(f"{source}: no policy fits")
    scenario = data["scenario"]
    setting = scenario["setting"]
    best = rows[0]
    speed = format_count(best["metrics"]["output_tokens_per_s"])
    # Nobody can run what knows the future, and what is lossy gives other tokens.
    lossless = next((row for row in rows if row["is_lossless"] and not row["knows_future"]), best)
    more = (
        ""
        if lossless is best
        else f"; {lossless['policy']} is the fastest that any system can run without loss"
    )
    return Page(
        title=f"{setting['model']} ({scenario['quantization']}) on {setting['machine']}: policies side by side",
        answer=f"{best['policy']} is fastest, {speed} tokens/s, of {len(rows)} that fit{more}.",
        command=scenario["command"],
        sections=[policies_section([*rows, *data["infeasible"]], best["policy"])],
        warnings=data["warnings"],
    )


def _of_study(data: Mapping[str, Any], source: Path, importable: Sequence[str]) -> Page:
    return study_page(data, source)


def _of_rows(data: Mapping[str, Any], source: Path, importable: Sequence[str]) -> Page:
    return rows_page(data, source)


def _of_folder(folder: Path) -> Page:
    """The page of a folder that whatif, validate or accuracy wrote."""
    for name in ("whatif.json", "validate.json", "accuracy.json"):
        if (folder / name).is_file():
            # No policy of these results is run, so nothing may be imported for it.
            return _of_json(_read(folder / name), folder / name, ())
    # A folder of whatif may have its table and figures alone.
    return study_folder_page(folder)


def _read(path: Path) -> Mapping[str, Any]:
    """Return the JSON of a file; the rows of a study are read one by one.

    Raises InputError for a file that cannot be read.
    """
    return read_json_rows(path, "result", "rows")


def _of_runtime_plan(data: Mapping[str, Any], source: Path, importable: Sequence[str]) -> Page:
    from rosin.commands.report.runtime_plan import runtime_plan_page

    return runtime_plan_page(data, source)


_KINDS: Mapping[str, Callable[[Mapping[str, Any], Path, Sequence[str]], Page]] = {
    "command_line": _of_runtime_plan,
    "infeasible": _of_comparison,
    "axes": _of_study,
    "plan": _of_plan_json,
    "timeline_digest": _of_run_json,
    "plans": _of_rows,
    "claims": _of_rows,
    "summary": _of_rows,
}
"""The function that makes the page, by a key that only its result has; the first match counts."""
