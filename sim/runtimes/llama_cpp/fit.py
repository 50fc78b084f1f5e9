"""The choices of llama.cpp's ``--fit``, where nothing in the arguments places anything.

The rules are those of common_params_fit_impl in common/fit.cpp at 0c1e57098. The fit counts GPU
memory alone, less a margin, and knows no speeds. Everything goes to the GPUs if it fits as they are
split by default. Otherwise layers without their routed experts go there, from the last layer and
the last GPU on. If all of these fit, the experts of layers from the first on follow, GPU by GPU. At
each GPU's end follows as much of one more layer's feed-forward as fits. The output head counts as a
layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from hwprofiles import InputError
from hwprofiles.units import MIB
from sim.model.model import Model, TensorClass
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.llama_cpp.overrides import EXPERTS, HOST, Override
from sim.runtimes.tensors import LayerTensor, TensorTable, tensors_of

ONLY_DOWN = r"\.ffn_down.*"
ALL_BUT_UP = r"\.ffn_(gate|gate_up|down).*"
ALL_OF_FEED_FORWARD = r"\.ffn_(gate|up|gate_up|down).*"
"""The tensors of the layer at a GPU's end that go elsewhere.

The three patterns are LAYER_FRACTION_GATE, _UP and _ATTN. They include the router and shared
experts where their names match.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitMemory:
    """Bytes that the fit divides.

    ``free_bytes`` and ``compute_bytes`` are by GPU in use: free memory, and buffers for computing.
    ``kv_bytes`` is the KV cache of each layer.
    """

    free_bytes: Sequence[float]
    compute_bytes: Sequence[float]
    kv_bytes: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """The consecutive layers of one GPU.

    The experts of its last ``parts`` layers are on the host. Of the first of these, only the
    tensors that ``boundary`` matches are elsewhere: on the next GPU where it ``goes_to_next``, else
    on the host.
    """

    layers: int = 0
    parts: int = 0
    boundary: str = EXPERTS
    goes_to_next: bool = False


def fitted_arguments(
    model: Model,
    arguments: LlamaArguments,
    memory: FitMemory,
    gpus: Sequence[int],
    tensors: TensorTable | None = None,
) -> LlamaArguments:
    """The arguments with what the fit chooses for these GPUs, where not everything fits as it is.

    ik_llama.cpp fails where the dense parts do not fit. Which layers keep their experts there is
    not documented: the first are taken, as llama.cpp does.
    Raises InputError where it fails, and for ik_llama.cpp among several GPUs.
    """
    fit = _Fit(model, arguments, memory, tensors or tensors_of(model))
    if arguments.is_ik:
        _check_ik(fit, len(gpus))
    shares = fit.dense_shares()
    if not model.is_dense and fit.has_room_for_experts():
        shares = fit.with_experts(shares)
    placements = []
    for index, layer, share in fit.parts(shares):
        is_first = layer == fit.first_part(shares, index)
        pattern = share.boundary if is_first else EXPERTS
        device = gpus[index + 1] if is_first and share.goes_to_next else HOST
        placements.append(Override(pattern=rf"blk\.{layer}{pattern}", device=device))
    counts = tuple(float(share.layers) for share in shares)
    return replace(
        arguments,
        gpu_layers=sum(share.layers for share in shares),
        tensor_split=counts if len(gpus) > 1 and any(counts) else (),
        placements=tuple(placements),
    )


def _check_ik(fit: "_Fit", num_gpus: int) -> None:
    if num_gpus > 1:
        raise InputError(
            f"ik_llama.cpp chooses by --fit among {num_gpus} GPUs, which is not modelled; state -ngl and -ot or -ncmoe"
        )
    if not fit.has_room_for_experts():
        raise InputError(
            "ik_llama.cpp --fit: attention and shared parts do not fit the GPU, so it fails"
        )


