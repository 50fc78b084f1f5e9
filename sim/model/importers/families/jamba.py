"""Jamba: Mamba in most layers, attention in every n-th, experts in every m-th."""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, routing, selection
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.state_space import mamba_weights


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    selected = selection(keys)
    routed = (
        # With one expert, its class builds dense layers (JambaMLP).
        routing(keys, _periodic(keys, "expert", num_layers))
        if selected["num_experts"] > 1
        else frozenset()
    )
    experts = Experts(
        **selected,
        intermediate=keys.count("intermediate_size"),
        name="feed_forward",
    )
    full = grouped(keys, GroupedTraits())
    mamba = mamba_weights(keys, "mamba")
    attends = _periodic(keys, "attn", num_layers)
    stack = Stack(
        attention=[full if index in attends else mamba for index in range(num_layers)],
        dense=dense_weights(keys, name="feed_forward"),
        routed=routed,
        experts=experts if routed else None,
    )
    return decoder_of(keys, stack)


def _periodic(keys: ConfigKeys, what: str, num_layers: int) -> frozenset[int]:
    """The layers whose index, divided by the stated period, leaves the stated offset. Raises
    InputError for an offset that is not below the period.
    """
    period = keys.count(f"{what}_layer_period")
    offset = keys.count_or(0, f"{what}_layer_offset")
    if offset >= period:
        raise keys.error(
            f"{what}_layer_offset", f"< {what}_layer_period must hold, got {offset} ≥ {period}"
        )
    return frozenset(range(offset, num_layers, period))


JAMBA = Family(
    name="jamba",
    decode=_decode,
    required=("expert_layer_offset", "attn_layer_offset"),
    # read only where a layer has more than one expert
    idle=("expert_layer_period", "expert_layer_offset"),
)
