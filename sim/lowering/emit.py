"""From decisions to tasks: compiled, one pass after another.

Order of a layer on the GPU: host overhead · copy of the whole layer (if streamed) · attention · gate · activations to
the CPU · CPU experts · shared experts · resident experts · each missing expert's copy (after the one that leaves, in a
swap) and run · activations back. The next layer waits for the last of each lane.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sim.policies.base import Action, LayerMode
from sim.task import NONE, TaskKind

GPU, H2D, D2H, CPU, HOST = range(5)
"""Resource numbers of the step scale."""

N, M, PREVIOUS, JOIN_A, JOIN_B, PLACE, STAGED, STREAMED, IS_SERIAL, STEP = range(10)
"""Slots of the running state: tasks so far, dependencies so far, last task, the two ends to wait for, where the hidden state is, …"""

_CPU_ACTION, _FETCH, _SWAP, _RESIDENT = int(Action.CPU), int(Action.FETCH), int(Action.SWAP), int(Action.RESIDENT)
_ON_CPU, _STREAM = int(LayerMode.CPU), int(LayerMode.STREAM)
_ATTENTION, _GATE, _DENSE, _SHARED = int(TaskKind.ATTENTION), int(TaskKind.GATE), int(TaskKind.DENSE_FFN), int(TaskKind.SHARED_EXPERT)
_EXPERT, _HEAD, _FETCHING, _LAYER_FETCH = int(TaskKind.EXPERT), int(TaskKind.HEAD), int(TaskKind.FETCH), int(TaskKind.LAYER_FETCH)
_EVICT, _ACTIVATIONS, _OVERHEAD = int(TaskKind.EVICT), int(TaskKind.ACTIVATION_COPY), int(TaskKind.OVERHEAD)
_NONE = NONE


class Columns(NamedTuple):
    """A task table under construction."""

    resource: NDArray[np.int16]
    duration_ns: NDArray[np.int64]
    dependency_offsets: NDArray[np.int64]
    dependencies: NDArray[np.int64]
    kind: NDArray[np.uint8]
    step: NDArray[np.int32]
    layer: NDArray[np.int16]
    expert: NDArray[np.int32]
    num_bytes: NDArray[np.int64]


class Plan(NamedTuple):
    """What compiled code reads of a run: tokens and actions [pass, layer, expert], modes, feeding and buffers."""

    tokens: NDArray[np.int32]
    actions: NDArray[np.uint8]
    modes: NDArray[np.uint8]
    head_modes: NDArray[np.uint8]
    is_moe: NDArray[np.bool_]
    num_tokens: NDArray[np.int32]
    num_sequences: NDArray[np.int32]
    step: NDArray[np.int32]
    is_serial: NDArray[np.bool_]


def compiled(function):  # type: ignore[no-untyped-def]
    """numba's njit with an on-disk cache; numba has no type stubs, so the decorator is untyped."""
    return njit(cache=True)(function)


@compiled
def _after(out, state, task):  # type: ignore[no-untyped-def]
    """The task about to be emitted waits for that one (NONE: for nothing)."""
    if task >= 0:
        out.dependencies[state[M]] = task
        state[M] += 1


@compiled
def _emit(out, state, resource, duration_ns, kind, layer, expert, num_bytes):  # type: ignore[no-untyped-def]
    """Append one task; in a serial pass it also waits for the task before it."""
    number = state[N]
    if state[IS_SERIAL] == 1:
        _after(out, state, state[PREVIOUS])
    out.resource[number] = resource
    out.duration_ns[number] = duration_ns
    out.kind[number] = kind
    out.step[number] = state[STEP]
    out.layer[number] = layer
    out.expert[number] = expert
    out.num_bytes[number] = num_bytes
    out.dependency_offsets[number + 1] = state[M]
    state[N] = number + 1
    state[PREVIOUS] = number
    return number


@compiled
def _after_join(out, state):  # type: ignore[no-untyped-def]
    _after(out, state, state[JOIN_A])
    _after(out, state, state[JOIN_B])


@compiled
def _join(state, first, second):  # type: ignore[no-untyped-def]
    state[JOIN_A] = first
    state[JOIN_B] = second


@compiled
def _overhead(out, state, duration_ns, layer):  # type: ignore[no-untyped-def]
    """Host time that the next task waits for, if there is any."""
    if duration_ns > 0:
        _after_join(out, state)
        _join(state, _emit(out, state, HOST, duration_ns, _OVERHEAD, layer, _NONE, 0), _NONE)


