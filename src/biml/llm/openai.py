"""Language models on servers with the OpenAI-compatible API: vLLM, llama.cpp, hosted ones.

A template of text is completed at `/completions`, one of a chat at `/chat/completions`. The key, if
the server needs one, is in the environment variable `OPENAI_API_KEY`.
"""

import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPException
from math import inf
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, TypeVar

from biml.errors import BimlError, UsageError
from biml.facts import COUNT, NUMBER
from biml.llm.backend import Completion, Request, ScoreRequest, Scores, sum_by_piece
from biml.llm.prompts import Prompt

PREFIX = "openai:"

KEY_VARIABLE = "OPENAI_API_KEY"

WHOLE_DISTRIBUTION = {"top_k": 0, "min_p": 0, "repeat_penalty": 1, "repetition_penalty": 1}
"""Settings of llama.cpp and vLLM, whose servers by default leave out rare tokens and make repeated
ones less probable, also in the most probable answer. Hosted servers know none of them."""

DEFAULT_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds before each new attempt."""

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""HTTP statuses after which a request is sent again."""

_MAX_BYTES = 50_000_000
"""Of one reply."""

_NO_LOG_PROBS = (
    "its server gives no log-probabilities of given texts (/completions with echo and logprobs)"
)

_WRONG_LOG_PROBS = (
    "its server gives log-probabilities of given texts (/completions with echo) that are not those "
    "of the same texts as answers"
)

T = TypeVar("T")


class _RefusedError(BimlError):
    """A request that a server does not accept."""


class _RetryError(Exception):
    """A failure that may pass, with the seconds to wait if the server says so."""

    def __init__(self, problem: str, wait: float | None = None) -> None:
        super().__init__(problem)
        self.wait = wait


