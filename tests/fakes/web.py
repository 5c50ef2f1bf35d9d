"""A server of pages in a thread of the test's process, and a participant who answers there."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from biml.experiment.screens import Screen
from biml.experiment.session import Session
from biml.experiment.store import Store
from biml.web.security import App
from biml.web.server import listen


@contextmanager
def serving(app: App) -> Iterator[str]:
    """Serve an application; its address, without a slash at the end."""
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    listening = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()


def session_of(store: Store, index: int = -1) -> Session:
    """The session of a participant after the answers in the store, the newest by default."""
    assert store.design is not None
    person = store.participants()[index]
    answers = [answer.payload for answer in store.answers(person)]
    return Session.replay(store.design, person.seed, person.condition, answers)


def form_of(screen: Screen, payload: dict[str, Any]) -> dict[str, str]:
    """The fields of a form in which a browser sends an answer."""
    fields = {"screen": str(screen.number)}
    if payload.get("consent"):
        fields["consent"] = "yes"
    if "response" in payload:
        fields["response"] = " ".join(payload["response"])
    for number, response in enumerate(payload.get("responses", ())):
        fields[f"response.{number}"] = " ".join(response)
    for name, value in payload.get("answers", {}).items():
        fields[f"answer.{name}"] = str(value)
    return fields


def wait_until(condition: Any, seconds: float = 60) -> Any:
    """Call a condition until it is true; its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it has not become true"
        time.sleep(0.02)
    return value
