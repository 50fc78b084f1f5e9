"""What each point of a study costs to buy: by a price file, or by the machine's own price."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwprofiles import InputError, closest, read_yaml
from hwprofiles.input_file import is_there
from hwprofiles.units import parse_number
from planner.study.axes import Axis, Value

FORMAT = "rosin-prices/1"
BASE_KEY = "base_usd"
EXAMPLE = "for example gpu.memory_bytes: {16GB: 450, 24GB: 1600}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwarePrices:
    """Prices of hardware in US dollars.

    ``base_usd`` is for all that the tables do not price (None: the machine's own price). ``tables``
    has prices by path and value.
    """

    base_usd: float | None
    tables: Mapping[str, Mapping[Value, float]]

    def price_usd(
        self, axes: Sequence[Axis], values: Sequence[Value], machine_price_usd: float | None
    ) -> float | None:
        """The price of one point; None where nothing states one."""
        base = machine_price_usd if self.base_usd is None else self.base_usd
        parts = [
            self.tables[axis.path][value]
            for axis, value in zip(axes, values, strict=True)
            if axis.path in self.tables
        ]
        return (base or 0.0) + sum(parts) if base is not None or parts else None


NO_PRICES = HardwarePrices(base_usd=None, tables={})


def load_prices(path: Path, axes: Sequence[Axis]) -> HardwarePrices:
    """Read a price file.

    Raises InputError for a path that does not vary, for a value without a price, and for a price
    that is no number of dollars.
    """
    if not is_there(path):
        raise InputError(f"no price file {path}")
    data = read_yaml(path, "price")
    # Taken out, so that every key left is a path with its table.
    if data.pop("format", None) != FORMAT:
        raise InputError(f"{path}: the first line must be format: {FORMAT}")
    base_usd = _dollars(data.pop(BASE_KEY), f"{path}: {BASE_KEY}") if BASE_KEY in data else None
    by_path = {axis.path: axis for axis in axes}
    tables = {}
    for key, table in data.items():
        if key not in by_path:
            raise InputError(
                f"{path}: {key} does not vary in this study{closest(str(key), {BASE_KEY, *by_path})}"
            )
        tables[key] = _table(by_path[key], table, f"{path}: {key}")
    return HardwarePrices(base_usd=base_usd, tables=tables)


def _table(axis: Axis, table: object, where: str) -> dict[Value, float]:
    if not isinstance(table, dict):
        raise InputError(f"{where}: write a mapping from values to dollars, {EXAMPLE}")
    prices = {
        _value(axis, key, where): _dollars(price, f"{where}: {key}") for key, price in table.items()
    }
    for value, text in zip(axis.values, axis.texts, strict=True):
        # A point without a price would look like one that costs nothing.
        if value not in prices:
            raise InputError(f"{where}: no price for {text}, which is one of its values")
    return prices


def _value(axis: Axis, key: object, where: str) -> Value:
    if not axis.is_numeric:
        return str(key)
    try:
        return parse_number(str(key))
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None


def _dollars(price: object, where: str) -> float:
    if (
        isinstance(price, bool)
        or not isinstance(price, int | float)
        or not 0 <= price < float("inf")
    ):
        raise InputError(f"{where}: write a price in dollars of at least 0, got {price!r}")
    return float(price)
