"""How long a prompt takes whose KV is loaded: at once, or layer by layer beside the computation
(LMCache, arXiv 2510.09665).

Times are of one layer, in ns, all layers alike.
"""

from hwprofiles import InputError


def sequential_ns(load_ns: float, compute_ns: float, num_layers: int) -> float:
    """Everything is loaded before the first layer computes."""
    _check(num_layers)
    return num_layers * (load_ns + compute_ns)


def layerwise_ns(load_ns: float, compute_ns: float, num_layers: int) -> float:
    """A layer computes while the next is loaded. Two layer buffers are enough for that."""
    _check(num_layers)
    # The first load and the last computation have nothing beside them.
    return load_ns + (num_layers - 1) * max(compute_ns, load_ns) + compute_ns


def blended_ns(
    load_ns: float,
    compute_ns: float,
    num_layers: int,
    recomputed_fraction: float = 0.15,
    num_check_layers: int = 1,
) -> float:
    """KV that is no prefix is loaded and mended (CacheBlend): check layers compute every token, the
    others that fraction of them.

    ``compute_ns`` is of all tokens; loading and computing overlap within a layer, so the longer of
    the two counts.
    """
    _check(num_layers)
    if not 0 <= recomputed_fraction <= 1:
        raise InputError(
            f"recomputed_fraction must be between 0 and 1, got {recomputed_fraction:g}"
        )
    if not 0 <= num_check_layers <= num_layers:
        raise InputError(
            f"num_check_layers must be between 0 and the {num_layers} layers, got {num_check_layers}"
        )
    mended = max(load_ns, recomputed_fraction * compute_ns)
    return num_check_layers * max(load_ns, compute_ns) + (num_layers - num_check_layers) * mended


def _check(num_layers: int) -> None:
    if num_layers < 1:
        raise InputError(f"num_layers must be at least 1, got {num_layers}")
