"""Count how much of what people write is understood: python benchmarks/understood.py.

The inputs are lists of parts and misspelt names drawn from the library. Machines, models and
quantisations of ../shared/data/runtimes/rows.csv are inputs, too, if that file is there. Last, the
benchmark measures what importing a GGUF file costs.
"""

import csv
import os
import random
import resource
import string
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hwprofiles import InputError, load_machine
from hwprofiles.parts import CpuPart, GpuPart, parts_library
from hwprofiles.units import GB, GIB, KIB
from sim.model.importers import import_gguf
from sim.model.library import load_model

ROWS = Path(__file__).resolve().parents[2] / "shared" / "data" / "runtimes" / "rows.csv"
NUM_LISTS = 300
NUM_MISSPELT = 30
VOCABULARY = 150_000
SPARSE_BYTES = 130 * GB


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsList:
    """A line as people write it, and the machine that it means, with memory in GiB."""

    line: str
    gpu: str
    count: int
    cpu: str
    gib: int


def main() -> None:
    """Print how much is understood, and each input that is not."""
    lists = list(generated_lists(NUM_LISTS))
    wrong = [each.line for each in lists if not is_meant(each)]
    print(f"{len(lists) - len(wrong)} of {len(lists)} generated lists are the machines meant")
    names = list(misspelt_names(NUM_MISSPELT))
    unhelped = [f"{slip} for {name}" for slip, name in names if not is_helped(slip, name)]
    print(f"{len(names) - len(unhelped)} of {len(names)} misspelt names get the right one")
    for each in (*wrong, *unhelped):
        print(f"  not: {each}")
    if ROWS.exists():
        _print_rows()
    _print_imports()


def generated_lists(count: int, seed: int = 1) -> Iterator[PartsList]:
    """Yield lists of parts of the library that fit together, written in several ways."""
    library = parts_library()
    rng = random.Random(seed)
    cards = [sizes[0] for sizes in library.gpus.values() if _is_card(sizes[0])]
    cpus = [cpu for cpu in library.cpus.values() if cpu.memory in ("DDR3", "DDR4", "DDR5")]
    for _ in range(count):
        card = rng.choice(cards)
        cpu = rng.choice(cpus)
        number = rng.choice([1, 1, 1, 2, 4])
        yield _written(rng, card, number, cpu)


def _is_card(part: GpuPart) -> bool:
    return not part.is_unified and not part.is_inside_cpu and part.host is None


def _written(rng: random.Random, card: GpuPart, number: int, cpu: CpuPart) -> PartsList:
    modules = cpu.channels
    gib = rng.choice([16, 32, 64])
    kind = f"{cpu.memory}-{cpu.mt_per_s}"
    memory = rng.choice(
        [
            f"{modules}x{gib}GB {kind}",
            f"{modules * gib}GB ({modules}x{gib}GB) {cpu.memory} {cpu.mt_per_s}MHz",
            f"{modules * gib}GB {kind}",
            f"{modules * gib} GB {kind} RAM",
        ]
    )
    name = rng.choice([card.name, card.name.lower(), card.name.removeprefix("GeForce ")])
    several = rng.choice([f"{number}x {name}", f"{number}x{name}", f"{name} x{number}"])
    processor = rng.choice([cpu.name, cpu.name.lower()])
    parts = [several if number > 1 else name, processor, memory]
    return PartsList(
        line=rng.choice([" + ", ", ", " / "]).join(parts),
        gpu=card.name,
        count=number,
        cpu=cpu.name,
        gib=modules * gib,
    )


def is_meant(wanted: PartsList) -> bool:
    """Whether the line is read as the machine meant: its GPUs, its CPU and its memory."""
    try:
        machine = load_machine(wanted.line)
    except InputError:
        return False
    size = machine.cpu.memory_bytes
    found = (machine.gpu.name, machine.gpu.count, machine.cpu.name)
    is_right = found == (wanted.gpu, wanted.count, wanted.cpu)
    return is_right and size is not None and size.value == wanted.gib * GIB


