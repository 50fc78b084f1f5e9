"""The largest numbers that a file may state: far above anything real, and small enough that every
run ends.

A number above its limit is a mistake, and reading it is an error. Nothing of its size is made
before.
"""

from typing import Annotated

from pydantic import Field

MAX_TOKENS = 2**24
"""The most tokens of a prompt, an answer or a step.

The longest context that any model states is 10,485,760 (Llama 4 Scout).
"""
MAX_REQUESTS = 10_000_000
MAX_USERS = 100_000
MAX_ROUNDS = 10_000
MAX_SEQUENCES = 1_000_000
"""The most prompts or hypotheses that run at once."""
MAX_DEVICES = 100_000
"""The most GPUs, CPU cores, threads, instances or ranks."""
MAX_DRAWS = 100_000
MAX_EXPERTS = 2**15
"""The most experts of a layer: their ids are kept in 16 bits."""
MAX_LAYERS = 10_000
MAX_BYTES = 10**18
MAX_QUANTITY = 1e24
"""The largest number with a unit: the fastest machines reach 10^19 operations a second, the largest
stores 10^19 bytes.
"""
MIN_RATE = 1e-3
"""The smallest number that may divide another: bytes or operations a second, shares."""
MAX_TIME_S = 4_000_000_000
"""The longest time in seconds: 127 years, which fit 63 bits as nanoseconds."""
MAX_DURATION_NS = 1e15
"""The longest overhead or latency of one operation in ns. The sum of thousands fits 63 bits."""
MAX_SEED = 2**63 - 1

Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS, strict=True)]
TokensOrNone = Annotated[int, Field(ge=0, le=MAX_TOKENS, strict=True)]
"""A number of tokens that may be 0."""
Devices = Annotated[int, Field(ge=1, le=MAX_DEVICES, strict=True)]
RequestsPerSecond = Annotated[float, Field(ge=1e-6, le=1e9)]
