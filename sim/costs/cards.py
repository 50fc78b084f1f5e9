"""A model over several cards: what each holds, and what work costs there.

There are three ways. Each layer lies whole on one card, with its attention, KV cache and experts,
as in llama.cpp's ``-sm layer``; one card works at a time. Or the experts of every layer are dealt
out, and the cards work at once. Or every card holds a slice of each matrix (``slices``). Between
cards, hidden states pass through host memory, or directly where the machine states a link from card
to card.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwprofiles import Curve, Gpu, InputError, Link, Machine
from sim.costs.cost_model import CostModel, Way
from sim.costs.memory import machine_bytes
from sim.costs.price import Price
from sim.costs.roofline import Device
from sim.costs.slices import SlicedCosts, SplitMode
from sim.model.model import Model, TensorClass


@dataclass(frozen=True, kw_only=True)
class CardSplit:
    """The cards in use, each as a machine whose one GPU it is, and how many ``layers`` each holds,
    in the order of the layers.

    ``layers`` None: the cards share every layer, as ``mode`` says. Either experts are dealt out to
    them in turn, layer after layer, and all else is on the first card; or all cards hold slices.
    """

    machines: tuple[Machine, ...]
    layers: tuple[int, ...] | None
    mode: SplitMode = SplitMode.EXPERTS

    @property
    def num_cards(self) -> int:
        """How many cards are in use."""
        return len(self.machines)

    @property
    def is_sliced(self) -> bool:
        """Whether the cards hold slices of matrices and run them at once, as if they were one."""
        return self.layers is None and self.mode is not SplitMode.EXPERTS

    @property
    def num_gpus(self) -> int:
        """The number of GPUs with lanes of their own: those that experts are dealt out to, or 1."""
        return self.num_cards if self.layers is None and not self.is_sliced else 1

    @cached_property
    def card_of_layer(self) -> NDArray[np.int64]:
        """The number of each layer's card [layer] among those in use, where layers lie whole."""
        assert self.layers is not None, "experts that are dealt out"
        return np.repeat(np.arange(self.num_cards), self.layers)

    @property
    def borders(self) -> NDArray[np.bool_]:
        """Whether the layer before lies on another card [layer]."""
        return np.asarray(np.diff(self.card_of_layer, prepend=0) != 0)


def cards_of(machine: Machine) -> tuple[Machine, ...]:
    """Return every card of a machine, as a machine whose one GPU it is.

    The cards of its own kind come first, then the others as they were named. Measured curves are of
    the machine's own kind of GPU; other kinds keep only the CPU's.
    """
    own = _with_card(machine, machine.gpu, machine.link, machine.curves)
    curves = tuple(curve for curve in machine.curves if curve.device == "cpu")
    others = (
        _with_card(machine, other.gpu, other.link, curves)
        for other in machine.other_gpus
        for _ in range(other.gpu.count)
    )
    return (*[own] * machine.gpu.count, *others)


def shared(
    machine: Machine, num_gpus: int, mode: SplitMode = SplitMode.EXPERTS
) -> CardSplit | None:
    """Return the split of every layer over ``num_gpus`` of the machine's GPUs in that mode; None
    for one GPU, which has all.

    Raises InputError where the machine has not that many GPUs of its own kind, and for slices on
    one.
    """
    if num_gpus == 1 and mode is not SplitMode.EXPERTS:
        raise InputError(f"`split_mode` {mode} needs `gpus` of at least 2, got 1")
    # One is what nobody asked for: a machine without a GPU is refused in words of its own.
    if num_gpus == 1:
        return None
    if not 1 <= num_gpus <= machine.gpu.count:
        raise InputError(
            f"`gpus` must be between 1 and the {machine.gpu.count} of {machine.name}, got {num_gpus}"
        )
    return CardSplit(machines=cards_of(machine)[:num_gpus], layers=None, mode=mode)


def layer_split(machine: Machine, model: Model, layers: Sequence[int]) -> CardSplit:
    """Return the split with that many layers on each card, in the order of ``cards_of``; a card
    with 0 is not used.

    The slower a card reads its memory, the earlier are its layers: the last card has the head,
    which every token reads whole.

    Raises InputError where there are not that many cards, or layers.
    """
    cards = cards_of(machine)
    if len(layers) > len(cards):
        raise InputError(
            f"`layers_by_card` names {len(layers)} cards, {machine.name} has {len(cards)}"
        )
    if sum(layers) != model.num_layers or min(layers) < 0:
        raise InputError(
            f"`layers_by_card` must lay out all {model.num_layers} layers of {model.name}, got {','.join(map(str, layers))}"
        )
    used = [number for number, count in enumerate(layers) if count]
    used.sort(key=lambda number: cards[number].gpu.memory_bytes_per_s.effective)
    return CardSplit(
        machines=tuple(cards[number] for number in used),
        layers=tuple(layers[number] for number in used),
    )


