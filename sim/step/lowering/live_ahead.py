"""What a gate fetches ahead: candidates that a prefetcher has named, or what is worth it in a
simulation of the layers to come.

All compiled. ``live`` calls ``fetch_ahead`` once the experts of the gate's own layer are emitted.
"""

import numpy as np

from sim.engine.compilation import inner, part
from sim.engine.task import NONE, TaskKind
from sim.step.lowering.emit import (
    lane_of,
    owner_of,
)
from sim.step.lowering.live_dispatch import END, LINK, RESULTS, ask, copy_left_ns
from sim.step.lowering.operations import DROP, operate
from sim.step.lowering.sheet import (
    H2D,
    IS_SERIAL,
    NUM_JOINS,
    PREVIOUS,
    STATE_SIZE,
    append,
    wait_for,
)
from sim.step.lowering.shelf import bring_in
from sim.step.lowering.slots import (
    ABSENT,
    COMING,
    HELD,
    NUM_COMING,
    PREFETCHED_BYTES,
    QUEUED,
    forget,
    note_arrival,
    take_slot,
)
from sim.step.rules.split import find_selected

_PREFETCHING = int(TaskKind.PREFETCH)
_NONE = NONE
THERE, NOT_COMING, NO_ROOM = -1, 2**62, 2**62 + 1
"""Instead of the link's work until an expert has arrived: the GPU holds it; it is not on its way;
and its layer has no slot for it.
"""


@inner
def append_aside(out, state, resource, duration_ns, kind, layer, expert, num_bytes):
    """Append a task that takes no part in a serial pass: it waits only for what it names, and
    nothing waits for it unasked.
    """
    previous = state[PREVIOUS]
    is_serial = state[IS_SERIAL]
    state[IS_SERIAL] = 0
    number = append(out, state, resource, duration_ns, kind, layer, expert, num_bytes)
    state[PREVIOUS] = previous
    state[IS_SERIAL] = is_serial
    return number


@inner
def _read_aside(out, state, sheet, layer, expert, after, priority):
    """Have an expert in host memory that is fetched ahead: the read takes no part in a serial pass,
    and waits behind reads on demand.
    """
    previous = state[PREVIOUS]
    is_serial = state[IS_SERIAL]
    state[IS_SERIAL] = 0
    read = bring_in(out, state, sheet, layer, expert, after, priority)
    state[PREVIOUS] = previous
    state[IS_SERIAL] = is_serial
    return read


