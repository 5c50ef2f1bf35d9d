"""The application of `biml play`: its page, and the same results as JSON for other programs."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse

from biml.episodes.palette import Palette
from biml.errors import BimlError
from biml.grammar.meta_grammar import COLOURS
from biml.version import __version__
from biml.vocabulary import UNDEFINED
from biml.web.pages import Pages
from biml.web.play_api import Playground, SymbolLook, load_episode, symbol_looks
from biml.web.security import App, Protection

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
"""Names by which the browser on this machine calls the server."""


def make_play_app(playground: Playground, hosts: frozenset[str] | None = LOCAL_HOSTS) -> App:
    """The application; `hosts` are the names by which it may be called, None for any."""
    app = FastAPI(
        title="biml play",
        version=__version__,
        description="What models of few-shot compositional learning respond to a query, given "
        "study examples. Nothing is saved.",
        docs_url=None,  # its page would fetch scripts from the network
        redoc_url=None,
    )
    # Work of endpoints that are no coroutines is done in threads, beside the event loop.
    palette = Palette.for_symbols([*COLOURS, UNDEFINED])
    pages = Pages(palette)
    app.router.routes.extend(pages.routes)

    @app.get("/", include_in_schema=False)
    def page(request: Request) -> HTMLResponse:
        return pages.render(
            request,
            "play.html",
            settings={
                "models": list(playground.models),
                "networks": playground.networks,
                "symbols": COLOURS,
                "looks": {s: look.model_dump() for s, look in symbol_looks([*COLOURS]).items()},
                "has_people": bool(playground.people.episodes),
            },
        )

    @app.get("/api/models")
    def models() -> list[str]:
        """Names of the models."""
        return list(playground.models)

    endpoints: dict[str, Callable[..., Any]] = {
        "respond": playground.respond,
        "sample": playground.sample,
        "log_prob": playground.log_prob,
        "trace": playground.trace,
        "readings": playground.readings,
        "people": playground.people_responses,
        "episode": load_episode,
    }
    for name, endpoint in endpoints.items():
        app.post(f"/api/{name}", name=name)(endpoint)

    @app.get("/api/symbols")
    def symbols(
        symbols: Annotated[str, Query(max_length=2000, description="with blanks between")],
    ) -> dict[str, SymbolLook]:
        """Colours and letters of symbols."""
        return symbol_looks(symbols.split()[:100])

    @app.exception_handler(BimlError)
    def failure(_: Request, error: Any) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: Any) -> JSONResponse:
        return JSONResponse({"detail": "; ".join(map(_problem, error.errors()))}, 422)

    return Protection(app, hosts=hosts)


def _problem(error: dict[str, Any]) -> str:
    """A validation error in words: `k: Input should be less than or equal to 20`."""
    if error["type"] == "json_invalid":
        return f"the body is no valid JSON: {error['ctx']['error']} (character {error['loc'][1]})"
    if error["loc"] == ("body",):
        return "send a JSON object as the body, with the header Content-Type: application/json"
    where = ".".join(str(part) for part in error["loc"] if part != "body")
    return f"{where or 'request'}: {error['msg']}"