@compiled
def _move_hidden(out, state, prices, place, tokens, layer):  # type: ignore[no-untyped-def]
    """Bring the hidden state to the GPU or the CPU if it is not there."""
    if state[PLACE] == place:
        return
    _after_join(out, state)
    if place == CPU:
        copy = _emit(out, state, D2H, prices.activations_d2h[tokens], _ACTIVATIONS, layer, _NONE, tokens * prices.activation_bytes)
    else:
        copy = _emit(out, state, H2D, prices.activations_h2d[tokens], _ACTIVATIONS, layer, _NONE, tokens * prices.activation_bytes)
    _join(state, copy, _NONE)
    state[PLACE] = place


@compiled
def _stream(out, state, ring, duration_ns, num_bytes, layer):  # type: ignore[no-untyped-def]
    """Copy a whole layer (or the head) into the next free layer buffer."""
    _after(out, state, ring[state[STREAMED] % len(ring)])
    return _emit(out, state, H2D, duration_ns, _LAYER_FETCH, layer, _NONE, num_bytes)


@compiled
def _layer_on_cpu(out, state, plan, prices, index, layer):  # type: ignore[no-untyped-def]
    """Attention, gate, feed-forward and all experts, one after another on the CPU."""
    _move_hidden(out, state, prices, CPU, plan.num_tokens[index], layer)
    _after_join(out, state)
    last = _emit(out, state, CPU, prices.attention[index, layer], _ATTENTION, layer, _NONE, 0)
    if plan.is_moe[layer]:
        last = _emit(out, state, CPU, prices.gate[index, layer], _GATE, layer, _NONE, 0)
    if prices.ffn[index, layer] > 0:
        last = _emit(out, state, CPU, prices.ffn[index, layer], _SHARED if plan.is_moe[layer] else _DENSE, layer, _NONE, 0)
    shape = prices.shape_of[layer]
    for expert in range(plan.tokens.shape[2]):
        tokens = plan.tokens[index, layer, expert]
        if tokens > 0:
            last = _emit(out, state, CPU, prices.expert_cpu[shape, tokens], _EXPERT, layer, expert, 0)
    _join(state, last, _NONE)


@compiled
def _fetched_expert(out, state, plan, prices, ring, index, layer, expert, gate, last):  # type: ignore[no-untyped-def]
    """Copy a missing expert into the next free buffer, or into the slot of the expert that leaves, and run it; returns the run.

    The expert that leaves may be one that this layer has just used: a swap waits for the last run before it.
    """
    num_bytes, source = prices.expert_bytes[layer], gate
    is_swap = plan.actions[index, layer, expert] == _SWAP
    if is_swap:
        _after(out, state, last)
        source = _emit(out, state, D2H, prices.evict[layer], _EVICT, layer, expert, num_bytes)
    _after(out, state, source)
    slot = state[STAGED] % len(ring)
    if not is_swap:
        _after(out, state, ring[slot])
    copy = _emit(out, state, H2D, prices.fetch[layer], _FETCHING, layer, expert, num_bytes)
    _after(out, state, copy)
    run = _expert(out, state, plan, prices, index, layer, expert, GPU)
    if not is_swap:
        ring[slot] = run
        state[STAGED] += 1
    return run


@compiled
def _expert(out, state, plan, prices, index, layer, expert, resource):  # type: ignore[no-untyped-def]
    tokens, shape = plan.tokens[index, layer, expert], prices.shape_of[layer]
    duration_ns = prices.expert_gpu[shape, tokens] if resource == GPU else prices.expert_cpu[shape, tokens]
    return _emit(out, state, resource, duration_ns, _EXPERT, layer, expert, 0)


@compiled
def _experts_on_cpu(out, state, plan, prices, index, layer, gate):  # type: ignore[no-untyped-def]
    """Send activations down and run the layer's CPU experts; returns the last of them, NONE where there is none."""
    tokens = 0
    for expert in range(plan.tokens.shape[2]):
        if plan.actions[index, layer, expert] == _CPU_ACTION:
            tokens += plan.tokens[index, layer, expert]
    last = _NONE
    if tokens > 0:
        tokens = min(tokens, plan.num_tokens[index])
        _after(out, state, gate)
        sent = _emit(out, state, D2H, prices.activations_d2h[tokens], _ACTIVATIONS, layer, _NONE, tokens * prices.activation_bytes)
        for expert in range(plan.tokens.shape[2]):
            if plan.actions[index, layer, expert] == _CPU_ACTION:
                _after(out, state, sent)
                last = _expert(out, state, plan, prices, index, layer, expert, CPU)
    return last, tokens


