"""Machines of several sockets whose memory rate nobody measured: the share that work reaches where
weights lie on all sockets.
"""

import re

from hwprofiles.efficiencies import efficiencies
from hwprofiles.machine import Cpu, Machine
from hwprofiles.overrides import SOURCE as SET_BY_THE_USER
from hwprofiles.quantity import Efficiency, Kind, Quantity

_COUNTED = re.compile(r"(\d{1,2})\s*[x×]\s*\D")

UNMEASURED = frozenset({Kind.DATASHEET, Kind.ASSUMED})


def spread_share(own: Efficiency | None, sockets: int) -> Efficiency:
    """The share of all sockets' bandwidth that work reaches with weights spread over them: as much
    as one socket gives.

    ``own`` is the share that one socket reaches of its own bandwidth; None: all of it. The lowest
    value is what one socket gives without the threads of the others. The highest is all sockets'
    bandwidth, with weights copied to each.
    """
    spread = efficiencies().sockets
    low, high = spread.range
    # The published share is of two sockets: with more, one socket's memory is a smaller share of
    # all.
    factor = 2 / sockets
    own_low, own_high = own.range if own else (1.0, 1.0)
    return Efficiency(
        value=(own.value if own else 1.0) * spread.value * factor,
        low=own_low * low * factor,
        # Not lowered: with weights copied to each socket, four reach as large a share as two.
        high=own_high * high,
        kind=spread.kind if own is None else max(own.kind, spread.kind, key=list(Kind).index),
        source=f"{own.source}; and {spread.source}" if own else spread.source,
        date=spread.date,
    )


def over_sockets(machine: Machine) -> Machine:
    """Return the machine with its sockets counted, and with a lowered memory rate where it has
    several.

    The rate is lowered only if it is neither measured, published nor set by the user, and states no
    efficiency. Sockets that the file does not count are read from the CPU's name, such as ``2x Xeon
    Gold 6252``. A machine of one socket is returned as it is.
    """
    cpu = machine.cpu
    sockets = _sockets(cpu)
    if sockets == 1:
        return machine
    rate = cpu.memory_bytes_per_s
    if _is_effective(rate):
        return machine.model_copy(update={"cpu": cpu.model_copy(update={"sockets": sockets})})
    share = spread_share(None, sockets)
    lowered = cpu.model_copy(
        update={
            "sockets": sockets,
            "memory_bytes_per_s": rate.model_copy(update={"efficiency": share}),
        }
    )
    sentence = (
        f"{cpu.name} has {sockets} sockets and a memory rate that nobody measured: experts "
        "spread over them are taken to reach "
        f"{share.value:g} of it; cpu.memory_bytes_per_s.efficiency states another share"
    )
    return machine.model_copy(
        update={"cpu": lowered, "assumptions": (*machine.assumptions, sentence)},
    )


def _is_effective(rate: Quantity) -> bool:
    """Whether the memory rate already is what work over all sockets reaches."""
    # What was set on one run stays set in the file that is written of it.
    is_stated = rate.efficiency is not None or rate.source == SET_BY_THE_USER
    return is_stated or rate.kind not in UNMEASURED


def _sockets(cpu: Cpu) -> int:
    # Also where the file says 1, the default: then the name is not looked at.
    return cpu.sockets if "sockets" in cpu.model_fields_set else sockets_in(cpu.name)


def sockets_in(name: str) -> int:
    """The sockets that the name of a CPU counts, such as 2 of ``2x Xeon``; 1 where it counts none."""
    counted = _COUNTED.match(name)
    return int(counted[1]) if counted else 1
