"""Generated configurations: each imports with the totals of an independent count, or is refused in
one line.

``python -m tests.sim.test_import_fuzz 100000`` runs that many; the tests run a few.
"""

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, Kind, Provenance
from sim.model.importers import model_from_config
from sim.model.importers.families import FAMILIES
from tests.sim.generated_configs import SETTINGS, SHAPES, generated, spoiled
from tests.sim.ling_and_grok import WITHOUT_CLASS
from tests.sim.model_files import check_file
from tests.sim.plain_count import plain_total

NUM_EXAMPLES = 1_000
NUM_META_EXAMPLES = 3
MAX_LINE = 300
HERE = Provenance(kind=Kind.PUBLISHED, source="c.json", date="2026-01")
seeds = st.integers(min_value=0, max_value=2**63)


def _imported(config: dict[str, Any]) -> Any:
    return model_from_config(config, name="m", provenance=HERE, quantization=None)


def check(seed: int) -> str:
    """Import one configuration drawn from the seed, whole or spoiled; what became of it.

    Raises AssertionError.
    """
    rng = random.Random(seed)
    family = rng.choice(sorted(SHAPES))
    config = generated(rng, family)
    if rng.random() < 0.4:
        config["quantization_config"] = rng.choice(SETTINGS)
    is_whole = rng.random() < 0.4
    if not is_whole:
        config = spoiled(rng, config)
    try:
        model = _imported(config)
    except InputError as error:
        line = str(error)
        assert not is_whole, f"refused: {line}: {config}"
        assert "\n" not in line and len(line) <= MAX_LINE, line
        assert line.startswith("c.json: "), line
        return "refused"
    assert model.total_params == plain_total(config), config
    assert 0 < model.total_bytes <= 4 * model.total_params + 10**4 * len(model.layers) * 100
    return "imported"


def test_every_family_is_generated() -> None:
    """No family is left out of the fuzz."""
    assert set(SHAPES) == set(FAMILIES)


@given(seed=seeds)
@settings(max_examples=NUM_EXAMPLES, derandomize=True, database=None)
def test_each_configuration_imports_rightly_or_is_refused(seed: int) -> None:
    """Totals equal the plain count, or the error is one line that begins with the file."""
    check(seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all examples."""
    return tmp_path_factory.mktemp("models")


@given(family=st.sampled_from(sorted(SHAPES)), seed=seeds)
@settings(max_examples=NUM_META_EXAMPLES * len(SHAPES))
def test_a_model_of_each_family_survives_its_file(family: str, seed: int, folder: Path) -> None:
    """Shapes of every family, written with explicit layers, are read back equal."""
    check_file(_imported(generated(random.Random(f"{family} {seed}"), family)), folder)


# Step-3.5 has no class of a decoder alone in transformers
@pytest.mark.parametrize("family", sorted(set(SHAPES) - {"step3p5"} - WITHOUT_CLASS))
def test_the_plain_count_is_that_of_the_modelling_classes(family: str) -> None:
    """A few shapes of each family, built without memory by transformers, weigh what the plain count
    says.
    """
    meta = pytest.importorskip("tests.sim.meta_count", reason="needs transformers and torch")
    for seed in range(NUM_META_EXAMPLES):
        config = generated(random.Random(f"{family} {seed}"), family)
        assert meta.meta_total(config) == plain_total(config), config


def main(count: int) -> None:
    """Check that many seeds, and print how many configurations were imported and refused."""
    found: Counter[str] = Counter(check(seed) for seed in range(count))
    print(json.dumps({"configurations": count, **found}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
