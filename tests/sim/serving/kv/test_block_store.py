"""Every eviction policy keeps the contract, and does what its definition spelt out naively does."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.serving.kv import EVICTIONS, BlockStore, eviction

BLOCK_BYTES = 10
NAMES = sorted(EVICTIONS)
touches = st.lists(st.integers(0, 12), max_size=120)


def _store(name: str, capacity_blocks: int | None) -> BlockStore:
    capacity_bytes = None if capacity_blocks is None else capacity_blocks * BLOCK_BYTES
    return BlockStore(
        block_bytes=BLOCK_BYTES, capacity_bytes=capacity_bytes, eviction=EVICTIONS[name]
    )


@pytest.mark.parametrize("name", NAMES)
@given(touches, st.integers(0, 6))
def test_it_holds_what_came_and_did_not_go(name: str, keys: list[int], capacity: int) -> None:
    """Held = stored - evicted, never more than fits, each victim was held, the newest is held, and
    evictions are counted.
    """
    store, held, gone = _store(name, capacity), set[int](), 0
    for key in keys:
        victims = store.insert(key)
        assert held.issuperset(victims) and key not in victims
        held = (held | {key} if capacity else held) - set(victims)
        gone += len(victims)
        assert {each for each in range(13) if each in store} == held
        assert store.held_bytes == len(held) * BLOCK_BYTES <= capacity * BLOCK_BYTES
    assert store.num_evictions == gone


@pytest.mark.parametrize("name", NAMES)
@given(touches)
def test_without_limit_nothing_goes(name: str, keys: list[int]) -> None:
    """An unlimited store holds all that ever came."""
    store = _store(name, None)
    assert [store.insert(key) for key in keys] == [()] * len(keys)
    assert len(store) == len(set(keys)) and store.num_evictions == 0


@pytest.mark.parametrize("name", NAMES)
@given(touches, st.sets(st.integers(0, 12), max_size=4))
def test_what_is_pinned_stays(name: str, keys: list[int], pinned: set[int]) -> None:
    """Pinned blocks survive anything; where all that is held is pinned, nothing more is stored."""
    store = _store(name, 4)
    for key in sorted(pinned):
        store.insert(key)
        store.pin(key)
        store.pin(key)
    for key in keys:
        store.insert(key)
        assert all(each in store for each in pinned)
        assert (key in store) or len(pinned) == 4
    for key in pinned:
        store.unpin(key)
    assert not pinned & set(store.evict(4 - len(pinned)))
    for key in pinned:
        store.unpin(key)
    assert store.evict(9) and len(store) == 0 if len(store) else True


@pytest.mark.parametrize("name", NAMES)
@given(touches, st.sets(st.integers(0, 12)))
def test_what_is_dropped_may_come_back(name: str, keys: list[int], dropped: set[int]) -> None:
    """Dropping is no eviction, and the policy goes on as if the block had never been there."""
    store = _store(name, 3)
    for key in keys:
        store.insert(key)
        if key in dropped:
            store.drop(key)
            assert key not in store
    evictions = store.num_evictions
    for key in [each for each in range(13) if each in store]:
        store.drop(key)
    assert len(store) == 0 and store.num_evictions == evictions


def _lru(history: list[int], held: list[int]) -> int:
    return min(
        held, key=lambda key: max(index for index, each in enumerate(history) if each == key)
    )


def _mru(history: list[int], held: list[int]) -> int:
    return max(
        held, key=lambda key: max(index for index, each in enumerate(history) if each == key)
    )


def _fifo(history: list[int], held: list[int]) -> int:
    return held[0]


@pytest.mark.parametrize(("name", "oracle"), [("lru", _lru), ("mru", _mru), ("fifo", _fifo)])
@given(touches, st.integers(1, 6))
def test_victims_are_the_definitions(
    name: str, oracle: Callable[[list[int], list[int]], int], keys: list[int], capacity: int
) -> None:
    """The victim is the one that the whole history of touches and the order of storing single out."""
    store = _store(name, capacity)
    held: list[int] = []
    for index, key in enumerate(keys):
        expected = oracle(keys[:index], held) if key not in held and len(held) == capacity else None
        assert store.insert(key) == (() if expected is None else (expected,))
        held = [each for each in held if each != expected] + ([] if key in held else [key])


@given(touches, st.integers(1, 6))
def test_lfu_counts_uses_since_the_block_came(keys: list[int], capacity: int) -> None:
    """The victim has the fewest uses; among equals it is the one that came to its number first."""
    store, uses, reached = _store("lfu", capacity), dict[int, int](), dict[int, int]()
    for now, key in enumerate(keys):
        expected = (
            min(uses, key=lambda each: (uses[each], reached[each]))
            if key not in uses and len(uses) == capacity
            else None
        )
        assert store.insert(key) == (() if expected is None else (expected,))
        if expected is not None:
            del uses[expected], reached[expected]
        uses[key], reached[key] = uses.get(key, 0) + 1, now


class PaperArc:
    """ARC as figure 4 of the paper writes it, ghosts cut before an admission."""

    def __init__(self, capacity: int) -> None:
        self.c, self.p = capacity, 0.0
        self.t1, self.t2, self.b1, self.b2 = [list[int]() for _ in range(4)]

    def request(self, x: int) -> None:
        """One request for page x."""
        if x in self.t1 or x in self.t2:
            (self.t1 if x in self.t1 else self.t2).remove(x)
        elif x in self.b1:
            self.p = min(self.p + max(len(self.b2) / len(self.b1), 1.0), self.c)
            self.replace(x)
            self.b1.remove(x)
        elif x in self.b2:
            self.p = max(self.p - max(len(self.b1) / len(self.b2), 1.0), 0.0)
            self.replace(x)
            self.b2.remove(x)
        else:
            self.make_room(x)
            self.t1.append(x)
            return
        self.t2.append(x)

    def make_room(self, x: int) -> None:
        """Case IV."""
        if len(self.t1) + len(self.b1) == self.c:
            if len(self.t1) < self.c:
                self.b1.pop(0)
                self.replace(x)
            else:
                self.t1.pop(0)
        elif (total := len(self.t1) + len(self.t2) + len(self.b1) + len(self.b2)) >= self.c:
            if total == 2 * self.c:
                self.b2.pop(0)
            self.replace(x)

    def replace(self, x: int) -> None:
        """Let go of one page."""
        if self.t1 and (len(self.t1) > self.p or (x in self.b2 and len(self.t1) == self.p)):
            self.b1.append(self.t1.pop(0))
        else:
            self.b2.append(self.t2.pop(0))


@given(st.lists(st.integers(0, 12), max_size=400), st.integers(1, 6))
def test_arc_is_the_papers(keys: list[int], capacity: int) -> None:
    """After every request the store holds what the paper's pseudocode holds."""
    store, paper = _store("arc", capacity), PaperArc(capacity)
    for key in keys:
        store.insert(key)
        paper.request(key)
        assert {each for each in range(13) if each in store} == {*paper.t1, *paper.t2}


def test_mistakes_are_errors() -> None:
    """Touching, pinning or dropping what is not held, unpinning what is not pinned, and an unknown
    policy.
    """
    store = _store("lru", 2)
    store.insert(1)
    for action in (
        lambda: store.touch(2),
        lambda: store.pin(2),
        lambda: store.drop(2),
        lambda: store.unpin(1),
    ):
        with pytest.raises(KeyError):
            action()
    with pytest.raises(InputError, match="no eviction policy named 'lur'; did you mean 'lru'"):
        eviction("lur")
