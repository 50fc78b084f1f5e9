"""What a dispatch rule is told at a gate of a live run, and what it says: compiled. ``live`` calls it once hits are known."""

import numpy as np

from sim.engine.compilation import inner
from sim.lowering.operations import PROMOTE, operate
from sim.lowering.slots import ARRIVED, COMING, LATE_USES, NOW_NS, NUM_COMING, QUEUED, STARTED
from sim.policies.actions import Action
from sim.policies.dispatch.spilling import LINK_BUSY, spill_row
from sim.policies.dispatch.split import Rule, split_row
from sim.task import NONE

_RESIDENT, _CPU, _FETCH, _LATE = int(Action.RESIDENT), int(Action.CPU), int(Action.FETCH), int(Action.LATE)
_TO_CPU, _SPILL = int(Rule.CPU), int(Rule.SPILL)
_NONE = NONE
END, LINK, RESULTS = range(3)
"""Places in what ``dispatch_missing`` returns."""


@inner
def copy_left_ns(sheet, cached, layer, expert):
    """What is believed to be left of the copy of an awaited expert: all of it, or what its time since it began leaves."""
    slot, whole = cached.slots[layer, expert], np.int64(sheet.layers[layer].fetch)
    if slot.phase == ARRIVED:
        return np.int64(0)
    if slot.phase == STARTED:
        return max(np.int64(0), slot.started_ns + whole - cached.counters[NOW_NS])
    return whole


@inner
def _link_busy_ns(sheet, cached, live):
    """How long a copy under way holds the link: to its end, or to the next border of its pieces."""
    num_experts, busy = cached.slots.shape[1], np.int64(0)
    for place in range(cached.counters[NUM_COMING]):
        layer, expert = cached.coming[place] // num_experts, cached.coming[place] % num_experts
        if cached.slots[layer, expert].phase == STARTED:
            left, piece = copy_left_ns(sheet, cached, layer, expert), sheet.layers[layer].fetch // live.rules[0].num_chunks
            if left > 0 and piece > 0:
                busy = max(busy, (left - 1) % piece + 1)
    return busy


@inner
def dispatch_missing(sheet, cached, live, index, layer):
    """Ask the rule about misses and experts still on their way.

    Returns when the layer (END) and its copies (LINK) are believed to end, in ns, and how many experts the CPU computes (RESULTS).
    One on its way is a miss with less to copy: the rule may prefer the CPU for it. What has begun to be copied then arrives all the same;
    what has not is unpinned, so that it may be taken back. With the rule CPU those on their way are waited for.
    """
    tokens, actions, shape = sheet.tokens[index, layer], sheet.actions[index, layer], sheet.layers[layer].shape
    rule, other, num_misses, asked = live.rules[0].dispatch, np.int64(sheet.work[index, layer].ffn), 0, live.asked[: live.num_asked[0]]
    busy = _link_busy_ns(sheet, cached, live)
    for expert in asked:
        live.is_held[expert] = actions[expert] == _RESIDENT
        is_late = actions[expert] == _LATE
        live.is_miss[expert] = tokens[expert] > 0 and (actions[expert] == 0 or (is_late and rule != _TO_CPU))
        num_misses += live.is_miss[expert]
        for row in range(3):
            live.priced[row, expert] = live.believed[row, shape, tokens[expert]]
        if is_late:
            live.priced[1, expert] = max(0, copy_left_ns(sheet, cached, layer, expert) - busy)
            other += live.priced[2, expert] if rule == _TO_CPU else 0
    end = ask(sheet, live, asked, tokens, other, sheet.passes[index].num_tokens, num_misses, busy, actions)
    link, results = lanes_asked(live, asked, tokens, actions, busy)
    if rule == _SPILL:
        for expert in asked:
            live.spilled[index, layer, expert] = live.is_held[expert] and actions[expert] == _CPU
    _settle_late(cached, live, layer, tokens, actions)
    return end, link, results


@inner
def lanes_asked(live, asked, tokens, actions, busy):
    """What ``ask`` has left to the link, in ns, and how many experts to the CPU."""
    link, results = np.int64(busy), 0
    for expert in asked:
        if live.is_miss[expert] and actions[expert] == _FETCH:
            link += live.priced[1, expert]
        results += tokens[expert] > 0 and actions[expert] == _CPU
    return link, results


@inner
def ask(sheet, live, asked, tokens, other, num_tokens, num_misses, busy, actions):
    """Have the rule write its actions for the experts ``asked`` for, as ``is_miss``, ``is_held`` and ``priced`` of ``live`` say.

    Returns the layer's end, in ns. ``other``: the GPU's work besides routed experts; ``busy``: how long the link is not free.
    """
    if live.rules[0].dispatch == _SPILL:
        live.fixed[LINK_BUSY] = busy
        return spill_row(
            asked, tokens, live.is_miss, live.is_held, live.priced, other, num_tokens, sheet.activations, live.fixed, live.room, actions
        )
    for expert in asked:
        if live.is_held[expert]:
            other += live.priced[2, expert]
    if num_misses == 0:
        return other
    on_cpu, copies, on_gpu = live.priced[0], live.priced[1], live.priced[2]
    return split_row(live.rules[0].dispatch, asked, tokens, live.is_miss, on_cpu, copies, on_gpu, other, busy, actions)


@inner
def _settle_late(cached, live, layer, tokens, actions):
    """Promote what stays late; unpin what goes to the CPU."""
    for expert in live.asked[: live.num_asked[0]]:
        slot = cached.slots[layer, expert]
        if tokens[expert] > 0 and slot.status == COMING:
            if actions[expert] == _CPU:
                slot.pinned_at = _NONE
                continue
            actions[expert] = _LATE
            cached.counters[LATE_USES] += 1
            if slot.phase == QUEUED:
                operate(cached, live, slot.copy, PROMOTE)
