"""Beam search: which hypotheses live on, and with which tokens they continue."""

# TensorLegend: N sequences (hypothesis h of prompt b is number h · batch_size + b), V vocabulary, B
# prompts, H hypotheses of each.

import torch
from torch import Tensor

from sim.workload.batch import Batch


class Beams:
    """The best hypotheses of each prompt so far, by the sum of their log-probabilities.

    With one hypothesis a prompt, this is greedy decoding.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.scores_BH = torch.zeros(batch.batch_size, batch.beams)
        self._waiting: list[Tensor] = []

    def take(self, logits_NV: Tensor, *, is_first: bool) -> tuple[Tensor, Tensor] | None:
        """Take logits of the step's next sequences, in the order of their numbers.

        Once all sequences have theirs, return (parents, tokens) of every sequence; until then,
        None. After the prefill (``is_first``) all hypotheses of a prompt are alike, so the first of
        each stands for all.
        """
        self._waiting.append(logits_NV)
        found_NV = torch.cat(self._waiting)
        if not is_first and len(found_NV) < self._batch.num_sequences:
            return None
        self._waiting = []
        return self._chosen(found_NV[: self._batch.batch_size] if is_first else found_NV)

    def _chosen(self, logits_NV: Tensor) -> tuple[Tensor, Tensor]:
        prompts = self._batch.batch_size
        vocab = logits_NV.shape[1]
        if self._batch.beams == 1:
            # Greedy decoding needs no softmax, which keeps the order of logits.
            return torch.arange(prompts), logits_NV.argmax(dim=-1)
        logs_BHV = (
            torch.log_softmax(logits_NV.float(), dim=-1).view(-1, prompts, vocab).transpose(0, 1)
        )
        # After the prefill each prompt has one hypothesis, so only one column of scores counts.
        sums_BHV = logs_BHV + self.scores_BH[:, : logs_BHV.shape[1], None]
        self.scores_BH, places_BH = sums_BHV.flatten(1).topk(self._batch.beams, dim=-1)
        # Sequences are ordered by hypothesis, then by prompt.
        parents_BH = places_BH // vocab * prompts + torch.arange(prompts)[:, None]
        return parents_BH.T.reshape(-1), (places_BH % vocab).T.reshape(-1)
