"""Machines and their parts: units, provenance, cost curves and the library of machine files."""

from hwprofiles.curve import Curve, Operation
from hwprofiles.errors import InputError, closest, near, unknown_name
from hwprofiles.json_file import parse_json, read_json
from hwprofiles.library import (
    load_machine,
    machine_data,
    machine_names,
    names_machine_file,
    parse_machine,
)
from hwprofiles.machine import (
    Cpu,
    CpuThreads,
    Direction,
    Gpu,
    Host,
    Interference,
    Link,
    Machine,
    OtherGpu,
    Store,
)
from hwprofiles.pooling import pooled
from hwprofiles.problems import first_problem, validated
from hwprofiles.quantity import Efficiency, Kind, Provenance, Quantity, weakest
from hwprofiles.text_file import write_text, write_yaml
from hwprofiles.threads import with_threads
from hwprofiles.yaml_file import parse_yaml, read_yaml

__all__ = [
    "Cpu",
    "CpuThreads",
    "Curve",
    "Direction",
    "Efficiency",
    "Gpu",
    "Host",
    "InputError",
    "Interference",
    "Kind",
    "Link",
    "Machine",
    "Operation",
    "OtherGpu",
    "Provenance",
    "Quantity",
    "Store",
    "closest",
    "first_problem",
    "load_machine",
    "machine_data",
    "machine_names",
    "names_machine_file",
    "near",
    "parse_json",
    "parse_machine",
    "parse_yaml",
    "pooled",
    "read_json",
    "read_yaml",
    "unknown_name",
    "validated",
    "weakest",
    "with_threads",
    "write_text",
    "write_yaml",
]
