"""The application of `biml play`: its page, and the same results as JSON for other programs."""

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
from biml.web.play_api import (
    EpisodeRequest,
    EpisodeResult,
    LogProbRequest,
    ModelLogProbs,
    ModelResponses,
    ModelSamples,
    PeopleResult,
    Playground,
    ReadingsRequest,
    ReadingsResult,
    RespondRequest,
    SampleRequest,
    SymbolLook,
    Task,
    load_episode,
    symbol_looks,
)
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

    @app.post("/api/respond")
    def respond(request: RespondRequest) -> list[ModelResponses]:
        """The most probable responses of each model, with their probabilities."""
        return playground.respond(request)

    @app.post("/api/sample")
    def sample(request: SampleRequest) -> list[ModelSamples]:
        """Sampled responses of each model, the same for the same seed."""
        return playground.sample(request)

    @app.post("/api/log_prob")
    def log_prob(request: LogProbRequest) -> list[ModelLogProbs]:
        """The log-probabilities of responses under each model."""
        return playground.log_prob(request)

    @app.post("/api/trace")
    def trace(request: LogProbRequest) -> list[ModelResponses]:
        """The attention of each model while it gives the first of the responses."""
        return playground.trace(request)

    @app.post("/api/readings")
    def readings(request: ReadingsRequest) -> ReadingsResult:
        """The outputs that the study examples allow under the meta-grammar."""
        return playground.readings(request)

    @app.post("/api/people")
    def people(request: Task) -> PeopleResult:
        """What people responded to this item; none if it is none of the human data."""
        return playground.people_responses(request)

    @app.post("/api/episode")
    def episode(request: EpisodeRequest) -> EpisodeResult:
        """Study examples and queries of the gold task, a random episode, or an episode file."""
        return load_episode(request)

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
