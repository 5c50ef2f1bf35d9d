"""What questions to a language model will cost, before they are put to it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from biml.episodes.episode import Episode
from biml.llm.log import LOG_PROB, SAMPLE
from biml.llm.responder import LanguageModel

_N_COUNTED = 20
"""Prompts whose tokens are counted."""

Work = tuple[str, Sequence[Episode], int]
"""A kind of question (`log.KINDS`), the episodes with its queries, and how many times."""


def estimate(model: LanguageModel, works: Iterable[Work]) -> str:
    """How many questions are to be put, their tokens and the time, in a sentence.

    Questions whose answers are known do not count. The time is that of earlier questions of the
    same kind in the log or, without any, of one question that is put now.
    """
    n_questions = n_known = 0
    tokens = seconds = 0.0
    for kind, episodes, times in works:
        new, known = model.unanswered(kind, episodes)
        n_known += known
        if not new:
            continue
        n_questions += len(new) * times
        counted = [model.backend.count_tokens(question.prompt) for question in new[:_N_COUNTED]]
        per_question = sum(counted) / len(counted)
        tokens += per_question * len(new) * times
        seconds += _seconds_of_one(model, kind, new[0].episode) * len(new) * times
    known_text = f"; {n_known:,} answers are known" if n_known else ""
    if not n_questions:
        return f"No questions{known_text}"
    parallel = getattr(model.backend, "n_parallel", 1)
    return (
        f"At most {n_questions:,} questions, {tokens:,.0f} tokens of prompts, about "
        f"{duration(seconds / parallel)}{known_text}"
    )


def _seconds_of_one(model: LanguageModel, kind: str, episode: Episode) -> float:
    found = model.log.seconds(kind)
    if found is None:
        one = replace(episode, queries=episode.queries[:1])
        if kind == LOG_PROB:
            model.log_prob([one])
        elif kind == SAMPLE:
            model.sample([one], seed=0)
        else:
            model.respond([one])
        found = model.log.seconds(kind)
    return found or 0.0


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(0.2), duration(100), duration(10_000)
    ('1 s', '2 min', '2.8 h')
    """
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
