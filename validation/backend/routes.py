"""The rows of a pass that go to each expert, and their shares.

Rows are known on the host, and used where the hidden state is.
"""

# TensorLegend: T tokens of a pass, P experts selected by a token, M tokens of one expert.

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from validation.backend.crossing import ON_HOST


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Routes:
    """Rows sorted by expert; those of expert e stand at ``ends[e - 1]`` up to ``ends[e]``.

    Each place, host or accelerator, has (rows, shares [., 1]) of its own.
    """

    ends: list[int] = field(default_factory=list)
    places: tuple[tuple[Tensor, Tensor], ...] = ()

    @classmethod
    def of(cls, chosen: NDArray[Any], tokens_E: NDArray[np.int32], shares_TP: Tensor) -> "Routes":
        """Make routes from the gate's choices [T, P] and shares.

        One sort serves all experts, so that no expert has to ask the accelerator for its rows.
        """
        # Stable, so that an expert's rows keep their order and sums give the same bits.
        order = torch.from_numpy(np.argsort(chosen.ravel(), kind="stable"))
        on_host = _sorted(order, shares_TP.to(ON_HOST))
        places = (
            (on_host,)
            if shares_TP.device == ON_HOST
            else (on_host, _sorted(order.to(shares_TP.device), shares_TP))
        )
        return cls(ends=np.cumsum(tokens_E).tolist(), places=places)

    def here(self, expert: int) -> tuple[Tensor, Tensor]:
        """Rows and shares of an expert where the gate ran."""
        return self._of(expert, self.places[-1])

    def on_host(self, expert: int) -> tuple[Tensor, Tensor]:
        """Rows and shares of an expert on the host."""
        return self._of(expert, self.places[0])

    def _of(self, expert: int, place: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        own = slice(self.ends[expert - 1] if expert else 0, self.ends[expert])
        return place[0][own], place[1][own]


def _sorted(order: Tensor, shares_TP: Tensor) -> tuple[Tensor, Tensor]:
    return order // shares_TP.shape[1], shares_TP.reshape(-1)[order, None]
