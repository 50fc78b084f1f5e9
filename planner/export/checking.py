"""A check of exporters: a text, read back, says what the plan does."""

from dataclasses import fields

from hwprofiles import InputError
from planner.export.runtimes import WRITERS
from sim.runtimes.asking import read_runtime_arguments

PLACING = (
    "gpu_layers",
    "placements",
    "tensor_split",
    "split_mode",
    "main_gpu",
    "devices",
    "key_type",
    "value_type",
    "gpu_experts",
    "gpu_experts_fraction",
    "strategy",
    "offload_bytes",
    "is_experts_alone",
    "host_layers",
    "cpu_layers",
    "split_experts",
)
"""Arguments that say where bytes go; forms may leave others out, such as the room of a cache."""


def check_text(runtime: str, line: str, form: str, text: str) -> None:
    """Read an exported text back. Raises InputError where it and the command line place weights
    differently.
    """
    wanted = read_runtime_arguments(runtime, line)
    found = read_runtime_arguments(runtime, WRITERS[runtime].arguments_in(form, text))
    names = {item.name for item in fields(wanted)}
    for name in PLACING:
        if name in names and getattr(wanted, name) != getattr(found, name):
            raise InputError(
                f"the {form} form of {runtime} would change {name} of the plan: "
                f"{getattr(found, name)} in place of {getattr(wanted, name)}"
            )
