"""The JSON keys of ``rosin whatif``, which docs/reference/json.md explains."""

from typing import Any

from pydantic import ConfigDict

from planner.search.plan import Setting
from planner.study.axes import Value
from rosin.commands.whatif.rows import StudyRows
from rosin.commands.whatif.rows import WhatifRow as WhatifRow  # part of this schema
from rosin.report.document import Document


class WhatifAxis(Document):
    """One path that varies, and the values that it takes."""

    path: str
    values: list[Value]


class AxisEffect(Document):
    """The gain in speed from the worst to the best value of one axis.

    It is the geometric mean over all lines along the axis, less 1.
    """

    path: str
    speed_gain_fraction: float


class PolicyChange(Document):
    """Two neighbouring values of a numeric axis between which the best policy changes.

    ``at`` has the values of all other axes, which are equal for both.
    """

    path: str
    from_value: Value
    to_value: Value
    from_policy: str
    to_policy: str
    at: dict[str, Value]


class Saturation(Document):
    """The value of a numeric axis beyond which twice as much gains less than a tenth.

    ``value`` is null if the last value still gains more.
    """

    path: str
    value: float | None
    at: dict[str, Value]


class Sensitivity(Document):
    """The gains in speed of the best plan from a fifth less and a fifth more of one number.

    A gain is null if nothing fits.
    """

    path: str
    base_value: float
    low_gain_fraction: float | None
    high_gain_fraction: float | None
    low_policy: str | None
    high_policy: str | None


class WhatifResult(Document):
    """The result of ``rosin whatif``: the rows in the order of the study, and their analysis."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    command: str
    setting: Setting
    objective: str
    axes: list[WhatifAxis]
    rows: StudyRows
    num_computed: int
    effects: list[AxisEffect]
    policy_changes: list[PolicyChange]
    saturations: list[Saturation]
    sensitivities: list[Sensitivity] | None
    front: list[int]
    files: list[str]

    def data(self) -> dict[str, Any]:
        """Return all keys in their order, in plain values.

        ``rows`` is an iterator that makes each row when it is asked for.
        """
        said = self.model_dump(mode="json", exclude={"rows"})
        said["rows"] = (row.model_dump(mode="json") for row in self.rows)
        return {name: said[name] for name in type(self).model_fields}
