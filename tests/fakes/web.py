"""A server of pages in a thread of the test's process, and its participants."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.testclient import TestClient

from biml.experiment.session import Session
from biml.experiment.store import Store
from biml.web.experiment_app import make_app
from biml.web.researcher import right_answer
from biml.web.security import App
from biml.web.server import listen
from experiment_load import form_of


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


class Person:
    """A participant with a browser of their own."""

    def __init__(self, store: Store, **app: Any) -> None:
        assert store.design is not None
        self.store, self.design, self.root = store, store.design, app.get("root_path", "")
        base = app.pop("base", "http://testserver")
        self.browser = TestClient(make_app(self.design, store, **app), base, follow_redirects=False)

    def get(self, path: str = "/") -> Any:
        return self.browser.get(self.root + path)

    def post(self, path: str, data: dict[str, str], **headers: str) -> Any:
        return self.browser.post(self.root + path, data=data, headers=headers)

    def start(self, **parameters: str) -> Any:
        return self.post("/start", parameters)

    @property
    def token(self) -> str:
        found = re.search(r'name="form_token" value="(\w+)"', self.get().text)
        assert found is not None
        return found[1]

    def answer(self, payload: dict[str, Any] | None = None, **fields: str) -> Any:
        """Send an answer to the present screen, by default a possible one."""
        screen = session_of(self.store).screen
        form = form_of(screen, right_answer(self.design, screen) if payload is None else payload)
        return self.post("/answer", {"form_token": self.token, **form, **fields})

    def log_in(self) -> Any:
        """Become the researcher."""
        return self.get(f"/researcher?token={self.store.facts['researcher_token']}")

    def answer_until(self, kind: str) -> None:
        while session_of(self.store).screen.kind != kind:
            assert self.answer().status_code == 303
