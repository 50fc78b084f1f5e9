"""Where threads, and the weights that they read, lie on a computer with several sockets.

A socket reads another socket's memory over a link that is slower than its own memory. Speed
therefore depends on whether each socket reads its own memory. Only the arguments say whether it
does.
"""

from enum import IntEnum

from sim.runtimes.features import is_on_two_sockets
from sim.runtimes.ktransformers.arguments import KtArguments
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.question import RuntimeQuestion


class SocketUse(IntEnum):
    """The sockets whose memory the threads of a step read.

    ONE: the threads of one socket read its own. SHARED: the system places threads and pages, on any
    socket. EACH_ITS_OWN: the threads of all sockets read their own.
    """

    ONE = 0
    SHARED = 1
    EACH_ITS_OWN = 2


def socket_use(question: RuntimeQuestion, threads: int | None) -> SocketUse:
    """Return how the arguments use sockets; SHARED where they say nothing of them."""
    host = question.host
    arguments = question.arguments
    if host.sockets < 2:
        return SocketUse.ONE
    if isinstance(arguments, KtArguments):
        return _of_ktransformers(arguments)
    mode = arguments.numa if isinstance(arguments, LlamaArguments) else None
    if mode is None:
        return SocketUse.SHARED
    # Threads take turns over the nodes, each with the same rows of every matrix, which it was the
    # first to touch (ggml-cpu.c, set_numa_thread_affinity and the chunks of ggml_is_numa).
    if mode == "distribute" or is_on_two_sockets(host, threads):
        return SocketUse.EACH_ITS_OWN
    return SocketUse.ONE


def _of_ktransformers(arguments: KtArguments) -> SocketUse:
    """Return how KTransformers uses sockets.

    A pool keeps its threads and its part of the experts on one NUMA node. The older program binds
    threads, and copies experts to every node, only if it was built with USE_NUMA
    (cpu_backend/backend.cpp, operators/llamafile/moe.cpp).
    """
    if arguments.num_pools is None:
        return SocketUse.EACH_ITS_OWN if arguments.copies_experts else SocketUse.SHARED
    return SocketUse.ONE if arguments.num_pools == 1 else SocketUse.EACH_ITS_OWN
