"""Refuse measured popularity for reproductions that do not use it."""

from pathlib import Path

from hwprofiles import InputError


def refuse_popularity(popularity: Path | None, name: str, because: str) -> None:
    """Raise InputError where a file of popularity was given to a reproduction that takes none."""
    if popularity is not None:
        raise InputError(
            f"`routing` popularity:{popularity}: {name} takes no popularity; {because}"
        )
