"""Workers on more than one machine: those of a Dask scheduler."""

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from hwprofiles import InputError

CONNECT_TIMEOUT_S = 10
CLOSE_TIMEOUT_S = 2

LOGGERS = ("distributed", "asyncio", "tornado")
"""Loggers that show tracebacks about a missing scheduler, beside the one line that reports it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The workers: an executor, and a function that says how many points it computes at once by
    now.
    """

    executor: Executor
    at_once: Callable[[], int]


class _Client(Protocol):
    """The part of Dask's client that is used; Dask's own has no types."""

    def get_executor(self, *, pure: bool) -> Executor:
        """Return its workers as an executor; ``pure``: whether equal calls may share a result."""

    def nthreads(self) -> Mapping[str, int]:
        """Return how many threads each worker has, by the worker's address."""

    def close(self, *, timeout: float) -> None:
        """Leave the scheduler within ``timeout`` seconds; raises whatever goes wrong."""


@contextmanager
def cluster_crew(address: str) -> Iterator[Crew]:
    """Yield the workers of the scheduler at an address such as ``tcp://host:8786``.

    Workers that join or leave meanwhile count. A worker that dies costs nothing but time: the
    scheduler gives its points to another. Raises InputError where the package is missing or no
    scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            f"`scheduler` {address}: needs Dask; pip install 'rosin[cluster]'"
        ) from None
    # Dask ends a client that met no scheduler when it forgets it: after 20 s, with a traceback.
    # This one is closed below.
    connect: Callable[..., _Client] = type("Client", (Client,), {"__del__": lambda client: None})
    with _unsaid():
        try:
            client = connect(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
        except (
            Exception
        ) as error:  # whoever answers may be no scheduler, and Dask makes anything of what they say
            raise InputError(
                f"`scheduler` {address}: no scheduler answers; start one with: dask scheduler ({error_words(error)})"
            ) from None
        try:
            yield Crew(
                executor=client.get_executor(pure=False),
                at_once=lambda: sum(client.nthreads().values()),
            )
        finally:
            with suppress(Exception):  # a scheduler that is gone cannot be left, and need not be
                client.close(timeout=CLOSE_TIMEOUT_S)


@contextmanager
def _unsaid() -> Iterator[None]:
    """Keep Dask's logs from the terminal.

    Each failure of Dask also reaches the caller as an exception, and is one line.
    """
    before = {logger: logger.level for name in LOGGERS for logger in _loggers(name)}
    for logger in before:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


def _loggers(name: str) -> Iterator[logging.Logger]:
    """The logger of that name and those below it; each has a level of its own in Dask."""
    yield logging.getLogger(name)
    for other in list(logging.root.manager.loggerDict):
        if other.startswith(f"{name}."):
            yield logging.getLogger(other)


def error_words(error: BaseException) -> str:
    """Return another library's error message in one line; the error's name if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
