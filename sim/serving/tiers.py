"""The tiers of a run: a shared tier serves all instances, any other exists once for each."""

import simpy

from hwprofiles.units import NS_PER_S
from sim.serving.offload import Offload, Process
from sim.serving.offload_options import OffloadOptions, OffloadSpec
from sim.serving.pins import PinnedChunks
from sim.serving.prices import StepPrices
from sim.serving.tier import KvTier


class Tiers:
    """Makes the tiers of each new instance, and lists all of them. Without options there are
    none.
    """

    def __init__(self, options: OffloadOptions | None, kv_bytes_per_token: int) -> None:
        self.all: list[KvTier] = []
        self._options = options
        self._kv_bytes_per_token = kv_bytes_per_token
        self._shared: dict[str, KvTier] = {}
        self._pinned = (
            PinnedChunks(options.rules.pins, options.rules.chunk_tokens)
            if options is not None
            else PinnedChunks((), 1)
        )

    def offload(self, env: simpy.Environment, prices: StepPrices) -> Offload | None:
        """Return the tiers as a new instance sees them; None without options."""
        if self._options is None:
            return None
        known = len(self.all)
        tiers = [
            self._shared.get(name) or self._made(name)
            for name in (tier.name for tier in self._options.tiers)
        ]
        offload = Offload(env, self._options, tiers, prices, self._pinned)
        # One sweep for each host memory: a shared one had its own started with its first instance.
        if offload.is_server and tiers[0] in self.all[known:]:
            env.process(_sweep(env, tiers[0], self._options.rules))
        return offload

    def _made(self, name: str) -> KvTier:
        assert self._options is not None
        options = next(tier for tier in self._options.tiers if tier.name == name)
        rules = self._options.rules
        per_token = rules.bytes_per_token or self._kv_bytes_per_token
        tier = KvTier(options, rules.chunk_tokens * per_token)
        self.all.append(tier)
        self._pinned.watch(tier)
        if options.is_shared:
            self._shared[name] = tier
        return tier


def _sweep(env: simpy.Environment, host: KvTier, rules: OffloadSpec) -> Process:
    """Evict a share of a host memory above its watermark, as the server does once a second without
    end.
    """
    capacity = host.store.capacity_blocks
    # A host memory without limit is never above its watermark.
    while capacity is not None:
        yield env.timeout(NS_PER_S)
        # The server's defaults are a watermark of 0.8 and a share of 0.2 (LMCache's documentation).
        if len(host.store) > rules.watermark_fraction * capacity:
            host.store.evict(int(rules.evicted_fraction * len(host.store)))
