"""The serving file ``rosin-serving/1``: instances, and the tiers of KV behind them.

All keys but ``format`` may be left out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError, model_validator

from hwprofiles import InputError, first_problem, read_yaml
from hwprofiles.file_part import FilePart
from hwprofiles.limits import Devices
from sim.serving.balancing import Balancing
from sim.serving.handover import Disaggregation
from sim.serving.offload_options import OffloadSpec
from sim.serving.options import InstanceSpec
from sim.serving.tier import TierSpec

FORMAT: Literal["rosin-serving/1"] = "rosin-serving/1"


class ServingSpec(FilePart):
    """A serving file.

    With ``disaggregation``, ``num_instances`` may be left out: it is ``num_prefill`` +
    ``num_decode``.
    """

    format: Literal["rosin-serving/1"] = FORMAT
    num_instances: Devices = 1
    balancing: Balancing = Balancing.LEAST_LIVE
    instance: InstanceSpec = InstanceSpec()
    disaggregation: Disaggregation | None = None
    tiers: tuple[TierSpec, ...] = ()
    offload: OffloadSpec | None = None

    def on_one_gpu(self) -> "ServingSpec":
        """Return the file with one GPU an instance, where it does not say how many."""
        if self.instance.num_gpus is not None:
            return self
        return self.model_copy(
            update={"instance": self.instance.model_copy(update={"num_gpus": 1})}
        )

    @model_validator(mode="before")
    @classmethod
    def _add_up(cls, data: Any) -> Any:
        parts = data.get("disaggregation") if isinstance(data, dict) else None
        # Looked at before validation, since the count that is left out is itself a field; what is
        # no number is left for the validation to name.
        counts = (
            [parts.get(name) for name in ("num_prefill", "num_decode")]
            if isinstance(parts, dict)
            else []
        )
        if (
            counts
            and "num_instances" not in data
            and all(isinstance(count, int) for count in counts)
        ):
            return {**data, "num_instances": sum(counts)}
        return data

    @model_validator(mode="after")
    def _has_tiers_to_use(self) -> Self:
        if self.offload is not None and not self.tiers:
            raise ValueError("offload needs the key tiers: name at least the tier cpu")
        return self


def load_serving(
    path: Path | None, changes: Mapping[str, Any], tiers: Mapping[str, Any]
) -> ServingSpec:
    """Return a serving file with ``changes`` by dotted key, and with ``tiers`` of those sizes by
    name.

    A size replaces that of the file's tier of the same name; without such a tier, one is added.
    Without a path every key has its default. Raises InputError, one line, for whatever is wrong.
    """
    where = "" if path is None else f"{path}: "
    data: dict[str, Any] = {} if path is None else read_yaml(path, "serving")
    if path is not None:
        # A file must name its format; without this the field's default would let it leave that out.
        data = {"format": None, **data}
    for key, value in changes.items():
        _set(data, key, value)
    listed = data.get("tiers") or []
    if tiers and isinstance(listed, list):
        # What is no mapping is dropped only here; without sizes to set, the validation names it.
        named = {tier.get("name"): tier for tier in listed if isinstance(tier, dict)}
        for name, size in tiers.items():
            named[name] = {**named.get(name, {"name": name}), "capacity_bytes": size}
        data["tiers"] = list(named.values())
    try:
        return ServingSpec.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{where}{first_problem(error, ServingSpec)}") from None


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        inner = data.get(part)
        # A copy: the caller's own mapping must not change.
        data[part] = dict(inner) if isinstance(inner, dict) else {}
        data = data[part]
    data[last] = value
