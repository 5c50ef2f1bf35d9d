"""Screens of a session, and the answers that each kind of screen allows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from biml.episodes.episode import Remapping
from biml.errors import BimlError
from biml.experiment.design_types import Question

Kind = Literal[
    "information",
    "practice",
    "quiz",
    "study",
    "feedback",
    "test",
    "sheet",
    "questions",
    "debriefing",
    "end",
]

MAX_RESPONSE = 24
"""Symbols of the longest response; the longest published one has 14."""

MAX_TEXT = 5_000
"""Letters of the longest answer to a question."""


class AnswerError(BimlError):
    """An answer that the screen does not allow; the session is unchanged."""


@dataclass(frozen=True)
class StudyItem:
    """A study example on the screen; the symbols of a covered one are not shown."""

    words: str
    symbols: tuple[str, ...]
    covered: bool = False


@dataclass(frozen=True)
class Outcome:
    """The score of an answer.

    Attributes:
        correct: None where there is no right answer.
        expected: the right answer, where the design shows it.
    """

    correct: bool | None = None
    expected: tuple[str, ...] | None = None
    message: str = ""


@dataclass(frozen=True)
class Screen:
    """What a participant sees, and after `code` what only the records have.

    Attributes:
        number: of answers before it.
        text: paragraphs, separated by blank lines.
        consent: the sentence to agree to, on an information screen that has one.
        query: the phrase whose symbols are the answer.
        queries: those of a sheet.
        pool: the symbols to answer with.
        feedback: the outcome of the answer before, where it is shown.
        progress: of steps done and all steps.
        code: a completion code, or the address to go to.
        catch: whether it is a catch trial.
        item: the canonical query, or the name of a probe.
        target: the right response, where there is one.
        cycle: of the study items, from 1.
        remapping: canonical words and symbols to those on the screen.
    """

    kind: Kind
    stage: str = ""
    title: str = ""
    text: str = ""
    number: int = 0
    consent: str | None = None
    study: tuple[StudyItem, ...] = ()
    query: str | None = None
    queries: tuple[str, ...] = ()
    pool: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    feedback: Outcome | None = None
    progress: tuple[int, int] = (0, 1)
    code: str | None = None
    catch: bool = False
    item: str | None = None
    target: tuple[str, ...] | None = None
    cycle: int | None = None
    remapping: Remapping = field(default=Remapping({}, {}), repr=False)

    @property
    def answer_key(self) -> str:
        """The key of its answer; empty where there is nothing to answer."""
        return "" if self.kind == "information" and self.consent is None else _KEYS[self.kind]


_KEYS: dict[Kind, str] = {
    "information": "consent",
    **dict.fromkeys(("practice", "study", "test"), "response"),
    **dict.fromkeys(("quiz", "questions"), "answers"),
    "sheet": "responses",
    **dict.fromkeys(("feedback", "debriefing", "end"), ""),
}
"""The key of the answer to each kind of screen."""


def check_answer(screen: Screen, payload: Mapping[str, Any]) -> None:
    """Raise an AnswerError unless a payload answers a screen."""
    if not isinstance(payload, Mapping):
        raise AnswerError("an answer must be an object with keys")
    if screen.kind == "end":
        raise AnswerError("the session has ended; there is nothing to answer")
    key = screen.answer_key
    if screen.kind == "information" and not key:
        payload = {k: v for k, v in payload.items() if k != "consent"}
    if set(payload) != ({key} if key else set()):
        expected = f"the key {key!r} alone" if key else "no key"
        raise AnswerError(f"the answer to this screen has {expected}")
    value = payload[key] if key else None
    if key == "consent" and not isinstance(value, bool):
        raise AnswerError("consent must be true or false")
    if key == "response":
        _check_response(value, screen.pool)
    elif key == "responses":
        if not isinstance(value, list) or len(value) != len(screen.queries):
            raise AnswerError(f"there must be {len(screen.queries)} responses")
        for response in value:
            _check_response(response, screen.pool)
    elif key == "answers":
        _check_answers(value, screen.questions)


def _check_response(response: Any, pool: Sequence[str]) -> None:
    if not isinstance(response, list) or not all(isinstance(symbol, str) for symbol in response):
        raise AnswerError("a response must be a list of symbols")
    if not response:
        raise AnswerError("The row of circles is empty. Please add at least one.")
    if len(response) > MAX_RESPONSE:
        raise AnswerError(f"The row of circles is too long; at most {MAX_RESPONSE} are possible.")
    if not set(response).issubset(pool):
        raise AnswerError("a response has a symbol that is not in the pool")


def _check_answers(answers: Any, questions: Sequence[Question]) -> None:
    known = {question.name: question for question in questions}
    if not isinstance(answers, Mapping) or not set(answers) <= set(known):
        raise AnswerError("answers must be an object with the names of the questions")
    for name, question in known.items():
        value = answers.get(name)
        if value is None or value == "":
            if question.required:
                raise AnswerError(f"Please answer: {question.text}")
        elif question.kind == "choice":
            if value not in question.choices:
                raise AnswerError(f"Please choose one of the answers: {question.text}")
        elif question.kind == "number":
            if not _is_number(value):
                raise AnswerError(f"Please answer with a number: {question.text}")
        elif not isinstance(value, str) or len(value) > MAX_TEXT:
            raise AnswerError(f"Please answer with at most {MAX_TEXT:,} letters: {question.text}")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return len(str(value)) <= 40 and math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False
