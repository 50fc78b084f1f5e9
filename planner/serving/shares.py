"""Ways to share out the GPUs of a machine over instances."""

from collections.abc import Iterator

from planner.serving.serving_plan import ServingQuestion

Share = tuple[int, int]
"""A number of instances, and of the GPUs of each."""


def shares_of(question: ServingQuestion) -> Iterator[Share]:
    """Yield numbers of instances, each with the GPUs of an instance; stated numbers are kept.

    With a target, the GPUs of an instance are a divisor of the machine's. Without a target, the
    number of instances is a divisor, and the instances use all GPUs unless the GPUs of each are
    stated.
    """
    offered = question.offered
    count = question.machine.gpu.count
    # Where prefill and decode may be apart, the number of instances is what is sought.
    is_stated = "num_instances" in offered.model_fields_set and offered.disaggregation is None
    stated = offered.instance.num_gpus
    divisors = [number for number in range(1, count + 1) if count % number == 0]
    for num_instances in range(1, count + 1):
        if is_stated and num_instances != offered.num_instances:
            continue
        if question.target is not None:
            sizes = divisors if stated is None else [stated]
        else:
            sizes = [stated or count // num_instances] if num_instances in divisors else []
        yield from ((num_instances, size) for size in sizes if num_instances * size <= count)


def share_words(num_instances: int, num_gpus: int) -> str:
    """Return a share in words, such as ``2 × 4 GPUs``."""
    return f"{num_instances} × {num_gpus} GPU{'s' if num_gpus > 1 else ''}"
