"""Commands that run operations need torch, which is not installed along with Rosin."""

LOADING_TORCH = "loading torch"
"""What is being done while a command imports it, which takes seconds on a cold disk."""


def require_torch(purpose: str) -> None:
    """Raise InputError, naming what to install, where torch is not installed. ``purpose`` as in
    "validate runs the plan".
    """
    from importlib.util import find_spec

    from hwprofiles import InputError

    # find_spec looks for a package without importing it: torch takes seconds to load.
    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise InputError(
            f"{purpose} with torch, which is not installed: pip install 'rosin[validate]'"
        )
