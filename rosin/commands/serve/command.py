"""`rosin serve`: a local page with a PC and a model to choose and change; the plan follows."""

import socket
import sys
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rosin.cli.named_option import named
from rosin.cli.output import Output

if TYPE_CHECKING:
    from rosin.web.question import Offered

HOST = "127.0.0.1"
FIRST_PORT = 8765
"""The default port; it is fixed, so that a link to the page stays valid."""
MAX_PORT = 65_535

MachineStart = Annotated[
    str | None,
    named("--machine", "NAME", "The PC to begin with: a line of parts, a machine's name or file."),
]
ModelStart = Annotated[
    str | None, named("--model", "NAME", "The model to begin with: a name, or a file.")
]
QuantizationStart = Annotated[
    str | None, named("--quantization", "NAME", "How its weights are stored.")
]
PortOption = Annotated[
    int | None,
    typer.Option(
        "--port",
        metavar="N",
        min=0,
        max=MAX_PORT,
        help=f"The port to listen on, 0 for any free one; otherwise {FIRST_PORT}.",
        show_default=False,
    ),
]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the page in a browser.")]


def serve(
    *,
    machine: MachineStart = None,
    model: ModelStart = None,
    quantization: QuantizationStart = None,
    port: PortOption = None,
    open_browser: OpenOption = False,
    output: Output,
) -> None:
    """Open a page that plans as you move a PC's numbers."""
    offered = _offered(machine, model, quantization)
    # The port comes first: where it is taken, nothing has been loaded in vain.
    with _listening(port) as listener:
        link = f"http://{HOST}:{listener.getsockname()[1]}/"
        with output.waiting("starting the page"):
            server = _server(offered)
        output.emit({"link": link}, [link + "  (Ctrl+C ends it)"])
        # Whoever started this may read the link through a pipe, and waits for it.
        sys.stdout.flush()
        if open_browser:
            import webbrowser

            webbrowser.open(link)
        server.run(sockets=[listener])


def _offered(machine: str | None, model: str | None, quantization: str | None) -> "Offered":
    """Return what the page begins with.

    Raises InputError for an unknown machine, model or format, before anything listens.
    """
    from hwprofiles import load_machine
    from rosin.web.question import EXAMPLE_PC, Offered
    from sim.model.library import load_model

    first = Offered()
    if model is None:
        found = Offered(
            machine=machine or EXAMPLE_PC, quantization=quantization or first.quantization
        )
    else:
        # Of a model that was named, the stored form is its own unless another is named, too.
        found = Offered(machine=machine or EXAMPLE_PC, model=model, quantization=quantization or "")
    load_machine(found.machine)
    load_model(found.model, found.quantization or None)
    return found


def _listening(port: int | None) -> socket.socket:
    """Return a socket that only this computer reaches. Raises InputError if the port is taken."""
    from hwprofiles import InputError

    number = FIRST_PORT if port is None else port
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # The port of a page that has just ended stays reserved for a minute; this takes it all the
    # same.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, number))
    except OSError as error:
        listener.close()
        raise InputError(
            f"port {number} cannot be listened on: {error.strerror}; --port 0 takes a free one"
        ) from None
    return listener


def _server(offered: "Offered") -> Any:
    """Return the server, with every module loaded that an answer needs.

    Raises InputError, naming the missing module, without the extra ``serve``.
    """
    from hwprofiles import InputError

    try:
        import uvicorn

        from rosin.web.app import build_app
    except ModuleNotFoundError as error:
        raise InputError(
            f"the page needs {error.name}: pip install 'rosin[serve]' brings it"
        ) from None
    app = build_app(offered)
    # The first answer reads constants and libraries: done while the browser draws the page.
    threading.Thread(target=_warm, args=(offered,), daemon=True).start()
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    return uvicorn.Server(config)


def _warm(offered: "Offered") -> None:
    from rosin.web.answering import answer_to
    from rosin.web.question import read_question

    reading = read_question({}, offered)
    if not reading.problems:
        answer_to(reading.question)
