"""The design of an experiment: what participants see, how many they are, and who is excluded.

Words and symbols of a design are canonical names; each participant sees other words and colours in
their place (see `session`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from biml.episodes.episode import Example
from biml.errors import unknown_name
from biml.facts import COUNT, FLAG, TEXT, Kind
from biml.grammar import Grammar

FEW_SHOT, OPEN_ENDED, PROBES = "few-shot", "open-ended", "probes"

TASKS = (FEW_SHOT, OPEN_ENDED, PROBES)

SIMULATED = "simulated"
"""The parameter of a simulated participant, whose value is the name of the model."""

TEXTS = Kind(
    "a list of texts", lambda value: isinstance(value, list) and all(map(TEXT.accepts, value))
)
NATURAL = Kind("a whole number, at least 1", lambda value: COUNT.accepts(value) and value > 0)

Keys = Mapping[str, Kind]

KEYS: dict[str, Kind] = {
    **dict.fromkeys(("name!", "task!", "title", "contact", "information!", "consent!"), TEXT),
    **dict.fromkeys(("instructions!", "debriefing!"), TEXT),
    **dict.fromkeys(("words", "colours", "parameters", "practice"), TEXTS),
    **dict.fromkeys(("participants", "quiz_attempts", "missed_catch_trials"), NATURAL),
}
"""Keys of every design; those with "!" are required."""

TASK_KEYS: dict[str, dict[str, Kind]] = {
    FEW_SHOT: {"grammar!": TEXT, "study!": TEXTS, "study_cycles": NATURAL},
    OPEN_ENDED: {"queries!": TEXTS},
    PROBES: {},
}

TABLES: dict[str, dict[str, Kind]] = {
    "codes": dict.fromkeys(("finished", "failed_quiz", "missed_catch_trials"), TEXT),
    "quiz": {"name!": TEXT, "text!": TEXT, "choices!": TEXTS, "answer!": TEXT},
    "questions": {
        **dict.fromkeys(("name!", "text!"), TEXT),
        **{"kind": TEXT, "choices": TEXTS, "required": FLAG, "exclude": TEXT},
    },
    "conditions": {"name!": TEXT, "quota": NATURAL, "include": TEXTS},
    "stages": {"name!": TEXT, "study": TEXTS, "test!": TEXTS, "catch": TEXTS, "shuffled": FLAG},
    "trials": {"name!": TEXT, "study!": TEXTS, "query!": TEXT, "pool!": TEXTS},
}
"""Keys of the tables `[codes]`, `[[quiz]]` and so on."""

TASK_TABLES = {FEW_SHOT: "stages", PROBES: "trials"}
"""The tables that only designs of a task have, and must have."""

QUESTION_KINDS = ("choice", "text", "number")


@dataclass(frozen=True)
class Question:
    """A question that is answered by a choice, a text or a number."""

    name: str
    text: str
    kind: str = "choice"
    choices: tuple[str, ...] = ()
    required: bool = True


@dataclass(frozen=True)
class Stage:
    """Study examples that are on the screen together, and the queries that follow them.

    A stage of a few-shot design, or a trial of a probe design.

    Attributes:
        test: queries with their correct responses (none in a probe) and items.
        catch: study examples that are queried too; a wrong response is a missed catch trial.
        shuffled: whether the stage is in random order with the other such stages.
        pool: the symbols that a response may use; all colours if None.
    """

    name: str
    study: tuple[Example, ...]
    test: tuple[Example, ...]
    catch: tuple[Example, ...] = ()
    shuffled: bool = True
    pool: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Condition:
    """A group of participants.

    Attributes:
        quota: the most participants; None for no limit.
        include: names of the stages, trials or queries of its participants; empty for all.
    """

    name: str
    quota: int | None = None
    include: tuple[str, ...] = ()


@dataclass(frozen=True)
class Codes:
    """Completion codes, or addresses that the participant is sent to."""

    finished: str = ""
    failed_quiz: str = ""
    missed_catch_trials: str = ""


@dataclass(frozen=True)
class Design:
    """What participants see, how many they are, and who of them is excluded.

    Attributes:
        digest: SHA-256 of the file, in hexadecimal digits.
        words, colours: those that participants see.
        stages: of a few-shot or probe design.
        queries: of an open-ended design.
        study: all study examples of a few-shot design.
        practice: rows of colours to copy.
        quiz_answers: the right answer to each question of the quiz.
        quiz_attempts: after so many the quiz has failed; None to repeat it until passed.
        study_cycles: the most passes through the covered study examples of a stage.
        missed_catch_trials: who misses so many is excluded.
        excluding_answers: answers to questions that exclude, by the question's name.
        participants: how many are let in; None for no limit.
        parameters: names in the address whose values are kept.
        contact: whom participants can tell that something does not work.
    """

    name: str
    task: str
    title: str
    source: str
    digest: str
    text: str = field(repr=False)
    words: tuple[str, ...]
    colours: tuple[str, ...]
    information: str
    consent: str
    instructions: str
    debriefing: str
    codes: Codes = Codes()
    grammar: Grammar | None = field(default=None, repr=False)
    study: tuple[Example, ...] = ()
    stages: tuple[Stage, ...] = ()
    queries: tuple[tuple[str, ...], ...] = ()
    practice: tuple[tuple[str, ...], ...] = ()
    quiz: tuple[Question, ...] = ()
    quiz_answers: Mapping[str, str] = field(default_factory=dict)
    quiz_attempts: int | None = None
    study_cycles: int = 3
    missed_catch_trials: int | None = None
    questions: tuple[Question, ...] = ()
    excluding_answers: Mapping[str, str] = field(default_factory=dict)
    participants: int | None = None
    conditions: tuple[Condition, ...] = ()
    parameters: tuple[str, ...] = ()
    contact: str = ""

    def of_condition(self, name: str | None) -> "Design":
        """The design with what participants of a condition see; a UsageError if there is none."""
        includes = {condition.name: condition.include for condition in self.conditions}
        if name is not None and name not in includes:
            raise unknown_name("condition", name, includes)
        include = includes[name] if name is not None else ()
        if not include:
            return self
        by_name = {stage.name: stage for stage in self.stages}
        by_query = {" ".join(query): query for query in self.queries}
        stages = tuple(by_name[name] for name in include if name in by_name)
        queries = tuple(by_query[name] for name in include if name in by_query)
        return replace(self, stages=stages, queries=queries)

    @property
    def places(self) -> int | None:
        """How many participants are let in; None for no limit."""
        quotas = [condition.quota for condition in self.conditions]
        if self.participants is None and quotas and None not in quotas:
            return sum(quota or 0 for quota in quotas)
        return self.participants

    @property
    def symbols(self) -> tuple[str, ...]:
        """The canonical symbols, in order of mention; of an open-ended design its colours."""
        if self.task == OPEN_ENDED:
            return self.colours
        named = [s for example in self.study for s in example.output]
        for stage in self.stages:
            named += stage.pool or ()
            named += [s for e in (*stage.study, *stage.test) for s in e.output]
        return tuple(dict.fromkeys(named))
