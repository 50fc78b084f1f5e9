"""Parts of a policy that do not go together are refused before any work, with the reason."""

from dataclasses import replace

import pytest

from hwprofiles import InputError
from sim.policies.cache.static import StaticCache
from sim.policies.overlap import Overlap
from sim.policies.policy import Policy
from sim.policies.table import POLICIES
from sim.policies.together import CLASHES, check_parts

LRU = POLICIES["lru"]
CLASHING = {
    "in turn": replace(LRU, cache=StaticCache(), overlap=Overlap(in_turn=True)),
    "prefetching": replace(POLICIES["promoe"], cache=StaticCache()),
    "staging_experts": replace(LRU, overlap=Overlap(staging_experts=0)),
    "carries": replace(LRU, overlap=Overlap(deferred=1)),
}


@pytest.mark.parametrize("word", CLASHING)
def test_clashing_parts_are_refused(word: str) -> None:
    """Each clash of the table is refused in its own words."""
    with pytest.raises(InputError, match=word) as caught:
        check_parts(CLASHING[word])
    reasons = [str(caught.value).endswith(reason) for _, reason in CLASHES]
    assert sum(reasons) == 1


def test_every_clash_has_a_case() -> None:
    """No row of the table is without a policy above that meets it first."""
    met = {next(reason for clash, reason in CLASHES if clash(one)) for one in CLASHING.values()}
    assert met == {reason for _, reason in CLASHES}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=lambda policy: policy.name)
def test_named_systems_go_together(policy: Policy) -> None:
    """The parts of every row of the table go together."""
    check_parts(policy)
