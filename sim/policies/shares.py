"""What the gates of a run gave to experts."""

import numpy as np
from numpy.typing import NDArray

from sim.policies.base import Foresight
from sim.routing.base import Draw, ExpertMaps, expert_maps
from sim.workload import with_shared_prompts


def drawn(foresight: Foresight) -> Draw:
    """The run's choices with their gate weights and embeddings, where the routing knows those."""
    problem = foresight.problem
    sequences, tokens = foresight.expert_ids.shape[:2]
    weights = foresight.routing.gate_weights(problem.model, sequences, tokens, foresight.seed)
    embeddings = foresight.routing.token_embeddings(problem.model, sequences, tokens, foresight.seed)
    return Draw(
        ids=foresight.expert_ids,
        weights=None if weights is None else with_shared_prompts(weights, problem.batch),
        embeddings=None if embeddings is None else with_shared_prompts(embeddings, problem.batch),
    )


def maps_of(foresight: Foresight) -> ExpertMaps:
    """The expert maps of the run."""
    popularity = foresight.problem.popularity[list(foresight.problem.model.moe_layers)]
    return expert_maps(drawn(foresight), foresight.passes, popularity)


def gate_shares(foresight: Foresight) -> NDArray[np.float32]:
    """A gate's mean distribution over the tokens of a pass [pass, layer, expert]; shares of the choices where only those are known."""
    maps = maps_of(foresight)
    shares = np.zeros(foresight.tokens.shape, np.float32)
    moe_layers = np.array(foresight.problem.model.moe_layers)
    np.add.at(shares, (maps.of_pass[:, None], moe_layers[None, :]), maps.shares)
    return shares / np.maximum(foresight.passes.num_sequences, 1).astype(np.float32)[:, None, None]