def gpu_bytes(machine: Machine, split: CardSplit | None) -> int:
    """Return the bytes of memory of all cards that layers are laid out over, or of one GPU."""
    cards = (machine,) if split is None or split.layers is None else split.machines
    return sum(machine_bytes(card) for card in cards)


def laid_out(model: Model, split: CardSplit) -> Model:
    """The model with each layer marked by the kind of card that it lies on."""
    kinds = _kinds(split)
    if len(kinds) == 1:
        return model  # equal cards cost the same
    number_of = [kinds.index(machine) for machine in split.machines]
    layers = (
        replace(layer, card=number_of[card])
        for layer, card in zip(model.layers, split.card_of_layer, strict=True)
    )
    return replace(model, layers=tuple(layers))


@dataclass(frozen=True, slots=True, kw_only=True)
class CardCosts(CostModel):
    """Prices where layers lie on unlike cards: each layer has those of its own card.

    ``machine`` is the first card's. A price that belongs to no layer, of a copy or of a call's
    kernels, is the dearest of all cards. The vocabulary projection is the last card's.
    """

    machines: tuple[Machine, ...]

    def at(self, layer: int) -> CostModel:
        """Prices of the layer's own card."""
        return self._of_card(self.model.layers[layer].card)

    def expert(self, device: Device, layer: int, tokens: ArrayLike) -> Price:
        """See CostModel."""
        return self.at(layer).expert(device, layer, tokens)

    def expert_table(self, device: Device, layer: int, max_tokens: int) -> NDArray[np.int64]:
        """See CostModel."""
        return self.at(layer).expert_table(device, layer, max_tokens)

    def attention(
        self,
        device: Device,
        layer: int,
        tokens: ArrayLike,
        sequences: ArrayLike,
        first: ArrayLike,
        end: ArrayLike,
    ) -> Price:
        """See CostModel."""
        return self.at(layer).attention(device, layer, tokens, sequences, first, end)

    def weights(self, device: Device, layer: int, which: TensorClass, tokens: ArrayLike) -> Price:
        """See CostModel."""
        return self.at(layer).weights(device, layer, which, tokens)

    def copy(self, way: Way, num_bytes: ArrayLike, *, is_pinned: bool) -> Price:
        """See CostModel."""
        found = [costs.copy(way, num_bytes, is_pinned=is_pinned) for costs in self._cards]
        return max(found, key=lambda price: int(price.ns.sum()))

    def head(self, device: Device, tokens: ArrayLike) -> Price:
        """See CostModel."""
        return self.at(self.model.num_layers - 1).head(device, tokens)

    def expert_curve(self, device: Device) -> Curve | None:
        """See CostModel; none for the GPU, whose cards are unlike."""
        return None if device == "gpu" else self._of_card(0).expert_curve(device)

    def group_overhead_ns(self, device: Device) -> int:
        """See CostModel."""
        return max(costs.group_overhead_ns(device) for costs in self._cards)

    def group_least_ns(self) -> int:
        """See CostModel."""
        return max(costs.group_least_ns() for costs in self._cards)

    @property
    def _cards(self) -> tuple[CostModel, ...]:
        return tuple(self._of_card(card) for card in range(len(self.machines)))

    def _of_card(self, card: int) -> CostModel:
        return self.once(
            ("card", card),
            lambda: CostModel(
                machine=self.machines[card],
                model=self.model,
                is_fused=self.is_fused,
                captures_graphs=self.captures_graphs,
                is_in_group=self.is_in_group,
            ),
        )


def cost_model(machine: Machine, model: Model, split: CardSplit | None) -> CostModel:
    """Return the prices of a model on a machine: by layer where layers lie on unlike cards, of
    slices where cards hold slices.
    """
    if split is not None and split.is_sliced:
        return SlicedCosts(machine=machine, model=model, num_cards=split.num_cards, mode=split.mode)
    kinds = () if split is None else _kinds(split)
    if len(kinds) < 2:
        return CostModel(machine=machine, model=model)
    return CardCosts(machine=machine, model=model, machines=kinds)


def _kinds(split: CardSplit) -> tuple[Machine, ...]:
    """Return the cards in use; of cards that are alike, one."""
    kinds: list[Machine] = []
    for machine in split.machines:
        if machine not in kinds:
            kinds.append(machine)
    return tuple(kinds)


def _with_card(machine: Machine, gpu: Gpu, link: Link, curves: tuple[Curve, ...]) -> Machine:
    return machine.model_copy(
        update={
            "gpu": gpu.model_copy(update={"count": 1}),
            "link": link,
            "curves": curves,
            "other_gpus": (),
        }
    )
