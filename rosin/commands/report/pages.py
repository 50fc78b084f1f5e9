"""Which page stands for which result."""

import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwprofiles import InputError, validated
from hwprofiles.json_rows import JsonRows, read_json_rows
from hwprofiles.units import format_duration
from planner.runtimes.plan_file import is_runtime_plan
from planner.search.objectives import Goal
from planner.search.plan import Plan, Setting
from planner.study.outcome import OBJECTIVE_FIGURES
from rosin.cli.memory_guard import refuse_large_run
from rosin.cli.scenario import read_plan
from rosin.commands.report.shapes import (
    Comparison,
    PlanFound,
    RowsFound,
    RunFound,
    StudyFound,
    StudyRow,
    check_shape,
)
from rosin.commands.simulate.document import run_warnings
from rosin.report.axis_words import at_words
from rosin.report.html.markup import Section, command_line, facts
from rosin.report.html.other_sections import (
    bounds_section,
    figures_section,
    policies_section,
    rows_section,
    sensitivity_section,
)
from rosin.report.html.page import Page
from rosin.report.html.run_sections import run_sections
from rosin.report.tables import format_count, format_share, shortfall
from rosin.version import __version__
from sim.policies.serialize import policy_from_data
from sim.step.draws import simulate_draws
from sim.step.provenance import provenance_of
from sim.step.simulate import Run

MAX_ROWS = 500


def page_of(source: Path, importable: Sequence[str]) -> Page:
    """The page of a plan, of a result in JSON, or of a folder. Raises InputError for what is none."""
    if source.is_dir():
        return _of_folder(source)
    if source.suffix.lower() in (".yaml", ".yml"):
        return _of_plan_file(source, importable)
    return _of_json(_read(source), source, importable)


def _of_plan_file(source: Path, importable: Sequence[str]) -> Page:
    """The page of a plan of a policy, or for a runtime."""
    if is_runtime_plan(source):
        from rosin.commands.report.runtime_plan import runtime_plan_file_page

        return runtime_plan_file_page(source)
    plan = read_plan(source, importable)
    command = shlex.join(["rosin", "simulate", "--plan", str(source)])
    return plan_page(plan, command, (), dict(plan.bounds))


def plan_page(
    plan: Plan, command: str, rivals: Sequence[Mapping[str, Any]], bounds: Mapping[str, Any]
) -> Page:
    """The page of a plan: its run, its rivals where they are known, its limits."""
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
    """The run of the plan, its metrics means over its draws. Raises InputError where it does not
    fit.
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
    """How to repeat the run, to the nanosecond."""
    rows = [
        ("version", __version__),
        ("seed", str(run.scenario.seed)),
        ("timeline digest", run.timeline.digest),
    ]
    lead = "The same version, command and seed give the same timeline: equal digests, equal runs."
    return Section(title="How to repeat it", lead=lead, body=facts(rows) + command_line(command))


def _of_json(data: Mapping[str, Any], source: Path, importable: Sequence[str]) -> Page:
    """The page of what a command wrote with --json, told by its keys."""
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
    """The plan of a result, as far as running it goes."""
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
    check_shape(StudyFound, data, source)
    if not isinstance(data.get("rows"), JsonRows):
        raise InputError(f"{source}: key rows must be a list")
    best = _BestPoint(data["objective"])
    flat: list[dict[str, Any]] = []
    for row in data["rows"]:
        check_shape(StudyRow, row, source)
        if row["is_feasible"]:
            if best.figure not in row["metrics"]:
                raise InputError(f"{source}: a point of the rows has no metrics.{best.figure}")
            best.look(row)
            if len(flat) < MAX_ROWS:
                flat.append({**row["values"], "policy": row["policy"], **_shown(row["metrics"])})
    if not flat:
        raise InputError(f"{source}: nothing fits at any point of the study")
    sections = [rows_section("Every point", "The best plan at each point that fits.", flat)]
    if data.get("sensitivities"):
        sections.insert(0, sensitivity_section(data["sensitivities"]))
    files = [Path(name) for name in data.get("files") or ()]
    sections += figures_section(_figures([file for file in files if file.is_file()]))
    return Page(
        title=f"What if: {data['setting']['model']} on {data['setting']['machine']}",
        answer=best.words(),
        command=data["command"],
        sections=sections,
        warnings=data["warnings"],
    )


class _BestPoint:
    """Which point is best at what the study was planned for; ties go to the first."""

    def __init__(self, objective: str) -> None:
        self._objective = objective
        self.figure = OBJECTIVE_FIGURES[objective]
        self._num_points = 0
        self._best: Mapping[str, Any] = {}
        self._least = math.inf

    def look(self, row: Mapping[str, Any]) -> None:
        """Compare one more point."""
        self._num_points += 1
        value = row["metrics"][self.figure]
        cost = -value if self._objective == "throughput" else value
        if not self._best or cost < self._least:
            self._best = row
            self._least = cost

    def words(self) -> str:
        """Say it."""
        objective = self._objective
        value = self._best["metrics"][self.figure]
        at = at_words(self._best["values"]).removeprefix("at ") or "the base"
        figure = (
            f"{format_count(value)} tokens/s"
            if objective == "throughput"
            else f"{objective} {format_duration(value)}"
        )
        found = f"{figure} with {self._best['policy']}"
        return f"The best of {self._num_points} points for {objective} is at {at}: {found}."


def _of_rows(data: Mapping[str, Any], source: Path, importable: Sequence[str]) -> Page:
    """The page of a validation, an accuracy or a reproduction: its rows and its folder's figures."""
    check_shape(RowsFound, data, source)
    for key, title in (("plans", "Every plan"), ("targets", "Targets"), ("summary", "Summary")):
        rows = data.get(key)
        if isinstance(rows, list) and rows:
            if not all(isinstance(row, dict) for row in rows):
                raise InputError(f"{source}: key {key} must be a list of objects")
            section = rows_section(
                title, "Numbers as the command wrote them; see --json's page.", rows[:MAX_ROWS]
            )
            break
    else:
        raise InputError(f"{source}: no rows that a page is made of")
    sections = [section]
    if isinstance(data.get("tables"), list):
        sections += [
            rows_section(each["title"], each["assumptions"], each["cells"][:MAX_ROWS])
            for each in data["tables"]
        ]
    sections += figures_section(_figures(sorted(source.parent.glob("*.svg"))))
    what = data.get("title") or data.get("model") or source.stem
    return Page(
        title=f"{what}: measured beside predicted",
        answer=_rows_answer(data),
        command=f"rosin report {shlex.quote(str(source))} -o report.html",
        sections=sections,
        warnings=data.get("warnings") or (),
    )


