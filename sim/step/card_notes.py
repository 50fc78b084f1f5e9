"""What a reader must know of the cards before trusting the figures of a run."""

from collections.abc import Iterator

from hwprofiles import Machine
from sim.costs.cards import CardSplit
from sim.costs.slices import SplitMode


def card_notes(machine: Machine, split: CardSplit | None) -> Iterator[str]:
    """Yield sentences about the cards that are left out and about what the other cards exchange."""
    if split is None or split.layers is None:
        yield from _left_out(machine, 1 if split is None else split.num_cards)
    if machine.other_gpus:
        names = ", ".join(f"{other.gpu.count} x {other.gpu.name}" for other in machine.other_gpus)
        yield f"policies run on GPUs of one kind, {machine.gpu.name}: not used are {names}"
    if split is None or split.num_cards == 1:
        return
    if split.layers is not None:
        counts = ", ".join(map(str, split.layers))
        yield (
            f"whole layers lie on {split.num_cards} GPUs ({counts}), one of which works at a time, as llama.cpp "
            "splits unless told otherwise; `split_mode` experts, tensor or row shares each layer, and by rows a "
            "further GPU often makes decoding slower"
        )
        return
    way = "straight" if machine.gpu_link else "by way of the host"
    count = split.num_cards
    if split.mode is SplitMode.TENSOR:
        yield (
            f"every matrix is split over {count} GPUs, experts too; partial sums go from one to another {way} twice a "
            "layer, within attention's time; what is shown of the GPU is of each"
        )
    elif split.mode is SplitMode.ROW:
        yield (
            f"the rows of every matrix beside experts are split over {count} GPUs; each sends its input and collects "
            f"its rows {way}; experts are on the first"
        )
    else:
        yield (
            f"experts are spread over {count} GPUs, all else is on the first; "
            f"hidden states go from one to another {way}"
        )
        yield (
            "programs that split matrices over GPUs gain or lose otherwise: `split_mode` tensor is as in vLLM and "
            "KTransformers, row as in llama.cpp's row split and fastllm's multicuda"
        )


def _left_out(machine: Machine, num_used: int) -> Iterator[str]:
    count = machine.gpu.count
    if count > num_used:
        used = "one of them is used" if num_used == 1 else f"{num_used} of them are used"
        yield f"the machine has {count} GPUs; {used} (`gpus`)"
