"""Protection of the pages: headers, limits of size and rate, forged forms, reverse proxies."""

import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 256 * 1024
"""Bytes of a request; the longest answer has some thousand."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of every response; scripts and styles come from files of the server alone."""


class Protection:
    """An application behind checks of every request.

    Args:
        root_path: the path under which a reverse proxy passes the pages on, whether it removes it
            or not; the application finds it in `scope["root_path"]`.
        hosts: names by which the server may be called, against DNS rebinding; None for any.
    """

    def __init__(
        self, app: App, *, root_path: str = "", hosts: frozenset[str] | None = None
    ) -> None:
        self.app = app
        self.root_path = root_path.rstrip("/")
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self.root_path:
            path = scope["path"]
            inside = path == self.root_path or path.startswith(self.root_path + "/")
            scope = {**scope, "root_path": self.root_path}
            scope["path"] = path if inside else self.root_path + path
        sending = _with_headers(scope, send)
        problem = self._problem(scope)
        if problem is not None:
            status, text = problem
            await PlainTextResponse(text, status)(scope, receive, sending)
            return
        await self.app(scope, _limited(receive), sending)

    def _problem(self, scope: Scope) -> tuple[int, str] | None:
        """The status and text of a refusal."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.hosts is not None and urlsplit(f"//{host}").hostname not in self.hosts:
            return 400, f"This server is not called {host[:100]}."
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            return 400, "The Content-Length is no number."
        if int(length) > MAX_BODY:
            return 413, TOO_LARGE
        if scope["method"] not in ("GET", "HEAD") and is_cross_site(headers):
            return 403, "This form was sent by another site. Open the page again."
        return None


TOO_LARGE = f"The request is larger than {MAX_BODY // 1024} KB."


def is_cross_site(headers: Headers) -> bool:
    """Whether a browser states that another site made the request; programs state nothing."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return True
    return headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


def _limited(receive: Receive) -> Receive:
    """Count the bytes of a body, whose length may be unknown at its beginning."""
    received = 0

    async def limited() -> MutableMapping[str, Any]:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY:
            raise HTTPException(413, TOO_LARGE)
        return message

    return limited


def _with_headers(scope: Scope, send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            is_file = scope["path"].startswith(f"{scope.get('root_path', '')}/static/")
            headers.setdefault("Cache-Control", "max-age=3600" if is_file else "no-store")
        await send(message)

    return sending


class RateLimiter:
    """A limit of events for each key (a token bucket).

    Keys are hashed with a secret that lasts as long as the process: no address is kept.

    >>> limiter = RateLimiter(per_second=0.001, burst=2)
    >>> [limiter.allows("a") for _ in range(3)], limiter.allows("b")
    ([True, True, False], True)
    """

    MAX_KEYS = 100_000

    def __init__(self, per_second: float, burst: int) -> None:
        self.per_second = per_second
        self.burst = burst
        self._salt = secrets.token_bytes(16)
        self._buckets: dict[bytes, tuple[float, float]] = {}

    def allows(self, key: str) -> bool:
        """Count one event; False if it is one too many."""
        now = time.monotonic()
        hashed = sha256(self._salt + key.encode()).digest()[:16]
        tokens, before = self._buckets.pop(hashed, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - before) * self.per_second)
        allowed = tokens >= 1
        self._buckets[hashed] = (tokens - allowed, now)
        if len(self._buckets) > self.MAX_KEYS:
            del self._buckets[next(iter(self._buckets))]  # the one longest unused
        return allowed


def form_token(key: str, session: str) -> str:
    """The secret of the forms of one browser session, which other sites cannot know."""
    return hmac.new(key.encode(), session.encode(), sha256).hexdigest()


def same_secret(given: str, expected: str) -> bool:
    """Compare secrets in a time that tells nothing about them."""
    return hmac.compare_digest(given.encode(), expected.encode())
