"""Facts that a computer states of itself and no measurement shows, beside its measurements."""

from typing import Any

from hwprofiles import InputError, Kind, Machine, machine_data
from hwprofiles.parts import detected_machine

_OF_CPU = ("efficiency_cores", "instructions", "vector_bits", "clock_hz")
_OF_GPU = ("serial_fraction",)


def with_stated_facts(data: dict[str, Any], *, has_gpu: bool) -> dict[str, Any]:
    """Return the measured machine file with those stated facts that it leaves open.

    ``has_gpu`` means that a real GPU was measured, not a core that plays one. A computer whose
    parts are not known adds nothing.
    """
    try:
        detected = detected_machine()
    except InputError:
        return data
    stated = machine_data(detected)
    # Measured values come last, so they replace stated ones.
    result = {**data, "cpu": {**_known(stated["cpu"], _OF_CPU), **data["cpu"]}}
    # nvidia-smi lists the first card first, which is the one that is measured
    if has_gpu and _is_same_gpu(detected, data["gpu"]["name"]):
        result["gpu"] = {**_known(stated["gpu"], _OF_GPU), **data["gpu"]}
    return result


def _known(part: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the facts that are stated.

    Facts that are merely assumed of the computer stay out of its measured file.
    """
    return {
        name: part[name]
        for name in names
        if name in part
        and not (isinstance(part[name], dict) and part[name].get("kind") == Kind.ASSUMED)
    }


def _is_same_gpu(detected: Machine, measured_name: str) -> bool:
    return detected.has_gpu and detected.gpu.name.casefold() in measured_name.casefold()
