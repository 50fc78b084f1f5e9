"""Expert counts of the request at hand, matched to past requests, as MoE-Infinity prefetches (arXiv
2401.14361).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwprofiles.ranges import check_at_least
from sim.policies.foresight import CANDIDATE, Foresight, Predictions
from sim.policies.prefetch.base import Prefetch
from sim.policies.prefetch.naming import PRIORITY_SCALE, gathered
from sim.policies.prefetch.past import past_requests
from sim.step.rules.matching import Matched, PastRequests, SoFar, match
from sim.step.rules.repeating import repeat_blocks

Array = NDArray[np.float32]
MAX_NAMED = 256
"""Most candidates kept of a gate, ties aside: no more are fetched before the next gate names them
anew.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCountsPrefetch(Prefetch):
    """Finds, before each layer, the past request most like this one so far. Every expert that it
    used in a remaining layer is a candidate.

    Likeness is the mean over layers of the cosine between rows of the two count matrices (layers
    without counts add 0). At layer l of L, an expert of layer i counts for its share in the past
    request's layer, times 1 - (i - l)/(L + 1). The layer waits for the lookup, of ``lookup_ns``
    (0.1 ms: assumed), which here follows the gate of the layer before. ``num_stored`` past requests
    (100: assumed) come from the same routing. A whole batch has one matrix. At most ``max_waiting``
    copies are queued at once (8: assumed), times the number of GPUs.

    ``most_named``: of each layer, only that many experts, the most used, are candidates (None:
    all). ``distance``: only experts of so many layers ahead are candidates (None: of all).
    ``names_at_start``: the start of a pass names, for the first layers, the experts that all past
    requests together used most. All three are so where fMoE's authors rebuilt MoE-Infinity
    (github.com/IntelliSys-Lab/FineMoE-EuroSys26).
    """

    num_stored: int = 100
    lookup_ns: int = 100_000
    max_waiting: int | None = 8
    is_lookup_awaited: bool = True
    most_named: int | None = None
    distance: int | None = None
    names_at_start: bool = False

    def __post_init__(self) -> None:
        check_at_least(self, num_stored=0, lookup_ns=0, max_waiting=1, most_named=1, distance=1)

    is_of_draw = True
    comes_in_parts = True

    def predict(self, foresight: Foresight) -> Predictions:
        """Name at every gate the experts that the most similar past request used in the layers to
        come.
        """
        moe_layers = np.array(foresight.problem.model.moe_layers)
        learnt = self._learnt(foresight)
        stored = learnt.stored
        tokens = foresight.tokens[:, moe_layers]
        # Without a past, no request can be like this one.
        if not len(stored):
            nothing = gathered([], foresight.tokens.shape)
            return replace(nothing, learnt=learnt if foresight.part_of else None)
        matched = matches(tokens, learnt.past, learnt.so_far)
        shares = stored / np.maximum(stored.sum(axis=2, keepdims=True), 1)
        forecast = _forecast(foresight, learnt, shares[matched.before])
        liked = self._liked(shares)
        reach = len(moe_layers) if self.distance is None else self.distance
        total = self._liked(
            stored.sum(axis=0, keepdims=True) / max(stored.sum() / len(moe_layers), 1.0)
        )[0]
        at_start = (
            _of_gate(total, -1, moe_layers, reach)
            if self.names_at_start
            else np.empty(0, CANDIDATE)
        )
        found = _named(matched.during, liked, moe_layers, foresight.tokens.shape, reach, at_start)
        return Predictions(
            first=found.first,
            candidates=found.candidates,
            forecast=forecast,
            reach=len(forecast[0]),
            learnt=replace(learnt, forecast=forecast[-1].copy()) if foresight.part_of else None,
        )

    def _learnt(self, foresight: Foresight) -> "_Learnt":
        """What is known before the first of these passes."""
        before = foresight.part_of.learnt if foresight.part_of else None
        if before is not None:
            assert isinstance(before, _Learnt)
            return before
        stored = stored_counts(foresight, self.num_stored)
        past = past_of(stored)
        return _Learnt(
            stored=stored,
            past=past,
            so_far=nothing_yet(past),
            forecast=foresight.problem.popularity.astype(np.float32),
        )

    def _liked(self, shares: Array) -> Array:
        """Return the shares [request, MoE layer, expert] of the ``most_named`` experts of each
        layer, 0 for the others; ties to the lower number.
        """
        if self.most_named is None:
            return shares
        rank = np.argsort(np.argsort(-shares, axis=2, kind="stable"), axis=2, kind="stable")
        return np.where(rank < self.most_named, shares, 0)


