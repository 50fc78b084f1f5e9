"""Commands that are told to end while they run, at moments that do not depend on the clock.

A moment is one of Python's own events (a module is imported, a temporary file is opened, renamed or
removed), or a share of the processor's time that the command takes. The long form tries many:

    python -m tests.rosin.signalled --moments 20
"""

import argparse
import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import chdir
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import yaml

from rosin.__main__ import main
from sim.routing import RecordedRouting, save_trace
from tests.rosin.command_line import UNHEARD
from tests.rosin.test_cli_serving import REQUESTS
from tests.source_tree import ROOT
from tests.tiny_config import write_tiny_config
from tests.validation.accuracy.synthetic import synthetic_rows

OLD = b"what stood there before"
SMALL = ("--model", "olmoe-1b-7b", "--machine", "desktop-rtx-4090-ddr5")
WORK = (*SMALL, "--prompt-tokens", "4", "--output-tokens", "2", "--draws", "1")
SERVED = ("--model", "llama-3.1-8b", "--machine", "h100", "--workload", "requests.yaml")
POOL = ("lmbenchmark-long-in-short-out", "--model", "llama-3.1-8b", "--requests", "40")
PC = "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800"
TINY = ("--model", "tiny-model.yaml", "--machine", "tiny.yaml")
FEW = ("--prompt-tokens", "4", "--output-tokens", "2")
ONCE = ("--rounds", "1", "-o")
MEASURED = (
    *("--quick", "--device", "cpu", "--models", "tiny-model.yaml"),
    *("--link-bytes-per-s", "3GB/s"),
)

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "simulate trace": ("simulate", *WORK, "--policy", "fiddler", "--trace", "TARGET.json"),
    "simulate json": ("simulate", *WORK, "--policy", "lru", "--json", "TARGET.json"),
    "compare figure": ("compare", *WORK, "--policies", "fiddler,lru", "--figure", "TARGET.svg"),
    "plan": ("plan", *WORK, "-o", "TARGET.yaml"),
    "plan for a runtime": ("plan", *WORK[:-2], "--runtime", "llama.cpp", "-o", "TARGET.yaml"),
    "whatif": ("whatif", *WORK, "--vary", "batch=1", "--workers", "1", "-o", "TARGET/table.csv"),
    "report": ("report", "run.json", "-o", "TARGET.html"),
    "export": ("export", "plan.yaml", "--to", "accelerate", "-o", "TARGET.json"),
    "kv-plan": ("kv-plan", *SERVED, "--requests", "5", "-o", "TARGET.yaml"),
    "kv-replay": ("kv-replay", *POOL, "--json", "TARGET.json"),
    "routing fit": ("routing", "fit", "t.npz", "-o", "TARGET.yaml", "--task", "dice"),
    "routing import": ("routing", "import", "t.npz", "-o", "TARGET.npz"),
    "routing stats": ("routing", "stats", "t.npz", "--figure", "TARGET.svg"),
    "machines new": ("machines", "new", PC, "-o", "TARGET.yaml"),
    "machines": ("machines", "h100", "--json", "TARGET.json"),
    "models import": ("models", "import", "config.json", "-o", "TARGET.yaml"),
    "accuracy": ("accuracy", "rows.csv", "-o", "TARGET/accuracy.json"),
    "reproduce": ("reproduce", "fiddler", "--json", "TARGET.json"),
    "calibrate": ("calibrate", "tiny-plan.yaml", "--machine", "tiny.yaml", *ONCE, "TARGET.yaml"),
    "validate": ("validate", "tiny-plan.yaml", "--device", "paced", *ONCE, "TARGET/validate.json"),
    "measure": ("measure", *MEASURED, "-o", "TARGET.yaml"),
    "caches": ("caches", "--json", "TARGET.json"),
    "choose": ("choose", *SMALL, "--json", "TARGET.json"),
    "policies": ("policies", "--json", "TARGET.json"),
}
"""Commands that write; of a folder, ``TARGET/`` is the file in it that is looked at."""

MEASURING = ("calibrate", "measure", "validate")
"""Commands that need torch, and a tiny machine that is measured beforehand."""

FIRST_IMPORT = 6
"""Before it, nobody of ours hears a signal yet."""

SIGNALLER = """
import os, signal, sys
kind, number, moment = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
del sys.argv[1:4]
OF = {"import": ("import",), "part": ("open", "os.rename", "os.remove")}

def tell(*_):
    os.kill(os.getpid(), number)

def hear(event, arguments):
    global moment
    if event in OF[kind] and (kind == "import" or str(arguments[0]).endswith(".part")):
        moment -= 1
        if moment == 0:
            tell()

sys.argv[0] = "rosin"
from rosin.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)
if kind == "time":
    signal.signal(signal.SIGPROF, tell)
    signal.setitimer(signal.ITIMER_PROF, moment)
else:
    sys.addaudithook(hear)
code = main()
signal.setitimer(signal.ITIMER_PROF, 0)  # Python gives handlers up at its own end
sys.exit(code)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a command is told to end: at the n-th event of a kind, or after that many seconds of the
    processor.
    """

    kind: str
    at: float
    signal: signal.Signals


