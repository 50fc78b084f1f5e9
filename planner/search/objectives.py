"""What a plan is asked for: what to make best, and what it must keep to."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from pydantic import Field

from hwprofiles import InputError, Machine, unknown_name
from hwprofiles.file_part import FilePart

if TYPE_CHECKING:
    from sim.step.metrics import Metrics

SECONDS_PER_HOUR = 3600
PRICED_TOKENS = 10**6

OBJECTIVES: Mapping[str, "Callable[[Metrics], float]"] = MappingProxyType(
    {
        "throughput": lambda metrics: -metrics.output_tokens_per_s,
        "latency": lambda metrics: metrics.end_to_end_s,
        "ttft": lambda metrics: metrics.ttft_s,
        "tpot": lambda metrics: metrics.tpot_s,
        "cost": lambda metrics: -metrics.output_tokens_per_s,
    }
)
"""What is minimised, by name. At one price an hour, the cheapest token is the fastest."""


class Goal(FilePart):
    """What to make best, and under which constraints; None does not constrain.

    ``is_lossless``: only policies whose tokens are those of a plain forward pass.
    ``price_per_hour_usd`` is what the machine costs its user for an hour.
    """

    objective: str = "throughput"
    max_ttft_s: float | None = Field(default=None, gt=0)
    is_lossless: bool = True
    price_per_hour_usd: float | None = Field(default=None, gt=0)

    def score(self, metrics: "Metrics") -> float:
        """Return the score that is minimised. Raises InputError for an unknown objective."""
        return _objective(self.objective)(metrics)

    def rank(self, metrics: "Metrics") -> tuple[float, float]:
        """Return what ranks plans: by how many seconds the constraint is missed, then the score."""
        # Keeping to the constraint comes before any score.
        return self.excess_s(metrics), self.score(metrics)

    def excess_s(self, metrics: "Metrics") -> float:
        """Return by how many seconds the time to the first token is too long."""
        return 0.0 if self.max_ttft_s is None else max(0.0, metrics.ttft_s - self.max_ttft_s)

    def usd_per_million_tokens(self, metrics: "Metrics") -> float | None:
        """The price of a million output tokens; None without a price."""
        if self.price_per_hour_usd is None:
            return None
        return (
            self.price_per_hour_usd / SECONDS_PER_HOUR / metrics.output_tokens_per_s * PRICED_TOKENS
        )

    def check(self) -> None:
        """Raise InputError, which says what to set, for a goal that cannot be planned for."""
        _objective(self.objective)
        # A price changes no order, but without one the answer would state no cost.
        if self.objective == "cost" and self.price_per_hour_usd is None:
            raise InputError(
                "`objective` cost: no price is known; say what an hour costs with `price_per_hour_usd`, or set price_usd in the machine "
                "file and say over how many hours it is paid off with `amortize_hours`"
            )


def hourly_price_usd(machine: Machine, amortize_hours: float) -> float:
    """Return the machine's own price spread over that many hours, in US dollars an hour.

    Raises InputError where the machine states no price.
    """
    if machine.price_usd is None:
        raise InputError(
            f"`amortize_hours`: {machine.name} states no price_usd; set it in the machine file or as an override, "
            "or say what an hour costs with `price_per_hour_usd`"
        )
    return machine.price_usd.effective / amortize_hours


def _objective(name: str) -> "Callable[[Metrics], float]":
    if name not in OBJECTIVES:
        raise unknown_name("objective", name, OBJECTIVES)
    return OBJECTIVES[name]
