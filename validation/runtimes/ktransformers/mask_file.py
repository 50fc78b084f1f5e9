"""The file of ``--init-expert-location``, which torch writes."""

from pathlib import Path

import torch

from hwprofiles import InputError
from planner.export.ktransformers.mask import Counts


def save_mask(counts: Counts, path: Path) -> None:
    """Write counts as sglang-kt 0.7.2 reads them. Raises InputError if the file cannot be
    written.
    """
    try:
        torch.save({"logical_count": torch.from_numpy(counts)}, path)
    except (OSError, RuntimeError) as error:
        raise InputError(f"cannot write {path}: {error}") from None
