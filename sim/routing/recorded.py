"""Recorded routing: a trace of expert ids replayed token by token, in order."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, Kind, Provenance
from sim.model import Model
from sim.routing.base import Routing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedRouting(Routing):
    """A trace: ``expert_ids`` is [token, MoE layer, rank]. Sequences of a batch start evenly spread over it; it wraps around."""

    name: str
    expert_ids: NDArray[np.int16]
    num_experts: int

    def experts(self, model: Model, num_sequences: int, num_tokens: int, seed: int) -> NDArray[np.int16]:
        """See Routing; the seed plays no part, a recording is replayed as it is."""
        self._check(model)
        total = len(self.expert_ids)
        starts = np.arange(num_sequences) * total // num_sequences
        return np.asarray(self.expert_ids[(starts[:, None] + np.arange(num_tokens)) % total])

    def popularity(self, model: Model) -> NDArray[np.float64]:
        """See Routing: counted over the whole trace, so a placement made from it knows the trace it is tested on."""
        self._check(model)
        layers = self.expert_ids.shape[1]
        counts = np.stack([np.bincount(self.expert_ids[:, layer].ravel(), minlength=model.num_experts) for layer in range(layers)])
        shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
        return shares

    def _check(self, model: Model) -> None:
        stated = (self.expert_ids.shape[1], self.expert_ids.shape[2])
        wanted = (len(model.moe_layers), model.top_k)
        if stated != wanted or self.num_experts > model.num_experts:
            raise InputError(
                f"{self.name}: trace of {stated[0]} MoE layers, top-{stated[1]}, expert ids below {self.num_experts} "
                f"does not fit {model.name} ({wanted[0]} MoE layers, top-{wanted[1]}, {model.num_experts} experts)"
            )

    @property
    def provenance(self) -> Provenance:
        """See Routing."""
        return Provenance(kind=Kind.MEASURED, source=f"recorded trace {self.name}", date="2026")

    @property
    def description(self) -> str:
        """See Routing."""
        return f"trace {self.name}, {len(self.expert_ids):,} tokens, replayed in order"


def load_trace(path: Path) -> RecordedRouting:
    """Read an ``.npz`` trace with ``expert_ids`` [token, MoE layer, rank]. Raises InputError on anything else."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            ids = archive["expert_ids"] if "expert_ids" in archive.files else None
            found = ", ".join(archive.files)
    except Exception as error:  # numpy raises many types on a damaged archive
        raise InputError(f"{path}: not a readable .npz trace: {' '.join(str(error).split()) or type(error).__name__}") from None
    if ids is None:
        raise InputError(f"{path}: no array expert_ids [token, MoE layer, rank]; found: {found}")
    if ids.ndim != 3 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"{path}: expert_ids must be integers [token, MoE layer, rank], got {ids.dtype} {ids.shape}")
    if ids.min() < 0 or ids.max() > np.iinfo(np.int16).max:
        raise InputError(f"{path}: expert_ids must be between 0 and {np.iinfo(np.int16).max}, got {ids.min()} to {ids.max()}")
    if (np.diff(np.sort(ids, axis=2), axis=2) == 0).any():
        raise InputError(f"{path}: expert_ids must differ along rank: some token selects an expert twice")
    return RecordedRouting(name=path.stem, expert_ids=ids.astype(np.int16), num_experts=int(ids.max()) + 1)
