"""KTransformers: the meaning of its arguments, and where it puts experts."""

from sim.runtimes.ktransformers.arguments import KtArguments, read_kt_arguments

__all__ = ["KtArguments", "read_kt_arguments"]
