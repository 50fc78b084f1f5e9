"""The windows that layers attend within, and their lengths."""

from sim.model.importers.config_keys import ConfigKeys

_IS_WINDOWED = {"full_attention": False, "sliding_attention": True, "chunked_attention": True}


def windows(keys: ConfigKeys, num_layers: int, full_period: int | None = None) -> list[int | None]:
    """Return the window of each layer in tokens, None for full attention.

    The first of these that is stated says which layers have a window; without any, all have it.
    ``layer_types`` names the layers with a sliding or chunked window. ``no_rope_layers`` marks full
    attention with 0 (Llama 4). With ``full_period`` n, every n-th layer is full. With
    ``max_window_layers``, the layers from there on have a window (Qwen). A chunk counts as a
    window: a layer keeps the chunk at most. A window that is not used, or no shorter than the
    context, is None.
    """
    # Read even where no window is in use, so that wrong lists are still refused.
    windowed = _windowed_layers(keys, num_layers, full_period)
    size = _window_tokens(keys)
    if size is None:
        return [None] * num_layers
    return [size if is_windowed else None for is_windowed in windowed]


def _window_tokens(keys: ConfigKeys) -> int | None:
    if not keys.flag_or(True, "use_sliding_window"):
        return None
    # A chunk goes first where a file states both.
    size = keys.count_or(0, "attention_chunk_size", "sliding_window")
    return size if 0 < size < keys.count("max_position_embeddings") else None


def _windowed_layers(keys: ConfigKeys, num_layers: int, full_period: int | None) -> list[bool]:
    if keys.has("layer_types"):
        return keys.layer_kinds("layer_types", num_layers, _IS_WINDOWED)
    if keys.has("no_rope_layers") and keys.items("no_rope_layers"):
        return [bool(has_rope) for has_rope in keys.per_layer("no_rope_layers", num_layers)]
    if full_period:
        period = (
            keys.count("no_rope_layer_interval")
            if keys.has("no_rope_layer_interval")
            else full_period
        )
        return [(index + 1) % period != 0 for index in range(num_layers)]
    first = keys.count_or(0, "max_window_layers")
    return [index >= first for index in range(num_layers)]