def misspelt_names(count: int, seed: int = 2) -> Iterator[tuple[str, str]]:
    """Yield names with one slip, each with the name that was meant.

    A slip that makes another part's name is not yielded.
    """
    library = parts_library()
    rng = random.Random(seed)
    names = sorted({**library.gpus, **library.cpus})
    while count:
        name = rng.choice(names)
        slip = _slip(rng, name)
        if not library.named(slip):
            count -= 1
            yield slip, name


def _slip(rng: random.Random, name: str) -> str:
    """Return the name with one sign dropped, doubled, changed, or swapped with the next."""
    places = [at for at, sign in enumerate(name[:-1]) if sign.isalnum()]
    at = rng.choice(places)
    kind = rng.randrange(4)
    if kind == 0:
        return name[:at] + name[at + 1 :]
    if kind == 1:
        return name[: at + 1] + name[at:]
    if kind == 2:
        signs = string.digits if name[at].isdigit() else string.ascii_lowercase
        return name[:at] + rng.choice(signs) + name[at + 1 :]
    return name[:at] + name[at + 1] + name[at] + name[at + 2 :]


def is_helped(slip: str, name: str) -> bool:
    """Whether the error for a misspelt part suggests the part that was meant."""
    try:
        load_machine(f"{slip} + NVMe 7GB/s")
    except InputError as error:
        return name in str(error)
    return False


def _print_rows() -> None:
    rows = list(csv.DictReader(ROWS.open(encoding="utf-8")))
    machines = {row["machine"] for row in rows}
    print(f"{sum(map(_loads_machine, machines))} of {len(machines)} machines of rows.csv")
    files = {(row["model"], row["quantization"]) for row in rows}
    print(f"{sum(_loads_model(*each) for each in files)} of {len(files)} models with quantisation")


def _loads_machine(line: str) -> bool:
    try:
        load_machine(line)
    except InputError as error:
        print(f"  not: {error}")
        return False
    return True


def _loads_model(name: str, quantization: str) -> bool:
    try:
        load_model(name, quantization or None)
    except InputError as error:
        print(f"  not: {error}")
        return False
    return True


def _print_imports() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.gguf"
        _write_gguf(path)
        before = time.process_time()
        import_gguf(path)
        seconds = time.process_time() - before
        os.truncate(path, int(SPARSE_BYTES))
        tracemalloc.start()
        import_gguf(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB
    print(f"GGUF with {VOCABULARY:,} tokens: {seconds:.2f} CPU s")
    print(
        f"GGUF of {SPARSE_BYTES / GB:.0f} GB, sparse: {peak / 1e6:.1f} MB beside {resident:.0f} MiB"
    )


def _write_gguf(path: Path) -> None:
    """Write the header of a GGUF file with two large tensors a layer and a whole vocabulary."""
    import gguf  # here, as the lists do without

    writer = gguf.GGUFWriter(path, "llama")
    for key, value in _KEYS.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_array("tokenizer.ggml.tokens", [f"token{index}" for index in range(VOCABULARY)])
    hidden = _KEYS["embedding_length"]
    shapes = {"token_embd.weight": (VOCABULARY, hidden), "output_norm.weight": (1, hidden)}
    for layer in range(_KEYS["block_count"]):
        shapes[f"blk.{layer}.attn_q.weight"] = (hidden, hidden)
        shapes[f"blk.{layer}.ffn_up.weight"] = (_KEYS["feed_forward_length"], hidden)
    kind = gguf.GGMLQuantizationType.F16
    for name, shape in shapes.items():
        writer.add_tensor_info(name, shape, np.dtype(np.float16), shape[0] * shape[1] * 2, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


_KEYS = {
    "block_count": 64,
    "context_length": 8192,
    "embedding_length": 8192,
    "feed_forward_length": 106496,
    "attention.head_count": 64,
    "attention.head_count_kv": 8,
}


if __name__ == "__main__":
    main()
