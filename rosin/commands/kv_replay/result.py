"""The replay of requests against pools of KV blocks, in the quickest way for the given pools."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from rosin.commands.kv_replay.document import (
    KvReplayResult,
    ReplayedPool,
    ReplayedTrace,
    SufficientPool,
)
from sim.serving.kv import LruCurve, Pool, PoolResult, TouchOrder, lru_curve, replay
from sim.workload.requests import RequestsSpec

MANY_POOLS = 4
"""The number of pools from which one pass over the trace is quicker than a replay of each pool.

One pass gives all LRU pools, and all pools that hold everything.
"""

SHARES = (0.5, 0.9, 0.99)
"""The shares of an unlimited pool's hits for which the smallest sufficient pool is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The requests of a replay, and how their prompts are cut into blocks."""

    spec: RequestsSpec
    block_tokens: int
    bytes_per_token: int
    seed: int

    def run(
        self, pools: Sequence[Pool], curve: LruCurve | None, note: Callable[[str], None]
    ) -> list[PoolResult]:
        """Return the result of each pool, in order; the curve replaces a replay if it has the
        result.

        ``note`` receives a message before a long wait.
        """
        known = {}
        if curve is not None:
            known = {
                # The curve knows sizes alone; the row should name the pool that was asked for.
                pool: replace(curve.result(pool.capacity_bytes), pool=pool)
                for pool in pools
                # A pool that everything fits into drops nothing, so its policy makes no difference.
                if is_nested(pool) or curve.fits(pool)
            }
        rest = [pool for pool in pools if pool not in known]
        if rest:
            note(f"replaying {len(rest)} pools" if len(rest) > 1 else "replaying a pool")
            known.update(zip(rest, self._replay(rest), strict=True))
        return [known[pool] for pool in pools]

    def curve(self) -> LruCurve:
        """Return the curve of all LRU pools, from one pass over the requests."""
        return lru_curve(
            self.spec.requests(self.seed),
            block_tokens=self.block_tokens,
            bytes_per_token=self.bytes_per_token,
            num_warmup_requests=self.spec.num_warmup_requests,
        )

    def _replay(self, pools: Sequence[Pool]) -> list[PoolResult]:
        return replay(
            self.spec.requests(self.seed),
            pools,
            block_tokens=self.block_tokens,
            bytes_per_token=self.bytes_per_token,
            num_warmup_requests=self.spec.num_warmup_requests,
        )


def is_nested(pool: Pool) -> bool:
    """Return whether a larger pool of this kind always contains a smaller one, so that one pass
    suffices.
    """
    return pool.policy == "lru" and pool.touch_order is TouchOrder.HEAD_FIRST


def kv_replay_result(
    asked: Replay, results: Iterable[PoolResult], curve: LruCurve | None
) -> KvReplayResult:
    """The document of some results of one replay."""
    rows = list(results)
    trace = ReplayedTrace(
        name=asked.spec.name,
        source=asked.spec.source,
        # All pools are given the same requests, so the first row has the counts for all.
        num_requests=rows[0].num_requests,
        num_warmup_requests=asked.spec.num_warmup_requests,
        prompt_tokens=rows[0].prompt_tokens,
    )
    return KvReplayResult(
        trace=trace,
        block_tokens=asked.block_tokens,
        bytes_per_token=asked.bytes_per_token,
        rows=[
            ReplayedPool.of(
                result,
                policy=result.pool.policy,
                touch_order=result.pool.touch_order.value,
                capacity_bytes=result.pool.capacity_bytes,
            )
            for result in rows
        ],
        lru_sufficient=[
            SufficientPool(share_fraction=share, capacity_bytes=curve.capacity_bytes_for(share))
            for share in SHARES
        ]
        if curve is not None
        else [],
    )