@dataclass(frozen=True)
class OpenAIBackend:
    """A model on a server, as a `Backend`; `n_parallel` requests run at once.

    >>> OpenAIBackend.from_name("openai:http://localhost:8000/v1#smollm2").url
    'http://localhost:8000/v1'
    """

    url: str
    served_model: str
    n_parallel: int = 8
    timeout: float = 300.0
    waits: Sequence[float] = DEFAULT_WAITS
    settings: Mapping[str, Any] = field(default_factory=lambda: WHOLE_DISTRIBUTION)
    _knows_no_settings: Event = field(default_factory=Event, repr=False)

    @classmethod
    def from_name(cls, name: str, **options: Any) -> "OpenAIBackend":
        """Read a name such as `openai:http://localhost:8000/v1#model`."""
        url, _, model = name.removeprefix(PREFIX).partition("#")
        if not (_is_address(url) and model.strip()):
            raise UsageError(
                f"{name}: name a server and its model, such as "
                "openai:http://localhost:8000/v1#model"
            )
        return cls(url.rstrip("/"), model, **options)

    @property
    def model(self) -> str:
        return f"{PREFIX}{self.url}#{self.served_model}"

    @property
    def family(self) -> str:
        return "on a server"

    def complete(self, requests: Sequence[Request], /) -> Iterator[tuple[int, Completion]]:
        return self._in_parallel(self._complete, requests)

    def score(self, requests: Sequence[ScoreRequest], /) -> Iterator[tuple[int, Scores]]:
        return self._in_parallel(self._score, requests)

    def why_no_log_probs(self, template_is_chat: bool, /) -> str:
        if template_is_chat:
            return (
                "servers give no log-probabilities of given answers in a chat; use a template of "
                "text, such as --prompt plain"
            )
        return self._why_no_echo

    def count_tokens(self, prompt: Prompt, /) -> int:
        return len(prompt.text) // 4

    @cached_property
    def _why_no_echo(self) -> str:
        """Compare the log-probability of the server's own next token with that by echo.

        Some versions of llama-cpp-python give that of another token where a text has no BOS.
        """
        shown = Prompt("dax -> RED\nwif ->")
        body = {"prompt": shown.text, "max_tokens": 1, "temperature": 0, "logprobs": 1}
        try:
            reply = self._post("completions", body)
            token, own = _choice(reply).get("text"), _part(reply, "logprobs").get("token_logprobs")
            if not (isinstance(token, str) and token and own and _is_log_prob(own[0])):
                return _NO_LOG_PROBS
            (by_echo, _) = self._score(ScoreRequest(shown, "", (token,), "")).log_probs
        except BimlError as error:
            return str(error) if _NO_LOG_PROBS in str(error) else f"{_NO_LOG_PROBS}: {error}"
        return "" if abs(by_echo - own[0]) < 0.1 else _WRONG_LOG_PROBS

    def _complete(self, request: Request) -> Completion:
        body: dict[str, Any] = {"max_tokens": request.max_tokens, "temperature": 0}
        if request.seed is not None:
            body |= {"temperature": 1, "top_p": 1, "seed": request.seed % 2**31}
        if request.stop:
            body["stop"] = [request.stop]
        started = time.perf_counter()
        if messages := request.prompt.messages:
            body["messages"] = [{"role": m.role, "content": m.text} for m in messages]
            if request.prefix:
                body["messages"].append({"role": "assistant", "content": request.prefix})
            reply = self._ask("chat/completions", body)
            text = _part(reply, "message").get("content")
        else:
            body["prompt"] = request.prompt.text + request.prefix
            reply = self._ask("completions", body)
            text = _choice(reply).get("text")
        seconds = time.perf_counter() - started
        if text is not None and not isinstance(text, str):
            raise BimlError(f"{self.model} gives no text as an answer: {json.dumps(reply)[:300]}")
        return Completion(text, *_usage(reply), seconds)

    def _score(self, request: ScoreRequest) -> Scores:
        before = request.prompt.text + request.prefix
        pieces = [*request.pieces, request.end]
        text = before + "".join(pieces)
        started = time.perf_counter()
        body = {"prompt": text, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        reply = self._post("completions", body)
        seconds = time.perf_counter() - started
        found = _part(reply, "logprobs")
        begins, values = found.get("text_offset"), found.get("token_logprobs")
        tokens = found.get("tokens")
        if not (begins and values and tokens and len(begins) == len(values) == len(tokens)):
            raise BimlError(_NO_LOG_PROBS)
        if not "".join(map(str, tokens)).strip().startswith(before.strip()[:20]):
            raise BimlError(f"{_NO_LOG_PROBS}: it does not repeat the prompt")
        spans = zip(begins, [*begins[1:], len(text) + 1], values, strict=True)
        answer = [(b, e, v) for b, e, v in spans if e > len(before) and b < len(text)]
        if not answer or not all(_is_log_prob(v) for _, _, v in answer):
            raise BimlError(_NO_LOG_PROBS)
        sums = sum_by_piece(pieces, len(before), answer)
        return Scores(sums, _usage(reply)[0], len(answer), seconds)

    def _ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Post with the settings, or without them if it is these that the server refuses."""
        if self._knows_no_settings.is_set():
            return self._post(path, body)
        try:
            return self._post(path, {**self.settings, **body})
        except _RefusedError:
            reply = self._post(path, body)
            self._knows_no_settings.set()
            return reply

    # --- HTTP

    def _in_parallel(
        self, run: Callable[[Any], T], requests: Sequence[Any]
    ) -> Iterator[tuple[int, T]]:
        """Results as they come; after a failure those of requests that are under way, too."""
        numbered = enumerate(requests)  # of which each thread takes the next
        results: SimpleQueue[tuple[int, T] | None] = SimpleQueue()
        failures: list[Exception] = []

        def work() -> None:
            try:
                for number, request in numbered:
                    results.put((number, run(request)))
            except Exception as error:
                failures.append(error)
                _exhaust(numbered)
            finally:
                results.put(None)

        n_threads = min(self.n_parallel, len(requests))
        for _ in range(n_threads):
            # A daemon, so that Ctrl-C ends the program although the server does not answer.
            Thread(target=work, daemon=True).start()
        try:
            while n_threads:
                if (result := results.get()) is None:
                    n_threads -= 1
                else:
                    yield result
        finally:
            _exhaust(numbered)
        if failures:
            raise failures[0]

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        for wait in [*self.waits, None]:
            try:
                return self._post_once(path, {"model": self.served_model, **body})
            except _RetryError as error:
                if wait is None:
                    n = len(self.waits) + 1
                    raise BimlError(f"{self.url} {error} ({n} attempts)") from None
                time.sleep(min(error.wait or wait, 60.0))
        raise AssertionError

    def _post_once(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "User-Agent": "biml"}
        if key := os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(
            f"{self.url}/{path}", json.dumps(body).encode(), headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                data = reply.read(_MAX_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                self._raise_for_status(error, path)
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise _RetryError(f"does not answer: {reason or type(error).__name__}") from None
        if not data.strip():
            raise _RetryError("gives an empty answer")
        return self._decoded(data)

    def _decoded(self, data: bytes) -> dict[str, Any]:
        if data.lstrip()[:1] == b"<":
            raise BimlError(
                f"{self.url} answers with a page (HTML), not JSON; is that the address of its API? "
                "It mostly ends in /v1"
            )
        try:
            text = json.dumps(json.loads(data), ensure_ascii=False)
            # An answer that was cut inside a character can end with half of it.
            reply = json.loads(re.sub("[\ud800-\udfff]", "\ufffd", text))
        except (ValueError, RecursionError):
            raise BimlError(
                f"{self.url} gives an answer that is not JSON: {data[:100]!r}"
            ) from None
        if not isinstance(reply, dict) or (reply.get("error") and not reply.get("choices")):
            raise BimlError(f"{self.url} answers with an error: {_message(data)}")
        if not isinstance(_choice(reply), dict) or not _choice(reply):
            raise BimlError(f"{self.url} gives no choice as an answer: {_message(data)}")
        return reply

    def _raise_for_status(self, error: urllib.error.HTTPError, path: str) -> None:
        status = error.code
        try:
            message = _message(error.read(10_000))
        except (OSError, HTTPException):
            message = ""
        if status in (401, 403):
            state = "refuses the key" if os.environ.get(KEY_VARIABLE) else "needs a key"
            raise BimlError(
                f"{self.url} {state} ({status}); set the environment variable {KEY_VARIABLE}: "
                f"{message}"
            )
        if status in _RETRIED:
            what = "is asked too often" if status == 429 else "fails"
            after = error.headers.get("Retry-After", "")
            wait = float(after) if re.fullmatch(r"\d{1,4}(\.\d+)?", after) else None
            raise _RetryError(f"{what} ({status}): {message}", wait)
        hint = ""
        if status in (404, 405, 501):
            other = "chat" if path == "completions" else "plain"
            hint = (
                f"; is the address that of its API, is {self.served_model} its model? A server "
                f"without /{path} may answer with --prompt {other}"
            )
        kind = _RefusedError if status in (400, 422) else BimlError
        raise kind(f"{self.url}/{path} refuses the question ({status}): {message}{hint}")


def _exhaust(items: Iterator[object]) -> None:
    deque(items, maxlen=0)


def _is_address(url: str) -> bool:
    """Whether an address of HTTP has a host, and a port that is a number if it has one.

    >>> _is_address("http://localhost:8000/v1"), _is_address("http://localhost:port/v1")
    (True, False)
    """
    try:
        parts = urllib.parse.urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return has_host and parts.scheme in ("http", "https") and not re.search(r"\s", url)


def _message(data: bytes) -> str:
    """What a reply says about an error, in one line."""
    text = data.decode("utf-8", "replace")
    try:
        error = json.loads(text)
        for name in ("error", "message", "detail"):
            if isinstance(error, dict) and error.get(name):
                error = error[name]
        text = error if isinstance(error, str) else json.dumps(error)
    except (ValueError, RecursionError):
        text = re.sub(r"<[^>]*>", " ", text)
    return " ".join(text.split())[:300] or "no reason given"


def _choice(reply: Mapping[str, Any]) -> dict[str, Any]:
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    return first if isinstance(first, dict) else {}


def _part(reply: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = _choice(reply).get(name)
    return part if isinstance(part, dict) else {}


def _is_log_prob(value: Any) -> bool:
    """Whether it is a finite number that is not positive, but for rounding."""
    return NUMBER.accepts(value) and -inf < value < 0.01


def _usage(reply: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens in and out; 0 for what is no number of tokens, which a log could not hold."""
    usage = reply.get("usage")
    found: dict[str, Any] = usage if isinstance(usage, dict) else {}
    names = ("prompt_tokens", "completion_tokens")
    first, second = (found[name] if COUNT.accepts(found.get(name)) else 0 for name in names)
    return first, second