def prepare(folder: Path) -> None:
    """Write what the commands read."""
    write_tiny_config(folder / "config.json")
    generator = np.random.default_rng(1)
    ids = np.argsort(generator.random((300, 3, 8)), axis=2)[:, :, :2].astype(np.int16)
    weights = np.full(ids.shape, 0.5, np.float32)
    trace = RecordedRouting(
        name="t",
        expert_ids=ids,
        num_experts=8,
        weights=weights,
        sequence_num_tokens=np.full(3, 100),
    )
    save_trace(trace, folder / "t.npz")
    rows = [asdict(row) | {"machine": PC} for row in synthetic_rows()[:5]]
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "requests.yaml").write_text(REQUESTS, encoding="utf-8")
    made = (
        ("simulate", *WORK, "--policy", "fiddler", "--json", "run.json", "--quiet"),
        ("plan", *WORK, "-o", "plan.yaml", "--quiet"),
    )
    with chdir(folder):
        for words in made:
            assert main(list(words)) == 0


def prepare_measured(folder: Path) -> None:
    """Write what commands read that run plans for real: a tiny model, the machine at hand, a plan."""
    made = (
        ("models", "import", "config.json", "-o", "tiny-model.yaml", "--quiet"),
        ("measure", *MEASURED, "-o", "tiny.yaml", "--quiet"),
        ("plan", *TINY, *FEW, "--draws", "1", "-o", "tiny-plan.yaml", "--quiet"),
    )
    with chdir(folder):
        for words in made:
            assert main(list(words)) == 0


def told_to_end(name: str, moment: Moment, folder: Path) -> str:
    """Run a command that is told to end at that moment, where the target stands already, and return
    how it ended: ``interrupted`` or ``done``.

    Raises AssertionError unless it said one line, left the target as it was or whole, and nothing
    else.
    """
    words = [word.replace("TARGET", "target") for word in COMMANDS[name]]
    place = next(word for word in words if word.startswith("target"))
    target = folder / place
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(OLD)
    if target.parent != folder:
        words[words.index(place)] = target.parent.name
    start = [sys.executable, "-c", SIGNALLER, moment.kind, str(int(moment.signal)), str(moment.at)]
    inherited = {key: value for key, value in os.environ.items() if key not in UNHEARD}
    ended = subprocess.run(
        [*start, *words, "--quiet"],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    what = f"{name}, {moment}: {ended.returncode}, {ended.stderr!r}"
    left = [path for path in folder.rglob("*") if path.name.endswith(".part")]
    assert not left, f"{what}: left {left}"
    found = target.read_bytes()
    if ended.returncode == 0:
        assert found != OLD, what
        _assert_whole(target, what)
        return "done"
    assert ended.returncode == 130, what
    *before, last = ended.stderr.splitlines()
    assert last == "error: interrupted", what
    # A study also says how much of it is kept.
    assert all(re.search(r"points are kept", line) for line in before), what
    if found != OLD:
        _assert_whole(target, what)
    return "interrupted"


def _assert_whole(path: Path, what: str) -> None:
    """Read the file as its name says."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".yaml":
            assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)
        elif path.suffix == ".npz":
            np.load(path)["expert_ids"]
        elif path.suffix in (".svg", ".html"):
            assert path.read_text(encoding="utf-8").rstrip().endswith(f"</{path.suffix[1:]}>")
        else:
            assert path.read_bytes().endswith(b"\n")
    except ValueError as error:
        raise AssertionError(f"{what}: {path} is torn: {error}") from None


def moments(name: str, number: int, *, seed: int = 0) -> Iterable[Moment]:
    """That many moments of a command: while its file is written, while modules are imported, and, of
    more than two, any time.
    """
    drawn = random.Random(f"{name} {seed}")
    kinds = ("part", "import", "time", "time")
    for place in range(number):
        kind = kinds[place % len(kinds)]
        at = {
            "part": float(drawn.randint(1, 3)),
            "import": float(drawn.randint(FIRST_IMPORT, 900)),
            "time": drawn.uniform(0.05, 4.0),
        }[kind]
        number_of = drawn.choice((signal.SIGTERM, signal.SIGINT))
        yield Moment(kind=kind, at=at, signal=number_of)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    asked = parser.parse_args()
    if find_spec("torch") is None:
        print(f"not tried, as they need torch: {', '.join(MEASURING)}")
        asked.only = [name for name in asked.only if name not in MEASURING]
    num_faults = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        if not set(MEASURING).isdisjoint(asked.only):
            prepare_measured(folder)
        for command in asked.only:
            counts = {"interrupted": 0, "done": 0}
            for moment in moments(command, asked.moments, seed=asked.seed):
                try:
                    counts[told_to_end(command, moment, folder)] += 1
                except AssertionError as error:
                    num_faults += 1
                    print(f"FAULT {error}", flush=True)
            print(command, counts, flush=True)
    sys.exit(1 if num_faults else 0)


if __name__ == "__main__":
    _main()