@compiled
def _experts(out, state, plan, prices, ring, index, layer, gate):  # type: ignore[no-untyped-def]
    """The routed experts of a layer whose dense part runs on the GPU; sets the join."""
    last_on_cpu, tokens = _experts_on_cpu(out, state, plan, prices, index, layer, gate)
    last = gate
    if prices.ffn[index, layer] > 0:
        last = _emit(out, state, GPU, prices.ffn[index, layer], _SHARED, layer, _NONE, 0)
    for expert in range(plan.tokens.shape[2]):
        if plan.actions[index, layer, expert] == _RESIDENT:
            last = _expert(out, state, plan, prices, index, layer, expert, GPU)
    for expert in range(plan.tokens.shape[2]):
        if plan.actions[index, layer, expert] >= _FETCH:
            last = _fetched_expert(out, state, plan, prices, ring, index, layer, expert, gate, last)
    back = _NONE
    if last_on_cpu >= 0:
        _after(out, state, last_on_cpu)
        back = _emit(out, state, H2D, prices.activations_h2d[tokens], _ACTIVATIONS, layer, _NONE, tokens * prices.activation_bytes)
    _join(state, last, back)


@compiled
def _layer_on_gpu(out, state, plan, prices, rings, index, layer):  # type: ignore[no-untyped-def]
    is_streamed = plan.modes[index, layer] == _STREAM
    weights = _NONE
    if is_streamed:
        weights = _stream(out, state, rings[1], prices.layer_fetch[layer], prices.layer_bytes[layer], layer)
    _move_hidden(out, state, prices, GPU, plan.num_tokens[index], layer)
    _after_join(out, state)
    _after(out, state, weights)
    last = _emit(out, state, GPU, prices.attention[index, layer], _ATTENTION, layer, _NONE, 0)
    if plan.is_moe[layer]:
        gate = _emit(out, state, GPU, prices.gate[index, layer], _GATE, layer, _NONE, 0)
        _experts(out, state, plan, prices, rings[0], index, layer, gate)
    else:
        last = _emit(out, state, GPU, prices.ffn[index, layer], _DENSE, layer, _NONE, 0)
        _join(state, last, _NONE)
    if is_streamed:
        rings[1][state[STREAMED] % len(rings[1])] = state[JOIN_A]
        state[STREAMED] += 1


@compiled
def _head(out, state, plan, prices, rings, index):  # type: ignore[no-untyped-def]
    """The vocabulary projection of each sequence's last position, if this pass ends in one."""
    if prices.head[index] == 0:
        return
    weights = _NONE
    mode = plan.head_modes[index]
    if mode == _STREAM:
        weights = _stream(out, state, rings[1], prices.head_fetch, prices.head_bytes, _NONE)
    place = CPU if mode == _ON_CPU else GPU
    _move_hidden(out, state, prices, place, plan.num_sequences[index], _NONE)
    _after_join(out, state)
    _after(out, state, weights)
    last = _emit(out, state, place, prices.head[index], _HEAD, _NONE, _NONE, 0)
    _join(state, last, _NONE)
    if mode == _STREAM:
        rings[1][state[STREAMED] % len(rings[1])] = last
        state[STREAMED] += 1


@compiled
def emit_pass(out, state, plan, prices, rings, index):  # type: ignore[no-untyped-def]
    """All tasks of one forward pass."""
    state[IS_SERIAL] = plan.is_serial[index]
    state[STEP] = plan.step[index]
    for layer in range(plan.modes.shape[1]):
        _overhead(out, state, prices.layer_overhead, layer)
        if plan.modes[index, layer] == _ON_CPU:
            _layer_on_cpu(out, state, plan, prices, index, layer)
        else:
            _layer_on_gpu(out, state, plan, prices, rings, index, layer)
    _head(out, state, plan, prices, rings, index)
    _overhead(out, state, prices.step_overhead, _NONE)


@compiled
def emit_run(out, state, plan, prices, rings, last_task):  # type: ignore[no-untyped-def]
    """All passes of a run; ``last_task`` [pass] gets the task whose end completes each."""
    for index in range(len(plan.step)):
        emit_pass(out, state, plan, prices, rings, index)
        last_task[index] = state[N] - 1
