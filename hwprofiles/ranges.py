"""Checks that the numbers of an object lie in their ranges, for use where the object is made."""

from hwprofiles.errors import InputError


def check_at_least(owner: object, **least: float) -> None:
    """Raise InputError for a field of ``owner`` below the number given here; None passes, as not
    set.
    """
    for name, bound in least.items():
        value = getattr(owner, name)
        # Asked this way round, so that nan is refused too.
        if value is not None and not value >= bound:
            raise InputError(f"{name} must be at least {bound}, got {value}")


def check_shares(owner: object, *names: str) -> None:
    """Raise InputError for a field of ``owner`` that is not between 0 and 1; None passes, as not
    set.
    """
    for name in names:
        value = getattr(owner, name)
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{name} must be between 0 and 1, got {value}")


def check_above_zero(owner: object, *names: str) -> None:
    """Raise InputError for a share of ``owner`` that is not above 0 and at most 1."""
    for name in names:
        value = getattr(owner, name)
        if not 0 < value <= 1:
            raise InputError(f"{name} must be above 0 and at most 1, got {value}")
