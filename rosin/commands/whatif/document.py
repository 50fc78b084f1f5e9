"""What ``whatif`` writes as JSON, key by key: the schema that docs/reference/json.md explains."""

from planner.search.plan import Setting
from planner.study.axes import Value
from rosin.report.document import Document


class WhatifAxis(Document):
    """One path that varies, and its values."""

    path: str
    values: list[Value]


class WhatifRow(Document):
    """One point: its value on each axis, its price where one is known, and the best plan there or
    why there is none.

    ``best_named_policy`` is the best lossless named system there, by the objective; ``named`` has
    all that fit.
    """

    values: dict[str, Value]
    price_usd: float | None
    is_feasible: bool
    policy: str | None
    metrics: dict[str, int | float]
    bounds: dict[str, float | None]
    binding_resource: str | None
    best_named_policy: str | None
    named: dict[str, dict[str, float]]
    weakest_kind: str | None
    timeline_digest: str | None
    reason: str | None
    missing_bytes: int | None


class AxisEffect(Document):
    """How much one axis changes: the best by the worst along it, in speed, all else equal (geometric
    mean), less one.
    """

    path: str
    speed_gain_fraction: float


class PolicyChange(Document):
    """Two neighbouring values of a numeric axis between which the best policy changes, all else
    (``at``) equal.
    """

    path: str
    from_value: Value
    to_value: Value
    from_policy: str
    to_policy: str
    at: dict[str, Value]


class Saturation(Document):
    """The value of a numeric axis beyond which twice as much gives less than a tenth; null where
    that is beyond the last.
    """

    path: str
    value: float | None
    at: dict[str, Value]


class Sensitivity(Document):
    """What a fifth less and a fifth more of one number does to the speed of the best plan; null
    where nothing fits.
    """

    path: str
    base_value: float
    low_gain_fraction: float | None
    high_gain_fraction: float | None
    low_policy: str | None
    high_policy: str | None


class WhatifResult(Document):
    """What ``rosin whatif`` found: the rows in the order of the study, and what they say."""

    command: str
    setting: Setting
    objective: str
    axes: list[WhatifAxis]
    rows: list[WhatifRow]
    num_computed: int
    effects: list[AxisEffect]
    policy_changes: list[PolicyChange]
    saturations: list[Saturation]
    sensitivities: list[Sensitivity] | None
    front: list[int]
    files: list[str]
