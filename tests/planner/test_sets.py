"""The least time of a cell of few experts, for every set of missing ones, against every choice one
by one.
"""

import pickle
from itertools import product
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.caching import IndexDataCacheFile

from planner import bounds
from planner.bounds.frontier import CellWork
from planner.bounds.sets import try_sets, ways_of
from sim.engine.compiler import source_stamp, stamp_of

TOKENS_OF_PASS = 25


def _time_ns(work: CellWork, chosen: np.ndarray, copied: list[int]) -> float:
    """What the cell counts with those experts on the CPU and those copied: the longest lane, and
    what keeps the link busy.
    """
    sent = min(int(work.tokens[chosen].sum()), TOKENS_OF_PASS)
    up, down = (work.up[sent], work.down[sent]) if chosen.any() else (0.0, 0.0)
    on_cpu, on_gpu = work.cpu[chosen].sum() + up + down, work.beside[0] + work.gpu[~chosen].sum()
    copies = len(copied) * work.fetch[0]
    if work.is_early[0]:
        return float(work.time_share[0] * max(on_gpu, on_cpu) + work.link_share[0] * (copies + up))
    link = copies + max(up, work.gpu[copied].min()) if copied else 0.0
    return float(
        work.time_share[0] * max(on_gpu, on_cpu, link) + work.link_share[0] * max(on_cpu, copies)
    )


def _cell(rng: np.random.Generator, size: int, *, is_early: bool) -> CellWork:
    tokens = rng.integers(1, 20, size)
    moved = np.arange(TOKENS_OF_PASS + 1.0)
    return CellWork(
        cpu=rng.uniform(1, 30, size),
        gpu=rng.uniform(1, 10, size),
        tokens=tokens,
        offsets=np.array([0, size]),
        fetch=rng.uniform(1, 40, 1),
        beside=rng.uniform(0, 20, 1),
        num_tokens=np.array([TOKENS_OF_PASS]),
        down=moved * 0.2,
        up=moved * 0.1,
        time_share=np.array([0.7]),
        link_share=np.array([0.3]),
        is_early=np.array([is_early]),
    )


def test_kernels_are_kept_for_this_package_and_the_simulator(tmp_path: Path) -> None:
    """A kept kernel is bound to both packages: a change of any file that it can be made of is
    another stamp.
    """
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text(
        "from sim.engine.compilation import kernel\nfrom package.two import (\n    TWO,\n)\n"
    )
    (package / "two.py").write_text("TWO = 2\n")
    (package / "three.py").write_text("THREE = 3\n")
    before = source_stamp(package)
    (package / "three.py").write_text("THREE = 4\n")
    assert source_stamp(package) == before
    (package / "two.py").write_text("TWO = 3\n")
    assert source_stamp(package) != before
    own = Path(bounds.__file__).parent
    stamps = {stamp_of(folder) for folder in (None, package, own)}
    assert len(stamps) == 3
    assert try_sets._cache._cache_file._source_stamp == stamp_of(own)


def test_kept_kernels_of_other_records_are_not_read(tmp_path: Path) -> None:
    """An index that names a record which no longer exists belongs to other sources: it counts as
    empty, and is no error.
    """
    ours = try_sets._cache._cache_file
    index = IndexDataCacheFile(str(tmp_path), "kernel", "another stamp")
    gone = b"cplanner.bounds.sets\nNoSuchRecord\n."
    Path(index._index_path).write_bytes(pickle.dumps(numba.__version__) + gone)
    with pytest.raises(AttributeError):
        index._load_index()
    index._version = ours._version
    assert index._load_index() == {}


@given(size=st.integers(1, 4), is_early=st.booleans(), seed=st.integers(0, 10**6), data=st.data())
@settings(max_examples=60)
def test_every_choice_is_tried(size: int, is_early: bool, seed: int, data: st.DataObject) -> None:
    """A missing expert runs on the CPU or is copied, another one runs on the CPU or stays: the
    least over all choices, for every set; who misses more is no faster.
    """
    work = _cell(np.random.default_rng(seed), size, is_early=is_early)
    by_set = np.empty(1 << size)
    try_sets(work, 0, ways_of(size), by_set)
    away = data.draw(st.integers(0, (1 << size) - 1))
    places = [place for place in range(size) if away >> place & 1]
    choices = [np.array(chosen, bool) for chosen in product((False, True), repeat=size)]
    least = min(
        _time_ns(work, chosen, [place for place in places if not chosen[place]])
        for chosen in choices
    )
    assert by_set[away] == pytest.approx(least, rel=1e-12)
    for place in places:
        assert by_set[away ^ (1 << place)] <= by_set[away] * (1 + 1e-12)
