"""Making a good file bad, at random: in its bytes, or in what it says."""

import copy
import json
import pickle
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import yaml

TOKENS = [
    b"1e999",
    b"NaN",
    b"[",
    b"]",
    b"{",
    b"}",
    b"&a ",
    b"*a",
    b"!!timestamp ",
    b"<<: *a\n",
    b"? ",
    b"-",
    b"9" * 30,
    b"9" * 5000,
]
TOKENS += [
    b"\x00",
    b"\xff",
    b"\xc3",
    b": ",
    b"\n",
    b",",
    b'"',
    b"\\",
    b"#",
    b"---\n",
    b"\xef\xbb\xbf",
    b"\t",
    b"[" * 200,
    b'"\\ud800"',
]
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    7,
    2**31,
    2**63,
    10**18,
    10**30,
    10**90,
    0.5,
    -0.5,
    1e-300,
    1e300,
    float("nan"),
    float("inf"),
]
ODD += [
    "",
    "x",
    "x" * 5000,
    "nan",
    "inf",
    "1e999",
    "a:b",
    "\x85",
    [],
    {},
    [[]],
    [1],
    [1, "a"],
    {"a": 1},
    [[1, 2], [3]],
    "../x",
    "0x10",
]
STEPS = [1, 1, 2, 4]
"""Changes of one mutant."""


def mutated_bytes(random: Random, data: bytes) -> bytes:
    """A few bytes changed, left out, doubled, or put in."""
    found = bytearray(data)
    for _ in range(random.choice(STEPS)):
        place = random.randint(0, len(found))
        end = min(len(found), place + random.choice([1, 1, 2, 8, 64]))
        what = random.randrange(4)
        if what == 0 and place < len(found):
            found[place] = random.randrange(256)
        elif what == 1:
            del found[place:end]
        elif what == 2:
            found[place:place] = found[place:end]
        else:
            found[place:place] = random.choice(TOKENS)
    return bytes(found)


def mutated_tree(random: Random, tree: Any) -> Any:
    """Change ``tree`` in place: a value replaced, a key left out, renamed or added, an item doubled."""
    for _ in range(random.choice(STEPS)):
        places = list(_places(tree))
        if places:
            _change(random, *random.choice(places))
    return tree


def _places(tree: Any) -> Any:
    """Every list or mapping with each of its keys."""
    stack = [tree]
    while stack:
        node = stack.pop()
        keys = (
            list(node)
            if isinstance(node, dict)
            else range(len(node))
            if isinstance(node, list)
            else ()
        )
        for key in keys:
            yield node, key
            stack.append(node[key])


def _change(random: Random, node: Any, key: Any) -> None:
    what = random.randrange(5)
    if what == 0:
        del node[key]
    elif what == 1 and isinstance(node, dict):
        node[random.choice(["x", "name", f"{key}s", "k" * 200, ""])] = node.pop(key)
    elif what == 1:
        node.insert(key, copy.deepcopy(node[key]))
    elif what == 2 and type(node[key]) in (int, float):
        node[key] = random.choice(
            [node[key] * 10**9, -node[key], node[key] + 0.5, str(node[key]), node[key] * 1e-12]
        )
    else:
        node[key] = copy.deepcopy(random.choice(ODD))


def yaml_mutant(random: Random, data: bytes) -> bytes:
    """Another YAML file."""
    tree = mutated_tree(random, pickle.loads(_pickled_yaml(data)))
    return yaml.dump(tree, Dumper=_DUMPER, allow_unicode=True).encode("utf-8", "surrogatepass")


@cache
def _pickled_yaml(data: bytes) -> bytes:
    """What a good file says, read once and copied fast."""
    return pickle.dumps(yaml.load(data, Loader=_LOADER))


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def json_mutant(random: Random, data: bytes) -> bytes:
    """Another JSON file."""
    return json.dumps(mutated_tree(random, json.loads(data))).encode()


def jsonl_mutant(random: Random, data: bytes) -> bytes:
    """Another line in place of one."""
    lines = data.splitlines()
    place = random.randrange(len(lines))
    lines[place] = json_mutant(random, lines[place])
    return b"\n".join(lines)


def text_mutant(random: Random, data: bytes) -> bytes:
    """Another word in place of one, or one more of the words."""
    words = data.split(b" ")
    place = random.randrange(len(words))
    put_in = random.choice(
        [*words, *(str(odd).encode() for odd in ODD), b"+", b"-", b"99999999999"]
    )
    words[place : place + random.randrange(2)] = [put_in]
    return b" ".join(words)


def csv_mutant(random: Random, data: bytes) -> bytes:
    """Another field in place of one."""
    lines = [line.split(b",") for line in data.splitlines()]
    row = random.choice(lines)
    row[random.randrange(len(row))] = str(random.choice([*ODD, "9" * 400, '"', "1,2"])).encode()
    return b"\n".join(b",".join(line) for line in lines)


MUTANTS: dict[str, Callable[[Random, bytes], bytes]] = {
    ".yaml": yaml_mutant,
    ".json": json_mutant,
    ".jsonl": jsonl_mutant,
    ".csv": csv_mutant,
    ".txt": text_mutant,
}
"""By the ending of a file's name; an archive is mutated in its bytes alone."""
