"""exllamav3: what its arguments mean and where it puts experts."""

from sim.runtimes.exllamav3.arguments import Exl3Arguments, read_exl3_arguments

__all__ = ["Exl3Arguments", "read_exl3_arguments"]
