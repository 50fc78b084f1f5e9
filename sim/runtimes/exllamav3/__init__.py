"""exllamav3: the meaning of its arguments, and where it puts experts."""

from sim.runtimes.exllamav3.arguments import Exl3Arguments, read_exl3_arguments

__all__ = ["Exl3Arguments", "read_exl3_arguments"]
