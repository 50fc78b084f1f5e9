"""The cells of experts in some passes of a run.

What is kept here depends neither on the link's weight nor on what a plan streams.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.bounds.alike import Sizes, sizes_of
from planner.bounds.frontier import CellWork
from planner.bounds.lines import Cells
from planner.bounds.tables import Tables, tables_of
from planner.bounds.work import Floats, Work


@dataclass(frozen=True, kw_only=True, eq=False)
class MarkedPasses:
    """The passes of a run that are ``marked`` [pass]."""

    work: Work
    marked: NDArray[np.bool_]

    @cached_property
    def cell_of(self) -> NDArray[np.int64]:
        """The number of each cell [cell]: pass · layers + layer."""
        return self.work.experts.cell_of[self._is_used]

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """The pass of each cell [cell]."""
        return self.cell_of // self.work.num_layers

    @cached_property
    def layer(self) -> NDArray[np.int64]:
        """The layer of each cell [cell]."""
        return self.cell_of % self.work.num_layers

    @cached_property
    def cell_of_triple(self) -> NDArray[np.int64]:
        """The place of each triple's cell [triple]."""
        return np.repeat(np.arange(len(self.cell_of)), np.diff(self.unweighed.offsets))

    @cached_property
    def cells(self) -> Cells:
        """Cells with their phases, and the items of their triples."""
        # 0 is prefill and 1 decode, as lines number their phases.
        phase = (~self.work.is_prefill[self.index]).astype(np.int64)
        return Cells(
            layer=self.layer,
            phase=phase,
            offsets=self.unweighed.offsets,
            item=self._inside(self.work.experts.item),
        )

    @cached_property
    def unweighed(self) -> CellWork:
        """The cells' work, with all of their windows counted and nothing of the link's total."""
        work = self.work
        experts = self.work.experts
        num = len(self.cell_of)
        return CellWork(
            cpu=self._inside(experts.cpu_ns),
            gpu=self._inside(experts.gpu_ns),
            tokens=self._inside(experts.tokens),
            offsets=np.append(0, np.cumsum(np.diff(experts.offsets)[self._is_used])),
            fetch=work.fetch[self.layer],
            beside=work.beside_gpu.ravel()[self.cell_of],
            num_tokens=work.num_tokens[self.index],
            down=work.activations_d2h,
            up=work.activations_h2d,
            time_share=np.ones(num),
            link_share=np.zeros(num),
            is_early=np.zeros(num, np.bool_),
        )

    @cached_property
    def sizes(self) -> Sizes:
        """The numbers of experts that the cells select."""
        return sizes_of(self.unweighed, self.layer, self.work.num_layers)

    @cached_property
    def tables(self) -> Tables:
        """The tables of the cells' times, for routing that treats experts alike."""
        return tables_of(self.unweighed)

    def weighed(self, share: Floats, *, is_prompt_early: bool) -> CellWork:
        """Return the cells' work with the link's total weighted by ``share`` [pass].

        If ``is_prompt_early``, copies of prefill may begin ahead of their gates.
        """
        of_cell = share[self.index]
        is_early = self.work.is_prefill[self.index] & is_prompt_early
        return self.unweighed._replace(
            time_share=1 - of_cell, link_share=of_cell, is_early=is_early
        )

    @cached_property
    def _is_used(self) -> NDArray[np.bool_]:
        return self.marked[self.work.experts.cell_of // self.work.num_layers]

    def _inside(self, of_triple: NDArray[Any]) -> NDArray[Any]:
        # A whole run needs no copy of its arrays.
        if self._is_used.all():
            return of_triple
        return of_triple[np.repeat(self._is_used, np.diff(self.work.experts.offsets))]
