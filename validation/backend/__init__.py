"""A real MoE decoder in torch, and policies executed on it.

Importing this package imports torch.
"""

from validation.backend.architecture import Architecture, architecture_of, stand_in
from validation.backend.checkpoint import Checkpoint, load_checkpoint
from validation.backend.executed import ExecutedRun
from validation.backend.plain import plain_forward
from validation.backend.rehearsal import Rehearsal, rehearse
from validation.backend.run_policy import RunInputs, execute_policy
from validation.backend.tier import Tier
from validation.backend.weights import Weights, random_weights

__all__ = [
    "Architecture",
    "Checkpoint",
    "ExecutedRun",
    "Rehearsal",
    "RunInputs",
    "Tier",
    "Weights",
    "architecture_of",
    "execute_policy",
    "load_checkpoint",
    "plain_forward",
    "random_weights",
    "rehearse",
    "stand_in",
]
