"""Forms of the screens of an experiment: what a template shows, and what a browser sends back."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from biml.experiment.design import Design
from biml.experiment.screens import MAX_RESPONSE, Screen
from biml.experiment.session import Session
from biml.experiment.store import Timing

MAX_FIELDS = 500
MAX_MEASURE = 2**31 - 1

Form = Mapping[str, str]


def client_address(request: Request) -> str:
    """The address of a client, for limits of rate; it is not kept."""
    return request.client.host if request.client else ""


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; empty where the body is none."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        return {}
    return dict(pairs)


def with_form(page: Callable[[Request, Form], Response]) -> Callable[..., Awaitable[Response]]:
    """An endpoint that reads a form; the page is made in a thread, as by all other endpoints."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(page, request, await read_form(request))

    return endpoint


def screen_values(design: Design, session: Session) -> dict[str, Any]:
    """What the template of a screen needs."""
    history = session.history
    before = history[-1].payload.get("response") if history else None
    return {
        "design": design,
        "screen": session.screen,
        "given_response": before if session.screen.kind == "feedback" else None,
        "max_response": MAX_RESPONSE,
        "fault": fault_text(design),
    }


def fault_text(design: Design) -> str:
    """What participants read when the server fails."""
    whom = f"the researchers ({design.contact})" if design.contact else "the researchers"
    return f"The server of this study has a fault. Please tell {whom}."


def payload_of(screen: Screen, form: Form) -> dict[str, Any]:
    """The answer in a form, which `Session.answer` checks."""
    match screen.answer_key:
        case "consent":
            return {"consent": form.get("consent") == "yes"}
        case "response":
            return {"response": form.get("response", "").split()}
        case "responses":
            fields = [f"response.{number}" for number in range(len(screen.queries))]
            return {"responses": [form.get(field, "").split() for field in fields]}
        case "answers":
            names = [question.name for question in screen.questions]
            values = {name: form.get(f"answer.{name}", "").strip() for name in names}
            return {"answers": {name: value for name, value in values.items() if value}}
    return {}


def timing_of(form: Form) -> Timing:
    """What the browser measured, which is only as trustworthy as the browser."""

    def measure(name: str) -> int | None:
        text = form.get(name, "")
        if not (text.isascii() and text.isdigit()):
            return None
        return min(int(text[:12]), MAX_MEASURE)

    return Timing(measure("rt_ms"), measure("changes"), measure("focus_lost"))
