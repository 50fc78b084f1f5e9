"""Files that no program should stumble over, each kind built anew: bombs, wrong types, numbers
beyond all measure.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

DEPTH = 30_000
LEVELS = 12


def yaml_depth_bomb() -> str:
    """Brackets inside brackets: a recursive reader runs out of stack."""
    return f"a: {'[' * DEPTH}"


def yaml_block_depth_bomb() -> str:
    """The same without a bracket."""
    return "- " * DEPTH + "a\n"


def yaml_alias_bomb() -> str:
    """Each line repeats the one before ten times: 10^12 values in a kilobyte."""
    lines = ["a0: &a0 [x]"]
    lines += [
        f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 10)}]"
        for level in range(1, LEVELS + 1)
    ]
    return "\n".join(lines)


def yaml_merge_bomb() -> str:
    """The same with the merge key."""
    lines = ["a0: &a0 {k: v}"]
    for level in range(1, LEVELS + 1):
        sources = ",".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} {{<<: [{sources}], k{level}: 1}}")
    return "\n".join(lines)


def yaml_self_reference() -> str:
    """A list that holds itself."""
    return "a: &a [*a]"


YAML_KINDS: Mapping[str, Callable[[], str]] = {
    "depth": yaml_depth_bomb,
    "block depth": yaml_block_depth_bomb,
    "aliases": yaml_alias_bomb,
    "merges": yaml_merge_bomb,
    "self reference": yaml_self_reference,
    "list as key": lambda: "? [a]\n: b\n",
    "mapping as key": lambda: "? {a: b}\n: c\n",
    "python tag": lambda: "a: !!python/object/apply:os.getcwd []\n",
    "timestamp tag": lambda: "a: !!timestamp 2020-99-99\n",
    "own tag": lambda: "a: !mine {b: 1}\n",
    "digits": lambda: f"a: {'9' * 5000}\n",
    "wrong int": lambda: "a: !!int x\n",
    "wrong bool": lambda: "a: !!bool perhaps\n",
    "twice": lambda: "a: 1\na: 2\n",
    "two documents": lambda: "a: 1\n---\nb: 2\n",
    "long key": lambda: f"{'k' * 60_000}: 1\n",
    "long value": lambda: f"format: {'v' * 60_000}\n",
    "control character": lambda: "a: \x07\n",
    "list": lambda: "[1, 2]\n",
    "nothing": lambda: "",
    "null": lambda: "null\n",
}

JSON_KINDS: Mapping[str, Callable[[], str]] = {
    "depth": lambda: '{"a":' + "[" * DEPTH,
    "closed depth": lambda: '{"a":' + "[" * 500 + "]" * 500 + "}",
    "digits": lambda: '{"a":' + "9" * 5000 + "}",
    "many digits": lambda: '{"a":' + "9" * 400 + "}",
    "NaN": lambda: '{"prompt_tokens": NaN, "output_tokens": 1}',
    "too large": lambda: '{"prompt_tokens": 1e999, "output_tokens": 1}',
    "twice": lambda: '{"a": 1, "a": 2}',
    "half a character": lambda: '{"\\ud800": "\\udfff"}',
    "long key": lambda: '{"' + "k" * 60_000 + '": 1}',
    "list": lambda: "[1, 2]",
    "number": lambda: "7",
    "broken": lambda: '{"a": ',
}


def npz_bomb(path: Path, num_values: int = 2**31) -> None:
    """An archive of some megabytes whose array of zeros would take gigabytes; only its head and 64
    MiB of it are there.
    """
    header = io.BytesIO()
    shape = (num_values // 64, 8, 8)
    npy.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": shape})
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("expert_ids.npy", "w") as file,
    ):
        file.write(header.getvalue())
        file.write(bytes(2**26))


def npz_trace(path: Path, **others: object) -> None:
    """A small trace with whatever else is given."""
    ids = np.array([[[0, 1], [1, 2]], [[2, 3], [0, 3]]], np.int16)
    np.savez(path, **({"expert_ids": ids} | others))  # type: ignore[arg-type]
