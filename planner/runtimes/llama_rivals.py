"""What people run without a plan: llama.cpp's own fit, and its short flags at their best."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain

from hwprofiles import InputError
from hwprofiles.units import MIB
from planner.runtimes.asked import Asked
from planner.runtimes.llama_layout import layout_of, placement_in
from planner.runtimes.llama_search import (
    DEFAULT_MICRO_BATCH_TOKENS,
    base_arguments,
    micro_batches,
)
from planner.runtimes.option import Option
from planner.runtimes.rival import NO_FIT, Rival, best_rival
from sim.runtimes.llama_cpp.arguments import TENSOR, LlamaArguments
from sim.runtimes.llama_cpp.overrides import CpuExperts
from sim.runtimes.llama_cpp.placement import layer_devices


def llama_rivals(asked: Asked) -> Iterator[Rival]:
    """Yield the rivals, all with the plan's room for keys and values, in the first type that is
    allowed.
    """
    if not asked.host.gpus:
        yield _of_arguments(asked, "no arguments", _plain(asked))
        return
    # llama.cpp fits by itself, ik_llama.cpp only where it is asked to.
    fitting = replace(_plain(asked), is_fitted=True, is_fit_asked=asked.runtime != "llama.cpp")
    yield _of_arguments(asked, "--fit, its own choice", fitting)
    # A dense model has no experts that a flag could leave on the CPU.
    if not asked.model.is_dense:
        yield from _cpu_experts(asked)
        yield _all_on_cpu(asked)
        # ik_llama.cpp has no cache of experts.
        if asked.runtime == "llama.cpp":
            yield _expert_cache(asked)
    yield _layers(asked)
    if asked.runtime == "llama.cpp" and len(asked.host.gpus) > 1:
        yield _slices(asked)


def _plain(asked: Asked, micro_batch: int = DEFAULT_MICRO_BATCH_TOKENS) -> LlamaArguments:
    return base_arguments(asked, asked.kv_types[0], micro_batch)


def _of_arguments(asked: Asked, name: str, arguments: LlamaArguments) -> Rival:
    """Return a rival of those arguments, placed as the runtime places them."""
    try:
        option = asked.option(arguments)
    except InputError as error:
        return Rival(name=name, reason=str(error))
    return _checked(asked, name, option)


def _checked(asked: Asked, name: str, option: Option) -> Rival:
    return (
        Rival(name=name, option=option) if asked.fits(option) else Rival(name=name, reason=NO_FIT)
    )


def _cpu_experts(asked: Asked) -> Iterator[Rival]:
    """Yield the best of ``-ngl all -ncmoe N`` over all N, then also over sizes of micro-batches."""
    names = ("-ncmoe, best N", "-ncmoe and -ub, best")
    if asked.runtime != "llama.cpp" and len(asked.host.gpus) > 1:
        reason = "which layers it takes with several GPUs is not known"
        yield from (Rival(name=name, reason=reason) for name in names)
        return
    # The default stands first.
    found = [list(_swept(asked, _plain(asked, size))) for size in micro_batches(asked)]
    for name, swept in zip(names, (found[0], [*chain(*found)]), strict=True):
        yield best_rival(asked, name, swept)


def _swept(asked: Asked, plain: LlamaArguments) -> Iterator[Option]:
    """Yield the options of ``-ncmoe N`` that fit."""
    homes = _default_homes(asked)
    # ik_llama.cpp counts layers with experts, llama.cpp all layers.
    most = len(asked.model.moe_layers) if plain.is_ik else asked.model.num_layers

    def option(count: int) -> Option:
        """Return the option of ``-ncmoe`` with that count."""
        item = CpuExperts(num_layers=count, is_from_end=plain.is_ik)
        layers = item.layers(asked.model.num_layers, asked.model.moe_layers)
        arguments = replace(plain, gpu_layers=len(homes), placements=(item,))
        return asked.option(arguments, placement_in(asked, layout_of(homes, layers)))

    yield from _fitting(asked, option, most)


def _fitting(asked: Asked, option: Callable[[int], Option], most: int) -> Iterator[Option]:
    """Yield options that fit, from the one that leaves least to the CPU on to ever more.

    What takes less of the GPU always fits it, so the least is found by halving. Beyond it, options
    are tried at growing steps, since leaving more to the CPU is hardly ever faster.
    """
    low = 0
    high = most
    while low < high:
        middle = (low + high) // 2
        if _fits_gpus(asked, option(middle)):
            high = middle
        else:
            low = middle + 1
    step = 0
    while low + step <= most:
        found = option(low + step)
        if asked.fits(found):
            yield found
        # Doubling: far from the least the price hardly changes with one layer.
        step = 2 * step or 1


def _fits_gpus(asked: Asked, option: Option) -> bool:
    return not any(
        name.startswith("gpu") for name in asked.missing_bytes(option.memory, option.arguments)
    )


def _default_homes(asked: Asked) -> tuple[int, ...]:
    """Return where all layers go unless a split is stated."""
    return _homes(asked, replace(_plain(asked), gpu_layers=asked.model.num_layers + 1))


def _homes(asked: Asked, arguments: LlamaArguments) -> tuple[int, ...]:
    memories = [gpu.memory_bytes for gpu in asked.host.gpus]
    return tuple(layer_devices(asked.model.num_layers, arguments, memories, range(len(memories))))


def _all_on_cpu(asked: Asked) -> Rival:
    """Return the rival ``-ngl all -cmoe``."""
    homes = _default_homes(asked)
    arguments = replace(
        _plain(asked), gpu_layers=len(homes), placements=(CpuExperts(num_layers=None),)
    )
    layout = layout_of(homes, asked.model.moe_layers)
    return _checked(asked, "-cmoe", asked.option(arguments, placement_in(asked, layout)))


def _expert_cache(asked: Asked) -> Rival:
    """Return the rival ``-ngl all -cmoe`` with what is left of GPU memory as a cache of experts."""
    name = "-cmoe --moe-cache-mib, the rest"
    host = _all_on_cpu(asked).option
    # A cache comes on top of what -cmoe needs, so without room for that there is none.
    if host is None:
        return Rival(name=name, reason=NO_FIT)
    room = asked.room_bytes()
    free = sum(room[device] - own.total for device, own in host.memory.items() if device != "host")
    arguments = host.arguments
    assert isinstance(arguments, LlamaArguments)
    cached = replace(arguments, expert_cache_mib=int(free // MIB))
    return Rival(name=name, option=asked.option(cached, host.placement))


def _layers(asked: Asked) -> Rival:
    """Return the best of ``-ngl N``, over all N."""
    entries = asked.model.num_layers + 1

    def option(num_left: int) -> Option:
        """Return the option with that many entries (layers and the head) left on the host."""
        arguments = replace(_plain(asked), gpu_layers=entries - num_left)
        layout = layout_of(_homes(asked, arguments), ())
        return asked.option(arguments, placement_in(asked, layout))

    return best_rival(asked, "-ngl, best N", list(_fitting(asked, option, entries)))


def _slices(asked: Asked) -> Rival:
    """Return the best of ``-sm tensor -ncmoe N``, over all N.

    llama.cpp calls this mode experimental. It refuses the mode for some architectures, which a
    model here does not name. So a plan takes it only where the user runs it already.
    """
    name = "-sm tensor, experimental"
    whole = replace(_plain(asked), split_mode=TENSOR, gpu_layers=asked.model.num_layers + 1)

    def option(count: int) -> Option:
        """Return the option with so many layers' experts on the CPU."""
        placements = (CpuExperts(num_layers=count),) if count else ()
        return asked.option(replace(whole, placements=placements))

    most = 0 if asked.model.is_dense else asked.model.num_layers
    try:
        found = list(_fitting(asked, option, most))
    except InputError as error:
        return Rival(name=name, reason=str(error), is_offered=False)
    return replace(best_rival(asked, name, found), is_offered=False)
