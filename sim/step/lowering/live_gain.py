"""Prefetches that a gate chooses by simulating the layers to come (HybriMoE, arXiv 2504.05897).

Everything is compiled. The simulation applies the beliefs of the dispatch rule to one layer after
another. It need not be right, but it must match what the policy would do.
"""

import numpy as np

from sim.engine.compilation import inner, part
from sim.engine.task import NONE
from sim.step.lowering.live_ahead import Ahead, bring
from sim.step.lowering.live_dispatch import END, LINK, RESULTS, Enquiry, ask, copy_left_ns
from sim.step.lowering.slots import HELD, NUM_COMING, forget
from sim.step.rules.split import find_selected

_NONE = NONE
THERE, NOT_COMING, NO_ROOM = -1, 2**62, 2**62 + 1
"""Values of ``due`` other than the link's work (ns) until an expert has arrived.

THERE: the GPU holds the expert. NOT_COMING: it is not on its way. NO_ROOM: its layer has no slot
for it.
"""


@part
def fetch_gainful(draft, cached, live, now, lookup, believed):
    """Prefetch the experts that make the next layers end sooner, the most gainful first.

    ``believed`` is what ``dispatch_missing`` returned for this layer. The link has some time left
    until a layer's gate, beside copies on demand. A copy is there at that gate if this time is
    enough for the copy and all prefetches before it. Otherwise the rest of the copy counts as the
    expert's copy, which the rule may find too long. A gain is multiplied by the chance that such a
    prediction is right, and the delay that the copy causes is subtracted.
    """
    layers = draft.sheet.layers
    queued = _look_ahead(draft.sheet, cached, live, now)
    # Each copy delays those behind it, so every gain is judged anew after one has been queued.
    while True:
        step, expert = _most_gainful(draft.sheet, live, now, believed, queued)
        if step < 0:
            return
        ahead = now.layer + 1 + step
        if bring(draft, cached, live, now, lookup, Ahead(ahead, expert, np.int64(1))):
            queued += layers[ahead].fetch
            live.due[step, expert] = queued
        else:
            # The layer has no slot to give, so nothing else of it can come either.
            for other in live.named[step, : live.num_named[step]]:
                if live.due[step, other] == NOT_COMING:
                    live.due[step, other] = NO_ROOM


@inner
def _most_gainful(sheet, live, now, believed, queued):
    """Return the most gainful copy behind ``queued`` ns of others: its layer and its expert.

    The layer is given as the number of layers ahead, less one. Both are NONE if no copy gains
    anything.
    """
    best_gain = 0.0
    best_step = np.int64(_NONE)
    best_expert = np.int64(_NONE)
    # How long the link has nothing on demand to copy, up to the end of each layer.
    idle = max(np.int64(0), believed[END] - believed[LINK])
    num_needs = _note_need(live, 0, believed[RESULTS], believed[END] - believed[LINK])
    for step in range(min(len(live.chances), sheet.layers.shape[0] - 1 - now.layer)):
        ahead = now.layer + 1 + step
        work = sheet.work[now.pass_index, ahead]
        copy = sheet.layers[ahead].fetch
        idle += sheet.run[0].layer_overhead + work.attention
        if not sheet.layers[ahead].is_moe:
            idle += work.ffn
            continue
        idle += work.gate
        end, link, results = _foreseen(sheet, live, now.pass_index, ahead, step, idle)
        num_needs = _note_need(live, num_needs, link, idle)
        expert = _heaviest_missing(live, now.pass_index, ahead, step)
        # Else its copy would be no sooner there than one on demand.
        if expert >= 0 and queued < idle:
            live.due[step, expert] = queued + copy
            sooner, _, _ = _foreseen(sheet, live, now.pass_index, ahead, step, idle)
            live.due[step, expert] = NOT_COMING
            delay = _delay_ns(live, num_needs, queued, copy)
            gain = (end - sooner) * live.chances[step] - delay
            if gain > best_gain:
                best_gain = gain
                best_step = np.int64(step)
                best_expert = expert
        idle += max(np.int64(0), end - link)
        num_needs = _note_need(live, num_needs, results, idle)
    return best_step, best_expert


@inner
def _note_need(live, number, is_needed, idle):
    """Note that the link is needed after ``idle`` ns to spare, unless ``is_needed`` is 0.

    Return the number of such needs.
    """
    if is_needed == 0:
        return number
    live.needs[number] = idle
    return number + 1


@inner
def _delay_ns(live, num_needs, queued, copy):
    """Return how much a copy is believed to delay others, in ns.

    A need of the link while the copy holds it waits for half a piece of the copy, on average.
    """
    delay = 0.0
    for number in range(num_needs):
        if queued <= live.needs[number] < queued + copy:
            delay += copy / (2.0 * live.rules[0].num_chunks)
    return delay


@inner
def _look_ahead(sheet, cached, live, now):
    """Note what the next layers may need and when the link has brought it; return the link's work
    (ns).

    Needed experts that the GPU holds are pinned.
    """
    layer = now.layer
    num_experts = cached.slots.shape[1]
    queued = np.int64(0)
    for step in range(min(len(live.chances), cached.slots.shape[0] - 1 - layer)):
        ahead = layer + 1 + step
        expected = live.expected[step, now.pass_index, ahead]
        live.num_named[step] = find_selected(expected, live.named[step])
        for expert in live.named[step, : live.num_named[step]]:
            slot = cached.slots[ahead, expert]
            live.due[step, expert] = THERE if slot.status == HELD else NOT_COMING
            if slot.status == HELD:
                # It is needed soon, so it may not leave; who else may has to be listed anew.
                slot.pinned_at = now.stamp
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
    """Return the believed end of a later layer, the end of its copies on demand and its CPU
    experts.

    Both ends are in ns from the gate of that layer; the experts are a number. Until that gate the
    link has ``idle`` ns to spare.
    """
    expected = live.expected[step, index, ahead]
    # The rule is asked about the experts expected there alone: most of a layer are not.
    named = live.named[step, : live.num_named[step]]
    whole = np.int64(sheet.layers[ahead].fetch)
    num_misses = np.int64(0)
    is_alike = len(named) > 0
    for expert in named:
        late = min(max(np.int64(0), live.due[step, expert] - idle), whole)
        live.is_held[expert] = late == 0
        live.is_miss[expert] = late > 0
        num_misses += late > 0
        is_alike &= late in (0, whole) and expected[expert] == expected[named[0]]
        live.copies[expert] = late
        live.plan[expert] = 0
    enquiry = Enquiry(
        sheet.layers[ahead].shape,
        named,
        expected,
        np.int64(sheet.work[index, ahead].ffn),
        np.int64(sheet.passes[index].num_tokens),
        num_misses,
        whole if is_alike else np.int64(_NONE),
        np.int64(0),
    )
    return ask(sheet, live, enquiry, live.plan)


@inner
def _heaviest_missing(live, index, ahead, step):
    """Return the expert with the most tokens that is expected, missing and not on its way.

    Ties go to the lower number. Experts whose layer has no slot for them are left out; NONE if no
    expert is left.
    """
    expected = live.expected[step, index, ahead]
    heaviest = np.int64(_NONE)
    for expert in live.named[step, : live.num_named[step]]:
        if live.due[step, expert] == NOT_COMING and (
            heaviest < 0 or expected[expert] > expected[heaviest]
        ):
            heaviest = expert
    return heaviest
