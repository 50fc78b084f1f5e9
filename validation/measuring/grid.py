"""The sizes at which operations are measured."""

from dataclasses import dataclass, replace

from hwprofiles.units import KIB, MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Rising sizes at which operations are measured.

    Each small number of tokens has a point of its own: libraries take other ways for 1, 2, 3 and 4.
    """

    expert_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    sequences: tuple[int, ...]
    attention_sequences: tuple[int, ...]
    contexts: tuple[int, ...]
    prompts: tuple[int, ...]
    copy_bytes: tuple[int, ...]


QUICK = Grid(
    expert_tokens=(1, 2, 3, 4, 8, 16, 32, 64, 128),
    tokens=(1, 2, 4, 16, 64, 128),
    sequences=(1, 4),
    attention_sequences=(1,),
    contexts=(1, 32, 128, 512, 2048),
    prompts=(2, 8, 32, 128, 512),
    copy_bytes=(4 * KIB, 64 * KIB, 512 * KIB, 4 * MIB, 32 * MIB),
)
"""The grid of a quick measurement."""

QUICK_CUDA = replace(
    QUICK,
    expert_tokens=(*QUICK.expert_tokens, 512),
    tokens=(*QUICK.tokens, 512),
    copy_bytes=(*QUICK.copy_bytes, 256 * MIB),
)
"""The grid of a quick measurement of a GPU."""

FULL = Grid(
    expert_tokens=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512),
    tokens=(1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512),
    sequences=(1, 2, 4, 8, 16),
    attention_sequences=(1, 4),
    contexts=(1, 16, 64, 256, 1024, 2048, 4096),
    prompts=(2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
    copy_bytes=(4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB),
)
"""The grid for a computer whose accelerator is one of its own cores."""

FULL_CUDA = replace(
    FULL,
    expert_tokens=(*FULL.expert_tokens, 1024, 2048, 4096),
    tokens=(*FULL.tokens, 1024, 2048, 4096),
    attention_sequences=(1, 4, 16),
    prompts=(*FULL.prompts, 2048, 4096),
    copy_bytes=(*FULL.copy_bytes, 256 * MIB, 512 * MIB),
)
"""The grid for a GPU; points of its CPU end where they take too long."""