def stored_counts(foresight: Foresight, count: int) -> Array:
    """Return the count matrices [request, MoE layer, expert] of up to ``count`` past requests."""
    model = foresight.problem.model
    if not count:
        return np.zeros((0, len(model.moe_layers), model.num_experts), np.float32)
    from sim.routing.base import choices_of_sequences

    return choices_of_sequences(past_requests(foresight, count)[0].ids, model.num_experts).astype(
        np.float32
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Learnt:
    """What the matching goes on from, after the passes so far.

    ``stored`` [request, MoE layer, expert] are the counts of past requests. ``so_far`` is the
    request at hand, which changes from pass to pass. ``forecast`` [layer, expert] is that of its
    latest pass.
    """

    stored: Array
    past: PastRequests
    so_far: SoFar
    forecast: Array


def past_of(stored: Array) -> PastRequests:
    """Return count matrices [request, MoE layer, expert] in the form in which requests are
    compared.
    """
    counts = np.ascontiguousarray(stored.transpose(1, 2, 0)).astype(np.int64)
    squares = (counts * counts).sum(axis=1)
    return PastRequests(counts=counts, lengths=np.sqrt(squares.astype(np.float64)))


def nothing_yet(past: PastRequests) -> SoFar:
    """Return the state of a request before its first pass."""
    num_layers, num_experts, num_requests = past.counts.shape
    return SoFar(
        counts=np.zeros((num_layers, num_experts), np.int64),
        squares=np.zeros(num_layers, np.int64),
        products=np.zeros((num_layers, num_requests), np.int64),
        cosines=np.zeros((num_layers, num_requests)),
    )


def matches(tokens: NDArray[np.int32], past: PastRequests, so_far: SoFar) -> Matched:
    """Match passes of those ``tokens`` [pass, MoE layer, expert] with past requests; ``so_far``
    takes the passes in.
    """
    num_layers, num_requests = past.lengths.shape
    found = Matched(
        before=np.zeros(len(tokens), np.int64),
        during=np.zeros((len(tokens), num_layers), np.int64),
        likeness=np.zeros((num_layers + 1, num_requests)),
    )
    match(np.ascontiguousarray(tokens), past, so_far, found)
    return found


def _forecast(foresight: Foresight, learnt: _Learnt, matched: Array) -> Array:
    """Return the forecasts [pass + 1, layer, expert] of passes. ``matched`` [pass, MoE layer,
    expert] are the shares of the past request that is nearest before each pass.
    """
    # Row p + 1 is of pass p, matched by the passes before it. Nothing comes before the first pass of
    # a run, whose forecast stays the popularity.
    num_known = 1 if foresight.part_of is None or not foresight.part_of.num_before else 0
    forecast = np.repeat(
        foresight.problem.popularity[None].astype(np.float32), len(matched) + 1, axis=0
    )
    forecast[0] = learnt.forecast
    forecast[1 + num_known :, list(foresight.problem.model.moe_layers)] = matched[num_known:]
    return forecast


def _named(
    matched: NDArray[np.int64],
    shares: Array,
    moe_layers: NDArray[np.int64],
    shape: tuple[int, ...],
    reach: int,
    at_start: NDArray[np.void],
) -> Predictions:
    """Return what the gates name. Each gate finds the request that ``matched`` [pass, MoE layer]
    gives, of those with ``shares`` [request, MoE layer, expert].

    Gates of one layer that find the same request name the same experts. Every pass begins with
    ``at_start``.
    """
    count = len(moe_layers)
    # Many gates find the same request: what each request names is put in order once.
    which, case = np.unique(matched * count + np.arange(count), return_inverse=True)
    named = [
        _of_gate(shares[number // count], number % count, moe_layers, reach)
        for number in which.tolist()
    ]
    sizes = np.array([len(candidates) for candidates in named])
    case = case.ravel()
    by_gate = np.zeros(shape[:2], np.int64)
    by_gate[:, moe_layers] = sizes[case].reshape(matched.shape)
    first = np.append(0, np.cumsum(np.append(by_gate, np.full(shape[0], len(at_start)))))
    candidates = np.empty(first[-1], CANDIDATE)
    repeat_blocks(
        _rows(np.concatenate(named)), np.cumsum(sizes) - sizes, sizes, case, _rows(candidates)
    )
    candidates[by_gate.sum() :] = np.tile(at_start, shape[0])
    return Predictions(first=first, candidates=candidates)


def _rows(candidates: NDArray[np.void]) -> NDArray[np.int32]:
    """Return candidates as rows of whole numbers, in the same memory."""
    return candidates.view(np.int32).reshape(-1, len(CANDIDATE.names or ()))


def _of_gate(
    shares: Array, place: int, moe_layers: NDArray[np.int64], reach: int
) -> NDArray[np.void]:
    """Return the candidates that one gate names, by a request's ``shares`` [MoE layer, expert], up
    to ``reach`` MoE layers ahead.

    ``place`` is the number of the gate's layer among MoE layers (-1: the start of a pass). The
    heaviest go first, then lower layers.
    """
    count = len(moe_layers)
    ahead = np.arange(count) - place
    weight = (
        np.where((ahead > 0) & (ahead <= reach), 1.0 - ahead / (count + 1), 0.0)[:, None] * shares
    )
    # Ties with the last that is kept stay in, so that the order below decides between them.
    if weight.size > MAX_NAMED:
        weight = np.where(
            weight >= np.partition(weight, -MAX_NAMED, axis=None)[-MAX_NAMED], weight, 0.0
        )
    layer, expert = np.nonzero(weight)
    priority = np.rint((1.0 - weight[layer, expert]) * PRIORITY_SCALE).astype(np.int64)
    # One whole number holds priority, layer and expert: one sort orders by all three.
    keys = np.sort(priority * weight.size + layer * weight.shape[1] + expert)
    layer, expert = np.divmod(keys % weight.size, weight.shape[1])
    named = np.empty(len(keys), CANDIDATE)
    named["priority"], named["layer"], named["expert"] = (
        keys // weight.size,
        moe_layers[layer],
        expert,
    )
    return named
