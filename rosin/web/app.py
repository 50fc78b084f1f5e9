"""The page's application and its addresses. Most of them answer with a piece of HTML."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from rosin.web import showing
from rosin.web.exporting import export_of
from rosin.web.guarding import Guard
from rosin.web.question import Offered, ReadQuestion, read_question
from rosin.web.searching import SearchDesk
from rosin.web.suggesting import suggestions


def build_app(offered: Offered, desk: SearchDesk | None = None) -> Starlette:
    """Return the application of the page.

    ``offered`` is what the page begins with. Searches start at the desk, and end with the page.
    """
    pages = _Pages(offered, desk or SearchDesk())
    return Starlette(
        routes=[
            Route("/", pages.page),
            Route("/answer", pages.answer),
            Route("/suggest", pages.suggest),
            Route("/upgrades", pages.upgrades),
            Route("/first", pages.first),
            Route("/search", pages.search, methods=["GET", "POST"]),
            Route("/export/{form}", pages.export),
            Route("/static/{name}", pages.static),
        ],
        middleware=[Middleware(Guard)],
        lifespan=pages.lifespan,
    )


class _Pages:
    """The answers of the addresses, as plain functions that the server runs in threads."""

    def __init__(self, offered: Offered, desk: SearchDesk) -> None:
        self._offered = offered
        self._desk = desk
        self._static = showing.static_files()

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """End the search under way when the page ends."""
        yield
        self._desk.close()

    def page(self, request: Request) -> Response:
        """Answer with the whole page."""
        return HTMLResponse(showing.page(self._read(request), self._offered))

    def answer(self, request: Request) -> Response:
        """The answer to a state of the page, whose link the browser then shows."""
        reading = self._read(request)
        # With mistakes there is no setting to look a search up by.
        searched = (
            None if reading.problems else self._desk.state(reading.question.simulated_setting)
        )
        return _linked(showing.answer(reading, searched), reading)

    def suggest(self, request: Request) -> Response:
        """Answer with completions of the line of parts that is being typed."""
        field = "other" if request.query_params.get("of") == "other" else "machine"
        text = request.query_params.get(field, "")
        return HTMLResponse(showing.rendered("options", options=suggestions(text)))

    def upgrades(self, request: Request) -> Response:
        """Answer with the table of upgrades."""
        return self._checked(request, showing.offers)

    def first(self, request: Request) -> Response:
        """Answer with the speed of several answers at once, before any search."""
        return self._checked(request, lambda reading: showing.first(reading.question))

    def search(self, request: Request) -> Response:
        """Start the search of all policies (POST), or answer with its state."""
        act = self._desk.start if request.method == "POST" else self._desk.state
        return self._checked(
            request,
            lambda reading: showing.search(
                reading.question, act(reading.question.simulated_setting)
            ),
        )

    def export(self, request: Request) -> Response:
        """Answer with the plan as a file, in the form that the address names."""
        reading = self._read(request)
        if reading.problems:
            return PlainTextResponse("; ".join(reading.problems.values()), 400)
        file = export_of(reading.question, request.path_params["form"])
        if file is None:
            return PlainTextResponse("there is no such file", 404)
        return Response(
            file.text,
            media_type=file.media_type,
            headers={"content-disposition": f'attachment; filename="{file.name}"'},
        )

    def static(self, request: Request) -> Response:
        """Answer with a file of the page itself."""
        known = self._static.get(request.path_params["name"])
        if known is None:
            return PlainTextResponse("there is no such file", 404)
        content, media_type = known
        return Response(content, media_type=media_type)

    def _read(self, request: Request) -> ReadQuestion:
        return read_question(request.query_params, self._offered)

    def _checked(self, request: Request, shown: Callable[[ReadQuestion], str]) -> Response:
        """Answer with the HTML for a question without mistakes, or else with the mistakes."""
        reading = self._read(request)
        if reading.problems:
            return HTMLResponse(showing.rendered("mistakes", problems=reading.problems))
        return _linked(shown(reading), reading)


def _linked(text: str, reading: ReadQuestion) -> Response:
    """Return a piece of the page; the browser then shows the link of the page's state."""
    response = HTMLResponse(text)
    if not reading.problems:
        # htmx then shows this address, without one more entry in the browser's history.
        response.headers["HX-Replace-Url"] = f"/?{reading.question.link}"
    return response
