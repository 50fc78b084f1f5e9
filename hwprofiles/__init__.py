"""What a machine is: units, provenance, cost curves and the library of machine files."""

from hwprofiles.curve import Curve, Operation
from hwprofiles.errors import InputError, closest, unknown_name
from hwprofiles.json_file import parse_json, read_json
from hwprofiles.library import load_machine, machine_names, parse_machine
from hwprofiles.machine import Cpu, CpuThreads, Direction, Gpu, Host, Interference, Link, Machine, Store
from hwprofiles.pooling import pooled
from hwprofiles.problems import first_problem
from hwprofiles.quantity import Efficiency, Kind, Provenance, Quantity, weakest
from hwprofiles.text_file import write_text, write_yaml
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
    "Provenance",
    "Quantity",
    "Store",
    "closest",
    "first_problem",
    "load_machine",
    "machine_names",
    "parse_json",
    "parse_machine",
    "parse_yaml",
    "pooled",
    "read_json",
    "read_yaml",
    "unknown_name",
    "weakest",
    "write_text",
    "write_yaml",
]
