"""The records of an experiment: its participants with their sessions, and who is excluded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from biml.episodes.episode import SIMULATED_PREFIX
from biml.errors import BimlError, FormatError
from biml.experiment.design import DesignFile
from biml.experiment.design_types import SIMULATED, Design
from biml.experiment.screens import AnswerError, Screen
from biml.experiment.session import FINISHED, MISSED_CATCH, Session
from biml.experiment.store import WITHDRAWN, Answer, Participant, Store, seed_of


@dataclass(frozen=True)
class Record:
    """A participant's answers with the screens that they were given to.

    Attributes:
        answers: as the store has them, one per step of the session.
    """

    participant: Participant
    session: Session
    answers: Sequence[Answer]

    @property
    def simulated(self) -> str:
        """The model whose responses these are; empty for a person."""
        return self.participant.parameters.get(SIMULATED, "")

    @property
    def id(self) -> str:
        return f"{SIMULATED_PREFIX if self.simulated else ''}{self.participant.id}"

    @property
    def exclusion(self) -> str:
        """Why the participant is left out of analyses (paper, Methods); empty if not."""
        if self.session.status not in (FINISHED, MISSED_CATCH):
            return "not finished" if self.session.status == "running" else self.session.status
        excluding = self.session.design.excluding_answers
        given = [name for name, answer in excluding.items() if self.replies.get(name) == answer]
        reasons = [MISSED_CATCH] if self.session.status == MISSED_CATCH else []
        return "; ".join([*reasons, *given])

    @property
    def replies(self) -> dict[str, Any]:
        """The answers to the questions at the end."""
        steps = [step for step in self.session.history if step.screen.kind == "questions"]
        return {name: v for step in steps for name, v in step.payload["answers"].items()}


def read_records(store: Store) -> tuple[Design, list[Record]]:
    """The design of a store and the records of all who have not withdrawn.

    Raises:
        FormatError: an answer does not fit its screen, as another version of biml showed it.
    """
    text, name = store.facts["design_text"], store.facts["experiment"]
    design = DesignFile(Path(f"{name}.toml"), text).design()
    records = []
    for participant in store.participants():
        if participant.status != WITHDRAWN:
            if participant.seed != seed_of(design, participant.number):
                problem = "its seed is not that of its number; the database is damaged"
                raise FormatError(problem, source=f"{store.name}: participant {participant.id}")
            answers = store.answers(participant)
            payloads = [answer.payload for answer in answers]
            try:
                session = Session.replay(design, participant.seed, participant.condition, payloads)
            except AnswerError as error:
                raise FormatError(
                    f"the answers of participant {participant.id} do not fit the screens of this "
                    f"version of biml ({error}); export them with biml {participant.biml_version}",
                    source=store.name,
                ) from None
            records.append(Record(participant, session, answers))
    return design, records


@dataclass(frozen=True)
class Response:
    """A response to a query, in the names of the design and in those on the screen."""

    item: str
    query: tuple[str, ...]
    response: tuple[str, ...]
    target: tuple[str, ...]
    query_shown: str
    response_shown: tuple[str, ...]


def responses_of(screen: Screen, payload: Mapping[str, Any]) -> list[Response]:
    """The responses of a study trial, a test trial or a sheet; none for other screens."""
    pairs: list[tuple[str, list[str]]] = []
    if screen.kind in ("study", "test"):
        pairs = [(screen.query or "", payload["response"])]
    elif screen.kind == "sheet":
        pairs = list(zip(screen.queries, payload["responses"], strict=True))
    found = []
    for shown, response in pairs:
        query = Session.canonical(screen, shown.split())
        found.append(
            Response(
                screen.item or " ".join(query),
                query,
                Session.canonical(screen, response),
                Session.canonical(screen, screen.target or ()),
                shown,
                tuple(response),
            )
        )
    return found


def utc(seconds: float) -> str:
    """A time in seconds since 1970 as ISO 8601."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        raise BimlError(f"{seconds:g} is not a time; the database is damaged") from None
