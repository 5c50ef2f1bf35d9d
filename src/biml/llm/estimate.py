"""Estimates of the cost of questions to a language model."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from biml.llm.backend import Backend, Completion, Request, ScoreRequest, Scores
from biml.llm.log import LOG_PROB, RESPOND, SAMPLE
from biml.llm.responder import LanguageModel
from biml.progress import no_progress

_N_COUNTED = 20
"""Prompts of one kind whose tokens are counted."""


@dataclass
class DryBackend:
    """Notes questions by kind, and gives each the same answer."""

    backend: Backend
    answer: str
    questions: dict[str, list[Request | ScoreRequest]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def complete(self, requests: Sequence[Request], /) -> Iterator[tuple[int, Completion]]:
        for number, request in enumerate(requests):
            kind = RESPOND if request.seed is None else SAMPLE
            self.questions.setdefault(kind, []).append(request)
            yield number, Completion(self.answer)

    def score(self, requests: Sequence[ScoreRequest], /) -> Iterator[tuple[int, Scores]]:
        for number, request in enumerate(requests):
            self.questions.setdefault(LOG_PROB, []).append(request)
            yield number, Scores((0.0,) * (len(request.pieces) + 1))


def estimate(model: LanguageModel, run: Callable[[LanguageModel], object]) -> str:
    """How many questions a computation puts to a model, their tokens and the time, in a sentence.

    Questions whose answers are in the log do not count. The time is that of earlier questions of
    the same kind or, without any, of one that is put now.

    Args:
        run: the computation, which is carried out with a model that always gives the same answer.
    """
    # A response, which is part of the following prompts where queries are put in turn.
    dry = DryBackend(model.backend, f"{model.template.marker} {model.symbols[0]}")
    run(replace(model, backend=dry, log=model.log.in_memory(), progress=no_progress))
    if not dry.questions:
        return "No questions: all answers are in the log"
    n_questions, tokens, seconds = 0, 0.0, 0.0
    for kind, requests in dry.questions.items():
        counted = [model.backend.count_tokens(one.prompt) for one in requests[:_N_COUNTED]]
        n_questions += len(requests)
        tokens += len(requests) * sum(counted) / len(counted)
        seconds += len(requests) * _seconds(model, kind, requests[0])
    about = duration(seconds)
    return f"{n_questions:,} questions, {tokens:,.0f} tokens of prompts, about {about}"


def _seconds(model: LanguageModel, kind: str, request: Any) -> float:
    """The time that a question of one kind takes; a server may take less for several at once."""
    known = model.log.seconds(kind)
    if known is not None:
        return known / getattr(model.backend, "n_parallel", 1)
    started = time.perf_counter()
    ask: Any = model.backend.score if kind == LOG_PROB else model.backend.complete
    list(ask([request]))
    return time.perf_counter() - started


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(0.2), duration(100), duration(10_000)
    ('1 s', '2 min', '2.8 h')
    """
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
