"""The numbers of a machine by their dotted paths, which overrides and axes name."""

from collections.abc import Iterator

from pydantic import BaseModel

from hwprofiles import Machine, Quantity


def machine_values(machine: Machine) -> dict[str, float]:
    """Return every number of the machine that a path can set, with the value that is simulated.

    Curves and interference are left out.
    """
    return dict(_walk(machine, ""))


def _walk(node: object, path: str) -> Iterator[tuple[str, float]]:
    # A quantity comes first: it is a model as well, but its fields are no paths.
    if isinstance(node, Quantity):
        yield path, node.effective
    elif isinstance(node, int):
        yield path, float(node)
    elif isinstance(node, BaseModel):
        for name in type(node).model_fields:
            yield from _walk(getattr(node, name), f"{path}.{name}" if path else name)
    elif isinstance(node, dict):
        for key, child in node.items():
            yield from _walk(child, f"{path}.{key}")
