"""Pages of measured or published figures beside predicted ones.

They show a validation, an accuracy or a reproduction.
"""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwprofiles import InputError
from rosin.commands.report.shapes import RowsFound, check_shape
from rosin.commands.report.svg_figures import svg_figures
from rosin.report.html.markup import Section
from rosin.report.html.other_sections import MAX_ROWS, figures_section, rows_section, shown_columns
from rosin.report.html.page import Page

ROWS = (("plans", "Every plan"), ("targets", "Targets"), ("summary", "Summary"))
"""The keys and titles of lists of rows: a validation's, a reproduction's and an accuracy's."""
LEAD = "As the command wrote it; `docs/reference/json.md` says what each column means."
CLAIM_COLUMNS = ("figure", "paper", "verdict", "published", "simulated", "because", "assumed")


def rows_page(data: Mapping[str, Any], source: Path) -> Page:
    """Return the page of a validation, an accuracy or a reproduction.

    The page has its rows, and the figures in its folder. Raises InputError for a document without
    rows.
    """
    check_shape(RowsFound, data, source)
    sections = [*_claims(data), *_rows(data, source)]
    if not sections:
        raise InputError(f"{source}: no rows that a page is made of")
    if isinstance(data.get("tables"), list):
        sections += [
            rows_section(each["title"], each["assumptions"], each["cells"][:MAX_ROWS])
            for each in data["tables"]
        ]
    sections += figures_section(svg_figures(sorted(source.parent.glob("*.svg"))))
    return Page(
        title=_title(data, source),
        answer=_answer(data),
        command=f"rosin report {shlex.quote(str(source))} -o report.html",
        sections=sections,
        warnings=data.get("warnings") or (),
    )


def _title(data: Mapping[str, Any], source: Path) -> str:
    if "claims" in data:
        title = str(data.get("title") or source.stem)
        # The page of all papers has no tables, and its title says as much.
        return f"{title}: published beside simulated" if data.get("tables") else title
    return f"{data.get('model') or source.stem}: measured beside predicted"


def _claims(data: Mapping[str, Any]) -> Iterator[Section]:
    """Yield the published claims beside the simulated figures, if the document has claims."""
    claims = data.get("claims")
    if claims:
        rows = [{key: claim.get(key) for key in CLAIM_COLUMNS} for claim in claims]
        lead = (
            "Confirmed: within its limit. Open: it hangs on a fact that the sources do not give. "
            "Refuted: no documented reading gives it."
        )
        yield rows_section("Claims", lead, rows)


def _rows(data: Mapping[str, Any], source: Path) -> Iterator[Section]:
    for key, title in ROWS:
        rows = data.get(key)
        if isinstance(rows, list) and rows:
            if not all(isinstance(row, dict) for row in rows):
                raise InputError(f"{source}: key {key} must be a list of objects")
            if not shown_columns(rows):
                raise InputError(f"{source}: key {key} has no words and no numbers to show")
            yield rows_section(title, LEAD, rows[:MAX_ROWS])
            return


def _answer(data: Mapping[str, Any]) -> str:
    error = data.get("error_fraction")
    if error:
        paired, plain = (error[name]["median"] for name in ("paired", "plain"))
        return (
            f"Predictions are off by {paired:.1%} in the median, with what lanes cost; "
            f"by {plain:.1%} without."
        )
    said = [*_target_words(data.get("targets") or ()), *_claim_words(data.get("claims") or ())]
    said += _summary_words(data.get("summary") or ())
    sentence = "; ".join(said) or "Predicted and measured, row by row"
    return f"{sentence[0].upper()}{sentence[1:]}."


def _target_words(targets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    asked = [target for target in targets if target["is_met"] is not None]
    if asked:
        yield f"{sum(target['is_met'] for target in asked)} of {len(asked)} targets are met"


def _claim_words(claims: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if claims:
        counts = Counter(claim["verdict"] for claim in claims)
        each = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        yield f"of {len(claims)} claims {each}"


def _summary_words(groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the error of each phase in words, from the phase's first group, which has all rows."""
    phases = set[str]()
    for group in groups:
        phase = group.get("phase")
        if phase is None or phase in phases or "median_error_fraction" not in group:
            continue
        phases.add(phase)
        yield (
            f"{phase} is off by {group['median_error_fraction']:.1%} in the median "
            f"of {group.get('num_points', 0):,} rows"
        )