class _Fit:
    """The sizes that the fit adds up, and its two passes over the GPUs."""

    def __init__(
        self, model: Model, arguments: LlamaArguments, memory: FitMemory, table: TensorTable
    ) -> None:
        head = TensorClass.EMBEDDING if model.is_head_tied else TensorClass.HEAD
        self._table = [*table, ()]
        self._experts = [_matching(layer, EXPERTS) for layer in self._table]
        all_bytes = [_matching(layer, "") for layer in self._table]
        all_bytes[-1] = model.top_bytes.get(head, 0)
        self._whole = [
            size + kv for size, kv in zip(all_bytes, [*memory.kv_bytes, 0.0], strict=True)
        ]
        self._compute = memory.compute_bytes
        self._targets = [free - arguments.fit_margin_mib * MIB for free in memory.free_bytes]

    def dense_shares(self) -> list[_Share]:
        """Return the shares of GPUs that hold layers without experts, filled from the last on."""
        count = len(self._targets)
        shares = [_Share() for _ in range(count)]
        for index in reversed(range(count)):
            left = len(self._table) - sum(share.layers for share in shares)
            shares = self._most(index, left, partial(self._filled, index), shares)
        return shares

    def has_room_for_experts(self) -> bool:
        """Whether all GPUs together hold everything but routed experts, with room left."""
        needed = sum(self._whole) - sum(self._experts) + sum(self._compute)
        return sum(self._targets) > needed

    def with_experts(self, shares: list[_Share]) -> list[_Share]:
        """Return the shares with the first GPUs filled up with whole layers, experts included.

        Later GPUs held these layers without their experts.
        """
        last = len(shares) - 1
        start = next((at for at, share in enumerate(shares) if share.layers), last)
        index = 0
        while index <= start:
            movable = sum(share.parts for share in shares[start:])
            shares = self._most(index, movable, partial(_converted, index, start), shares)
            start = next((at for at in range(start, last) if shares[at].parts), last)
            shares, start = self._with_boundary(shares, index, start)
            index += 1
        return shares

    def parts(self, shares: list[_Share]) -> list[tuple[int, int, _Share]]:
        """Return (GPU, layer, share) for each layer on a GPU whose experts are elsewhere.

        The output head has no experts.
        """
        found = []
        for index, share in enumerate(shares):
            first = self.first_part(shares, index)
            layers = range(first, first + share.parts)
            found += [(index, layer, share) for layer in layers if self._experts[layer]]
        return found

    def first_part(self, shares: list[_Share], index: int) -> int:
        """The first layer of a GPU whose experts are elsewhere."""
        return self._start(shares, index) + shares[index].layers - shares[index].parts

    def _most(
        self,
        index: int,
        most: int,
        made: Callable[[list[_Share], int], list[_Share]],
        shares: list[_Share],
    ) -> list[_Share]:
        """Return the shares with as many layers given to a GPU as fit it, at most ``most``.

        ``made`` gives a number of layers to the GPU. If none fit, the shares stay as they are.
        """
        tried = (made(shares, count) for count in range(most, 0, -1))
        return next((own for own in tried if self._fits(own, index)), shares)

    def _filled(self, index: int, shares: list[_Share], count: int) -> list[_Share]:
        # Of the last GPU one layer is never counted as a part, which stands for the head.
        is_last = index == len(shares) - 1
        parts = (count - 1 if is_last else count) if any(self._experts) else 0
        return _replaced(shares, index, _Share(layers=count, parts=parts))

    def _with_boundary(
        self, shares: list[_Share], index: int, start: int
    ) -> tuple[list[_Share], int]:
        """Return the shares with part of one more layer on a GPU, if it fits; and ``start``.

        The part is attention with the matrices up and gate, else with up alone, else attention
        alone. ``start`` is the first GPU that holds layers without their experts.
        """
        last = len(shares) - 1
        if shares[start].layers <= (0 if index < last else 1) or not shares[start].parts:
            return shares, start
        given = replace(
            shares[start], layers=shares[start].layers - 1, parts=shares[start].parts - 1
        )
        moved = _replaced(shares, start, given)
        taken = replace(moved[index], layers=moved[index].layers + 1, parts=moved[index].parts + 1)
        taken = replace(taken, goes_to_next=index < last)

        def tried(boundary: str) -> list[_Share]:
            """The shares with that part of the layer on this GPU."""
            return _replaced(moved, index, replace(taken, boundary=boundary))

        for choice in ((ALL_BUT_UP, ONLY_DOWN), (ALL_OF_FEED_FORWARD,)):
            fitting = [own for own in map(tried, choice) if self._has_room(own, index)]
            # The second is tried only where the first fits.
            if fitting and self._has_room(tried(choice[0]), index):
                return fitting[-1], start + (given.parts == 0 and start < last)
        return shares, start

    def _fits(self, shares: list[_Share], index: int) -> bool:
        return self._bytes(shares, index) <= self._targets[index]

    def _has_room(self, shares: list[_Share], index: int) -> bool:
        """Whether a GPU and the next one, to which a boundary may go, are less than full."""
        own = range(index, min(index + 2, len(shares)))
        return all(self._bytes(shares, at) < self._targets[at] for at in own)

    def _start(self, shares: list[_Share], index: int) -> int:
        return len(self._table) - sum(share.layers for share in shares[index:])

    def _bytes(self, shares: list[_Share], index: int) -> float:
        """Bytes on a GPU with these shares."""
        share = shares[index]
        start = self._start(shares, index)
        end = start + share.layers
        first = end - share.parts
        total = self._compute[index] + sum(self._whole[start:end]) - sum(self._experts[first:end])
        if share.parts:
            layer = self._table[first]
            total += self._experts[first] - _matching(layer, share.boundary)
        if index and shares[index - 1].goes_to_next and shares[index - 1].parts:
            before = shares[index - 1]
            total += _matching(self._table[start - before.parts], before.boundary)
        return total


def _converted(index: int, start: int, shares: list[_Share], count: int) -> list[_Share]:
    """Return the shares with ``count`` layers moved to GPU ``index``, where their experts are too.

    The layers come from GPU ``start`` and those after it, which held them without experts.
    """
    made = list(shares)
    for at in range(start, len(shares)):
        moved = min(count, made[at].parts)
        count -= moved
        made[at] = replace(made[at], layers=made[at].layers - moved, parts=made[at].parts - moved)
        made[index] = replace(made[index], layers=made[index].layers + moved)
    return made


def _replaced(shares: list[_Share], index: int, share: _Share) -> list[_Share]:
    return [*shares[:index], share, *shares[index + 1 :]]


def _matching(layer: Sequence[LayerTensor], pattern: str) -> int:
    rule = Override(pattern=pattern, device=HOST)
    return sum(tensor.num_bytes for tensor in layer if rule.finds(tensor.name))