@part
def hold_back(out, state, sheet, cached, live, layer):
    """A miss pauses prefetching on every link: what is queued for later layers is taken back, and
    queued anew behind the missing copies.
    """
    num_experts = cached.slots.shape[1]
    latest = np.int64(_NONE)
    for gpu in range(len(live.on_demand)):
        latest = max(latest, live.on_demand[gpu])
    if latest < 0:
        return  # no link has a copy on demand, so nothing has to make way
    for place in range(cached.counters[NUM_COMING]):
        code = cached.coming[place]
        slot = cached.slots[code // num_experts, code % num_experts]
        # A copy that has begun is not stopped, and what this layer awaits is needed now.
        if slot.phase == QUEUED and code // num_experts != layer:
            operate(cached, live, slot.copy, DROP)
            _queue(
                out,
                state,
                sheet,
                live,
                slot,
                code // num_experts,
                code % num_experts,
                out.rows[slot.copy].priority,
            )


@part
def fetch_ahead(out, state, sheet, cached, live, index, layer, lookup, stamp):
    """Fetch ahead what this gate's candidates name and the GPU neither holds nor awaits, as many as
    may wait.
    """
    # All that is named is kept first: a copy must not take the place of what comes later in the list.
    end = _keep_named(cached, live, stamp)
    for place in range(live.first[stamp], end):
        named = live.candidates[place]
        if cached.slots[named.layer, named.expert].status == ABSENT:
            _bring(
                out,
                state,
                sheet,
                cached,
                live,
                index,
                layer,
                named.layer,
                named.expert,
                1 + named.priority,
                lookup,
                stamp,
            )


@part
def fetch_gainful(out, state, sheet, cached, live, index, layer, lookup, stamp, believed):
    """Fetch ahead what makes the next layers end sooner, the most gainful first, as long as
    anything does (HybriMoE, arXiv 2504.05897).

    ``believed`` is what the dispatch says of this layer. A copy is there at a layer's gate if until
    then the link has as much time left, beside copies on demand, as all prefetches before it and
    itself take; else what is left of it counts as its copy, which the rule may find too long. Gains
    count for the chance that such a prediction is right; against them stands what the copy delays.
    """
    queued = _look_ahead(sheet, cached, live, index, layer, stamp)
    # Each copy delays those behind it, so every gain is judged anew after one has been queued.
    while True:
        best_gain = 0.0
        best_step = _NONE
        best_expert = np.int64(_NONE)
        idle = max(np.int64(0), believed[END] - believed[LINK])
        num_needs = _note_need(live, 0, believed[RESULTS], believed[END] - believed[LINK])
        for step in range(min(len(live.chances), cached.slots.shape[0] - 1 - layer)):
            ahead = layer + 1 + step
            work = sheet.work[index, layer + 1 + step]
            copy = sheet.layers[layer + 1 + step].fetch
            idle += sheet.run[0].layer_overhead + work.attention
            if not sheet.layers[ahead].is_moe:
                idle += work.ffn
                continue
            idle += work.gate
            end, link, results = _foreseen(sheet, live, index, ahead, step, idle)
            num_needs = _note_need(live, num_needs, link, idle)
            expert = _heaviest_missing(live, index, ahead, step)
            if (
                expert >= 0 and queued < idle
            ):  # else its copy would be no sooner there than one on demand
                live.due[step, expert] = queued + copy
                sooner, _, _ = _foreseen(sheet, live, index, ahead, step, idle)
                live.due[step, expert] = NOT_COMING
                gain = (end - sooner) * live.chances[step] - _delay_ns(
                    live, num_needs, queued, copy
                )
                if gain > best_gain:
                    best_gain = gain
                    best_step = step
                    best_expert = expert
            idle += max(np.int64(0), end - link)
            num_needs = _note_need(live, num_needs, results, idle)
        if best_step < 0:
            return
        ahead = layer + 1 + best_step
        if _bring(
            out, state, sheet, cached, live, index, layer, ahead, best_expert, 1, lookup, stamp
        ):
            queued += sheet.layers[ahead].fetch
            live.due[best_step, best_expert] = queued
        else:
            # The layer has no slot to give, so nothing else of it can come either.
            for expert in live.named[best_step, : live.num_named[best_step]]:
                if live.due[best_step, expert] == NOT_COMING:
                    live.due[best_step, expert] = NO_ROOM


@inner
def _note_need(live, number, is_needed, idle):
    """Note, if it is, that the link is needed at once when it has had that many ns to spare;
    returns how many such needs there are.
    """
    if is_needed == 0:
        return number
    live.needs[number] = idle
    return number + 1


@inner
def _delay_ns(live, num_needs, queued, copy):
    """What a copy is believed to delay: each need that comes while it holds the link waits for half
    a piece, on average.
    """
    delay = 0.0
    for number in range(num_needs):
        if queued <= live.needs[number] < queued + copy:
            delay += copy / (2.0 * live.rules[0].num_chunks)
    return delay


@inner
def _look_ahead(sheet, cached, live, index, layer, stamp):
    """Note what the next layers may need and when the link will have brought it, and keep what of
    it is there; returns the link's work in hand.
    """
    num_experts = cached.slots.shape[1]
    queued = np.int64(0)
    for step in range(min(len(live.chances), cached.slots.shape[0] - 1 - layer)):
        ahead = layer + 1 + step
        live.num_named[step] = find_selected(live.expected[step, index, ahead], live.named[step])
        for expert in live.named[step, : live.num_named[step]]:
            slot = cached.slots[ahead, expert]
            live.due[step, expert] = THERE if slot.status == HELD else NOT_COMING
            if slot.status == HELD:
                # It is needed soon, so it may not leave; who else may has to be listed anew.
                slot.pinned_at = stamp
                forget(cached, ahead)
    for place in range(cached.counters[NUM_COMING]):  # in the order in which they were queued
        of_layer = cached.coming[place] // num_experts
        expert = cached.coming[place] % num_experts
        if of_layer > layer:
            queued += copy_left_ns(sheet, cached, of_layer, expert)
            if of_layer <= layer + len(live.chances):
                live.due[of_layer - layer - 1, expert] = queued
    return queued


@inner
def _foreseen(sheet, live, index, ahead, step, idle):
    """When a layer to come is believed to end, from its gate on, its copies on demand, and what it
    sends to the CPU.

    Until that gate the link has ``idle`` ns to spare. The rule is asked about the experts expected
    there alone: most of a layer are not.
    """
    shape = sheet.layers[ahead].shape
    expected = live.expected[step, index, ahead]
    named = live.named[step, : live.num_named[step]]
    whole = np.int64(sheet.layers[ahead].fetch)
    num_misses = 0
    is_alike = len(named) > 0
    for expert in named:
        late = min(max(np.int64(0), live.due[step, expert] - idle), whole)
        live.is_held[expert] = late == 0
        live.is_miss[expert] = late > 0
        num_misses += late > 0
        is_alike &= late in (0, whole) and expected[expert] == expected[named[0]]
        live.copies[expert] = late
        live.plan[expert] = 0
    copy = whole if is_alike else np.int64(_NONE)
    other = sheet.work[index, ahead].ffn
    num_tokens = sheet.passes[index].num_tokens
    return ask(
        sheet, live, shape, named, expected, other, num_tokens, num_misses, copy, 0, live.plan
    )


@inner
def _heaviest_missing(live, index, ahead, step):
    """Of the experts expected there that are not on their way and may come, that of the most
    tokens; ties to the lower number.
    """
    expected = live.expected[step, index, ahead]
    heaviest = np.int64(_NONE)
    for expert in live.named[step, : live.num_named[step]]:
        if live.due[step, expert] == NOT_COMING and (
            heaviest < 0 or expected[expert] > expected[heaviest]
        ):
            heaviest = expert
    return heaviest


@inner
def _keep_named(cached, live, stamp):
    """Pin what this gate names, in its order, until as many are missing as may still wait; returns
    the end of what is considered.
    """
    room = live.rules[0].max_waiting - cached.counters[NUM_COMING]
    for place in range(live.first[stamp], live.first[stamp + 1]):
        candidate = live.candidates[place]
        slot = cached.slots[candidate.layer, candidate.expert]
        if slot.status == ABSENT:
            if room <= 0:
                return place
            room -= 1
        slot.pinned_at = stamp
        forget(cached, candidate.layer)
    return live.first[stamp + 1]


@inner
def _bring(out, state, sheet, cached, live, index, current, layer, expert, priority, lookup, stamp):
    """Fetch an expert of a layer ahead, at the gate of layer ``current``; False if no slot can be
    had for it.
    """
    rules = live.rules[0]
    slot = cached.slots[layer, expert]
    has_room, freed_by, _, _ = take_slot(
        cached, rules.score, rules.is_global, index, current, layer, expert, stamp, sheet.layers
    )
    if not has_room:
        return False
    note_arrival(cached, rules.score, layer, expert)
    slot.looked_up = lookup
    slot.freed_by = freed_by
    _queue(out, state, sheet, live, slot, layer, expert, priority)
    slot.status = COMING
    slot.phase = QUEUED
    slot.is_unused = 1
    cached.coming[cached.counters[NUM_COMING]] = layer * cached.slots.shape[1] + expert
    cached.counters[NUM_COMING] += 1
    cached.counters[PREFETCHED_BYTES] += sheet.layers[layer].expert_bytes
    return True


@inner
def _queue(out, state, sheet, live, slot, layer, expert, priority):
    """Emit the prefetch of an expert, behind the copies on demand where they pause it."""
    copied = sheet.layers[layer]
    rules = live.rules[0]
    owner = owner_of(sheet, layer, expert)
    read = _read_aside(out, state, sheet, layer, expert, slot.looked_up, priority)
    wait_for(out, state, read)
    wait_for(out, state, slot.looked_up)
    wait_for(out, state, slot.freed_by)
    if rules.pauses_on_miss:
        for gpu in range(len(live.on_demand)):
            wait_for(out, state, live.on_demand[gpu])
    if rules.copies_in_turn:
        wait_for(out, state, live.turn[0])
    slot.copy = append_aside(
        out,
        state,
        lane_of(sheet, H2D, owner),
        copied.fetch,
        _PREFETCHING,
        layer,
        expert,
        copied.expert_bytes,
    )
    out.rows[slot.copy].priority = priority
    out.rows[slot.copy].num_chunks = rules.num_chunks
    if rules.copies_in_turn:
        live.turn[0] = slot.copy
    if rules.is_copy_awaited:
        state[STATE_SIZE + state[NUM_JOINS] - 1 - owner] = slot.copy
