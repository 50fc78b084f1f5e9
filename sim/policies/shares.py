"""The shares that the gates of a run gave to experts."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.policies.foresight import Foresight
from sim.workload.batch import with_shared_prompts

if TYPE_CHECKING:
    from sim.routing.base import Draw, ExpertMaps


def drawn(foresight: Foresight) -> "Draw":
    """The run's choices with what the routing knows of their gates and embeddings."""
    from sim.routing.base import Draw

    problem = foresight.problem
    sequences, tokens = foresight.expert_ids.shape[:2]
    # Drawn again by the same seed: choices are kept by all, weights only by those who ask.
    known = foresight.routing.draw(
        problem.model, sequences, tokens, foresight.seed, foresight.expert_ids
    )
    weights, full, embeddings = (
        None if rows is None else with_shared_prompts(rows, problem.batch)
        for rows in (known.weights, known.full, known.embeddings)
    )
    return Draw(ids=foresight.expert_ids, weights=weights, full=full, embeddings=embeddings)


def maps_of(foresight: Foresight, *, by_token: bool = False) -> "ExpertMaps":
    """Return the expert maps of the run: one for each iteration, or one for each token."""
    from sim.routing.base import expert_maps

    popularity = foresight.problem.popularity[list(foresight.problem.model.moe_layers)]
    return expert_maps(drawn(foresight), foresight.passes, popularity, by_token=by_token)


def gate_shares(foresight: Foresight) -> NDArray[np.float32]:
    """Return each gate's mean distribution over the tokens of a pass [pass, layer, expert]; where a
    routing gives no weights, the shares of the choices.
    """
    return foresight.once("gate shares", lambda: _gate_shares(foresight))


def _gate_shares(foresight: Foresight) -> NDArray[np.float32]:
    maps = maps_of(foresight)
    if maps.shares.shape == foresight.tokens.shape and (np.diff(maps.of_pass) > 0).all():
        return maps.shares  # one sequence, and all layers have experts
    shares = np.zeros(foresight.tokens.shape, np.float32)
    moe_layers = np.array(foresight.problem.model.moe_layers)
    if (np.diff(maps.of_pass) > 0).all():
        shares[maps.of_pass[:, None], moe_layers[None, :]] = maps.shares
    else:
        # Several sequences share a pass, so that places repeat; this takes five times as long.
        np.add.at(shares, (maps.of_pass[:, None], moe_layers[None, :]), maps.shares)
    return shares / np.maximum(foresight.passes.num_sequences, 1).astype(np.float32)[:, None, None]
