"""A server of pages in a thread of the test's process, and the session of a participant there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

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
