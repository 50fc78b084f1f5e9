"""The tier that can stand for a machine, and the weights that it runs."""

from pathlib import Path

import torch

from hwprofiles import InputError, Machine
from hwprofiles.units import format_bytes
from sim.model.model import Model, TensorClass
from sim.step.simulate import Scenario
from validation.backend.architecture import architecture_of
from validation.backend.checkpoint import load_checkpoint
from validation.backend.crossing import ON_HOST
from validation.backend.tier import Tier, device_of
from validation.backend.weights import Weights, random_weights
from validation.measuring.machine_file import EMULATED
from validation.measuring.surroundings import memory_bytes
from validation.measuring.workplace import DTYPES

MOST_MEMORY_SHARE = 0.7
"""The share of this computer's memory that weights may fill, the accelerator's copies included."""


def real_tier(device: str, machine: Machine) -> Tier:
    """Return the tier of real operations, by name or ``auto``.

    Raises InputError if the tier cannot stand for the machine.
    """
    is_emulated = machine.description.startswith(EMULATED)
    wanted = ("cpu" if is_emulated else "cuda") if device == "auto" else device
    if (wanted == "cpu") != is_emulated:
        right = (
            "`device` cpu runs on it"
            if is_emulated
            else "only a machine that rosin measure wrote with `device` cpu is one"
        )
        raise InputError(
            f"`device` {wanted}: {machine.name} is {'' if is_emulated else 'not '}an emulated accelerator; {right}"
        )
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("`device` cuda: torch finds no CUDA device here")
    return Tier(wanted)


def tier_of(device: str, machine: Machine) -> Tier:
    """Return the tier of a device's name: PACED, or that of ``real_tier``.

    ``paced`` stands for any machine. ``auto`` chooses PACED for a machine that is not this
    computer.
    """
    is_here = machine.description.startswith(EMULATED)
    if torch.cuda.is_available():
        is_here |= machine.gpu.name == torch.cuda.get_device_name()
    return (
        Tier.PACED
        if device == "paced" or (device == "auto" and not is_here)
        else real_tier(device, machine)
    )


def real_weights(scenario: Scenario, tier: Tier) -> Weights:
    """Return random weights of the model's dimensions and format, page-locked beside a GPU.

    Raises InputError for a model that cannot be run here.
    """
    model = scenario.model
    name = model.dtype(TensorClass.EXPERT)
    if name not in DTYPES:
        raise InputError(
            f"{model.name} is stored in {name}; operations are run in {', '.join(DTYPES)}"
        )
    # Checked before drawing: a system without memory kills the process and gives no reason.
    device = device_of(tier)
    # On an emulated accelerator host and accelerator are the same memory, and each has a copy.
    _check_memory(model, num_copies=2 if device == ON_HOST else 1)
    return random_weights(
        architecture_of(model),
        scenario.seed,
        DTYPES[name],
        drawn_on=device,
        is_pinned=device != ON_HOST,
    )


def weights_for(scenario: Scenario, tier: Tier, checkpoint: Path | None) -> Weights | None:
    """Return the weights of a checkpoint, or random ones of full size.

    Return None for a paced run without a checkpoint, which takes a small stand-in.
    """
    is_paced = tier is Tier.PACED
    if checkpoint is not None:
        return load_checkpoint(
            checkpoint,
            torch.float32 if is_paced else DTYPES[scenario.model.dtype(TensorClass.EXPERT)],
        ).weights
    return None if is_paced else real_weights(scenario, tier)


def _check_memory(model: Model, num_copies: int) -> None:
    needed = num_copies * model.total_bytes
    had = MOST_MEMORY_SHARE * memory_bytes()
    if needed > had:
        raise InputError(
            f"{model.name}: {num_copies} copies of its weights take {format_bytes(needed)}, and {format_bytes(had)} of memory may be filled"
        )
