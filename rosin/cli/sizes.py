"""Sizes and rates as typed: ``24GB``, ``64GiB``, ``50GB/s``."""

from math import inf


def read_size(option: str, text: str, *, least: int = 0, takes_inf: bool = False) -> float:
    """Return a number of bytes, or of bytes a second, between ``least`` and MAX_BYTES.

    ``inf`` is read only if the option ``takes_inf``. Raises InputError for other text.
    """
    from hwprofiles import InputError
    from hwprofiles.limits import MAX_BYTES
    from hwprofiles.units import parse_number

    others = ", or inf" if takes_inf else ""
    try:
        size = parse_number(text)
    except ValueError as error:
        raise InputError(f"{option} {text}: {error}{others}") from None
    if not (least <= size <= MAX_BYTES or (takes_inf and size == inf)):
        raise InputError(f"{option} must be from {least} to {MAX_BYTES:.0e}{others}, got {text}")
    return size
