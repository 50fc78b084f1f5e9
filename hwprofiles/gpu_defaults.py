"""The costs of a GPU's kernels where its machine file states none: three laws, the same for all
cards.
"""

from hwprofiles.quantity import Kind, Quantity

_TABLES = "kernel tables of NVIDIA aiconfigurator-core 0.12.0 (Apache-2.0)"

KERNEL_NS = Quantity(
    value=3.2e3,
    kind=Kind.FITTED,
    source=(
        f"{_TABLES}: what 16-bit products of 1 to 8 rows take beside reading their weights, H100 3.2 us; "
        "H200 3.5, A100 4.6 to 5.2, B200 3.1, L40S 2.2, RTX PRO 6000 2.3"
    ),
    date="2026-11",
)
"""Nanoseconds that one kernel takes besides its work. Over the six systems, the range is 2.2 to 5.2
us.
"""

SERIAL_FRACTION = Quantity(
    value=0.5,
    kind=Kind.ASSUMED,
    source=(
        f"between the cards in {_TABLES}: 0.26 where copies within the card are asynchronous (H100, since Hopper), 0.9 before (A100)"
    ),
    date="2026-11",
)
"""The share of the shorter of reading and arithmetic that the longer one does not hide.

A machine file of a known card states its own.
"""

PACKED_RATE_FRACTION = Quantity(
    value=0.83,
    kind=Kind.FITTED,
    source=(
        f"{_TABLES}: grouped experts in 4 bit against 16 bit, bytes per second, mean of six systems; "
        "L40S 0.95, RTX PRO 6000 0.94, H100 0.92, A100 0.90, H200 0.68, B200 0.61"
    ),
    date="2026-11",
)
"""The share of the memory rate at which weights of fewer than 8 bits are read."""
