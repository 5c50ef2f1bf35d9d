"""A language model without weights, and a server that has it."""

import json
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from biml.errors import BimlError
from biml.llm.backend import Completion, Request, ScoreRequest, Scores
from biml.llm.prompts import Prompt

Reply = tuple[int, Any, dict[str, str]]
"""Status, body (JSON, or bytes as they are) and headers."""


def shown_pairs(text: str) -> tuple[dict[str, str], str]:
    """The study examples and the query that a prompt of our templates shows."""
    pairs = dict(re.findall(r"^(.*\S) -> (\S.*)$", text, re.MULTILINE))
    queries = re.findall(r"^(?:Translate: (.*)|(.*) ->)$", text, re.MULTILINE)
    return pairs, "".join(queries[-1]) if queries else ""


def word_by_word(text: str, seed: int | None) -> str:
    """Each word as a study example translates it alone, or else the first symbol."""
    pairs, query = shown_pairs(text)
    first = re.search(r"symbols:? (\w+)", text)
    answer = [pairs.get(word, first[1] if first else "RED") for word in query.split()]
    return " ".join(answer if seed is None else [*answer, *answer[: seed % 2]])


@dataclass
class FakeBackend:
    """Answers by a function of prompt and seed; gives every letter of an answer the same chance."""

    answer: Callable[[str, int | None], str | None] = word_by_word
    model: str = "fake"
    family: str = "fakes"
    settings: Mapping[str, Any] = field(default_factory=dict)
    asked: list[Any] = field(default_factory=list)
    fails_after: int | None = None
    no_log_probs: str = ""

    def complete(self, requests: Sequence[Request], /) -> Iterator[tuple[int, Completion]]:
        for number, request in enumerate(requests):
            self._ask(request)
            text = self.answer(request.prompt.text, request.seed)
            yield number, Completion(text, len(request.prompt.text), len(text or ""), 0.5)

    def score(self, requests: Sequence[ScoreRequest], /) -> Iterator[tuple[int, Scores]]:
        for number, request in reversed(list(enumerate(requests))):
            self._ask(request)
            values = [len(piece.strip() or ".") * math.log(0.5) for piece in request.pieces]
            yield number, Scores((*values, math.log(0.5)), len(request.prompt.text), 0, 0.5)

    def why_no_log_probs(self, template_is_chat: bool, /) -> str:
        return self.no_log_probs

    def count_tokens(self, prompt: Prompt, /) -> int:
        return len(prompt.text)

    def _ask(self, request: Request | ScoreRequest) -> None:
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            raise BimlError("the model fails")
        self.asked.append(request)


def completion(path: str, body: dict[str, Any]) -> Reply:
    """Answer as a server with the OpenAI-compatible API does, word by word; a token a word."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    if path.endswith("/chat/completions"):
        text = "\n".join(message["content"] for message in body["messages"])
        message = {"role": "assistant", "content": word_by_word(text, None)}
        return 200, {"choices": [{"message": message}], "usage": usage}, {}
    if not body.get("echo"):
        text = " " + word_by_word(body["prompt"], body.get("seed"))
        choice: dict[str, Any] = {"text": text}
        if "logprobs" in body:
            choice["logprobs"] = {"token_logprobs": [-0.25 * len(text.strip())]}
        return 200, {"choices": [choice], "usage": usage}, {}
    tokens = [*re.findall(r" ?[^\s]+|\s", body["prompt"]), " more"]
    offsets = [sum(map(len, tokens[:n])) for n in range(len(tokens))]
    values = [None, *(-0.25 * len(token.strip()) for token in tokens[1:])]
    found = {"tokens": tokens, "text_offset": offsets, "token_logprobs": values}
    choice = {"text": "".join(tokens), "logprobs": found}
    return 200, {"choices": [choice], "usage": usage}, {}


@dataclass
class FakeServer:
    """What the server got, and how it answers from now on."""

    url: str = ""
    requests: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    reply: Callable[[str, dict[str, Any]], Reply] = completion

    @property
    def name(self) -> str:
        """The name of its model."""
        return f"openai:{self.url}#tiny"


@contextmanager
def fake_server() -> Iterator[FakeServer]:
    """Serve in a thread."""
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.requests.append((self.path, body, self.headers.get("Authorization", "")))
            status, answer, headers = fake.reply(self.path, body)
            if status == 0:  # the connection breaks
                self.close_connection = True
                return
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
