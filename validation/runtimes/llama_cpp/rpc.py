"""Loopback devices: processes of ggml-rpc-server on this machine that stand for GPUs."""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hwprofiles import InputError

SERVER = "ggml-rpc-server"
ADDRESS = "127.0.0.1"
WAIT_S = 30.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopbackDevices:
    """Listening servers: their addresses, and the ids of their processes."""

    addresses: tuple[str, ...]
    processes: tuple[int, ...]

    @property
    def buffers(self) -> tuple[str, ...]:
        """llama.cpp's name for the memory of each server.

        The number in it counts the devices of one server (ggml-rpc.cpp at 0c1e57098).
        """
        return tuple(f"RPC0[{address}]" for address in self.addresses)


@contextmanager
def loopback_devices(folder: Path, count: int, threads: int = 1) -> Iterator[LoopbackDevices]:
    """Start that many servers from a folder, and end them afterwards.

    Raises InputError if the program is not there, or does not listen.
    """
    program = folder / SERVER
    if not program.is_file():
        raise InputError(
            f"{folder}: no {SERVER} beside llama-bench, and it stands for the GPUs of a plan"
        )
    ports = _free_ports(count)
    started = [
        subprocess.Popen(
            [str(program), "-H", ADDRESS, "-p", str(port), "-d", "CPU", "-t", str(threads)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for port in ports
    ]
    try:
        for port in ports:
            _wait_for(port)
        yield LoopbackDevices(
            addresses=tuple(f"{ADDRESS}:{port}" for port in ports),
            processes=tuple(process.pid for process in started),
        )
    finally:
        for process in started:
            process.terminate()
        # All were told to end before one is waited for, so they end at the same time.
        for process in started:
            process.wait()


def _free_ports(count: int) -> Sequence[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind((ADDRESS, 0))
    # All are bound at once, so that the system gives none of them twice.
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        try:
            with socket.create_connection((ADDRESS, port), timeout=1.0):
                return
        except OSError:
            time.sleep(POLL_S)
    raise InputError(f"{SERVER} does not listen on {ADDRESS}:{port} after {WAIT_S:g} s")
