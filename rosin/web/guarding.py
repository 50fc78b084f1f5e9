"""The protection of the page: only this computer's browser may ask, from the page itself.

Request bodies must be small.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1_000_000
HOSTS = ("127.0.0.1", "localhost", "::1")
"""The names of this computer. Another name may be pointed here by somebody else (DNS rebinding)."""
SAFE_METHODS = ("GET", "HEAD")
OWN_SITES = ("same-origin", "none")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class _TooLarge(Exception):
    """The error for a body that is larger than MAX_BODY_BYTES."""


class Guard:
    """A layer that refuses other host names, requests from other pages, and large bodies.

    It adds headers that keep a browser from loading anything from elsewhere.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Guard an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # the page has no web socket: nothing accepts one
        headers = Headers(scope=scope)
        refusal = refused(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
            return
        try:
            await self._app(scope, _limited(receive), _with_headers(send))
        except _TooLarge:
            await _large()(scope, receive, _with_headers(send))


def refused(scope: Scope, headers: Headers) -> PlainTextResponse | None:
    """Return the refusal of a request, or None if the request may pass."""
    if _host_of(headers.get("host", "")) not in HOSTS:
        return PlainTextResponse("this page answers to 127.0.0.1 and localhost only", 400)
    is_page = scope["method"] in SAFE_METHODS and scope["path"] == "/"
    # Following a link to the page is fine; anything else is asked by the page alone.
    if not is_page and not _is_own(headers):
        return PlainTextResponse("only the page itself may ask this", 403)
    length = headers.get("content-length", "0")
    # A length below 0, or one that is no number, comes from no browser.
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        return _large()
    return None


def _large() -> PlainTextResponse:
    return PlainTextResponse(f"a body may have {MAX_BODY_BYTES:,} bytes", 413)


def _host_of(text: str) -> str | None:
    """Return the name in a Host header without its port; None for a wrong header."""
    try:
        # Brackets that do not match raise ValueError.
        return urlsplit(f"//{text}").hostname
    except ValueError:
        return None


def _is_own(headers: Headers) -> bool:
    """Return whether the page itself asks, as far as the headers say.

    A program that sends no such headers passes, too.
    """
    if headers.get("sec-fetch-site", "none") not in OWN_SITES:
        return False
    origin = headers.get("origin")
    return origin is None or origin == f"http://{headers['host']}"


def _limited(receive: Receive) -> Receive:
    """Return a ``receive`` that counts the bytes of a body, and raises _TooLarge beyond the limit.

    It guards bodies whose length is not stated beforehand.
    """
    num_bytes = 0

    async def counted() -> Message:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if num_bytes > MAX_BODY_BYTES:
            raise _TooLarge
        return message

    return counted


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sent
