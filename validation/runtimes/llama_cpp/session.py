"""The interface of a program that runs prompts and answers and times them."""

from typing import Protocol

from validation.runtimes.llama_cpp.load_log import LoadLog
from validation.runtimes.llama_cpp.sample import Sample


class LlamaSession(Protocol):
    """llama.cpp with one file and one set of arguments."""

    @property
    def program(self) -> str:
        """The program and its version, for provenance."""

    @property
    def log(self) -> LoadLog:
        """The log of the program while it loaded the file."""

    def prefill(self, tokens: int) -> Sample:
        """Run a prompt of that many random tokens."""

    def decode(self, tokens: int) -> Sample:
        """Run an answer of that many tokens, behind a short prompt."""

    def close(self) -> None:
        """End the program."""