def _rows_answer(data: Mapping[str, Any]) -> str:
    error = data.get("error_fraction")
    if error:
        paired, plain = (error[name]["median"] for name in ("paired", "plain"))
        return f"Predictions are off by {paired:.2%} in the median, paired; by {plain:.2%} without lane costs."
    targets = data.get("targets")
    if targets:
        met = sum(1 for target in targets if target["is_met"])
        asked = sum(1 for target in targets if target["is_met"] is not None)
        return f"{met} of {asked} targets are met."
    return "Predicted and measured, row by row."


def _shown(metrics: Mapping[str, Any]) -> dict[str, Any]:
    names = ("output_tokens_per_s", "ttft_s", "tpot_s", "expert_hit_rate")
    return {name: metrics[name] for name in names if name in metrics}


def _of_folder(folder: Path) -> Page:
    """The page of a folder that whatif, validate or accuracy wrote."""
    for name in ("whatif.json", "validate.json", "accuracy.json"):
        if (folder / name).is_file():
            # No policy of these results is run, so nothing may be imported for it.
            return _of_json(_read(folder / name), folder / name, ())
    # A folder of whatif may have its table and figures alone.
    figures = _figures(sorted(folder.glob("*.svg")))
    table = folder / "table.csv"
    if not figures or not table.is_file():
        raise InputError(
            f"{folder}: no result is in it; name a folder of whatif, validate or accuracy, or a file of --json"
        )
    # pandas is slow to import, and only such a folder needs it.
    import pandas as pd

    rows = pd.read_csv(table).head(MAX_ROWS).to_dict("records")
    points = [{str(key): value for key, value in row.items()} for row in rows]
    return Page(
        title=f"What if: {folder.name}",
        answer=f"{len(points)} points were planned; the figures say what changes.",
        command=f"rosin report {shlex.quote(str(folder))} -o report.html",
        sections=[
            *figures_section(figures),
            rows_section("Every point", "As table.csv has it.", points),
        ],
    )


# A figure may come from anybody, so whatever could run or load something is cut out of it.
_SCRIPT = re.compile(
    r"<(script|foreignObject|style)\b.*?</\1>|\son\w+=\S+|href=\"(?!#|data:image/png;)[^\"]*\"",
    re.S | re.I,
)


def _figures(files: Sequence[Path]) -> dict[str, str]:
    """SVG files as they stand in a page: without declarations, scripts, or links elsewhere.

    Raises InputError for one that is no text.
    """
    from hwprofiles.input_file import read_text

    found = {}
    for file in files:
        if file.suffix == ".svg":
            text = read_text(file, "figure", "SVG")
            # Declarations before the element belong into a file of SVG, not into a page.
            text = text[text.index("<svg") :] if "<svg" in text else ""
            text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
            found[file.stem] = _SCRIPT.sub("", text)
    return found


def _read(path: Path) -> Mapping[str, Any]:
    """JSON of that file; of a study, rows are read one by one. Raises InputError."""
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
    "targets": _of_rows,
    "summary": _of_rows,
}
"""Who makes the page, by a key that only that result has; the first that is there counts."""
