"""Where threads and the weights that they read lie on a computer with several sockets.

A socket reads the memory of another over a link that is slower than its own memory. So what counts
is whether each socket reads what lies with it, and nothing but arguments says so.
"""

from enum import IntEnum

from sim.runtimes.features import is_on_two_sockets
from sim.runtimes.ktransformers.arguments import KtArguments
from sim.runtimes.llama_cpp.arguments import LlamaArguments
from sim.runtimes.question import RuntimeQuestion


class SocketUse(IntEnum):
    """Whose memory the threads of a step read.

    ONE: one socket's threads read its own. SHARED: the system places threads and pages, on any
    socket. EACH_ITS_OWN: threads of all sockets read what lies with them.
    """

    ONE = 0
    SHARED = 1
    EACH_ITS_OWN = 2


def socket_use(question: RuntimeQuestion, threads: int | None) -> SocketUse:
    """Return what the arguments say of sockets; where they say nothing, the system places."""
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
    """A pool keeps its threads and its part of the experts on a node; the older program binds
    threads and copies experts to every node only if it was built with USE_NUMA (cpu_backend/backend.cpp,
    operators/llamafile/moe.cpp).
    """
    if arguments.num_pools is None:
        return SocketUse.EACH_ITS_OWN if arguments.copies_experts else SocketUse.SHARED
    return SocketUse.ONE if arguments.num_pools == 1 else SocketUse.EACH_ITS_OWN
