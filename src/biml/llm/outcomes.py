"""Outcomes of the questions in a log, by task, and their scores by the present rules.

>>> from biml.llm.log import RESPOND, Record
>>> about = {"key": "", "model": "m", "template": "plain", "template_hash": "", "settings": {}}
>>> about |= {"kind": RESPOND, "query": "dax", "original_query": "dax", "symbols": "RED BLUE"}
>>> about |= {"original_symbols": "BLUE RED", "max_length": 8, "prompt": "dax ->"}
>>> given = Record(**about, answer="Red!", response="", original_response="", target="RED")
>>> judged = judge(given)
>>> judged.response, judged.original_response, outcome(judged)
('RED', 'BLUE', 'right')
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from biml.evaluation.intervals import wilson_interval
from biml.llm.answers import ERROR_KINDS, parse_answer
from biml.llm.log import LOG_PROB, REASON, RESPOND, SAMPLE, Record

RIGHT, WRONG, NO_TARGET = "right", "wrong", "no target"

OUTCOMES = (RIGHT, WRONG, NO_TARGET, *ERROR_KINDS, LOG_PROB, REASON)
"""What can come of a question, in the order of tables: an answer that is no sequence of symbols has
its kind of error, whatever the target."""


def outcome(record: Record) -> str:
    """One of `OUTCOMES`."""
    if record.kind not in (RESPOND, SAMPLE):
        return record.kind
    if record.error:
        return record.error
    if record.correct is None:
        return NO_TARGET
    return RIGHT if record.correct else WRONG


def judge(record: Record) -> Record:
    """The record with its answer parsed, and compared with the target, by the present rules.

    Questions that have no answer of the model's own, such as log-probabilities, stay as they are.
    """
    if record.kind not in (RESPOND, SAMPLE):
        return record
    symbols, original = record.symbols.split(), record.original_symbols.split()
    answer = parse_answer(
        record.whole_answer,
        symbols,
        pool=None if record.pool is None else record.pool.split(),
        max_length=record.max_length,
        marker=record.marker,
    )
    names = dict(zip(symbols, original, strict=True))
    return replace(
        record,
        response=" ".join(answer.response),
        original_response=" ".join(names.get(symbol, symbol) for symbol in answer.response),
        error=answer.error,
        correct=None
        if record.target is None
        else not answer.error and answer.response == tuple(record.target.split()),
    )


@dataclass
class TaskOutcomes:
    """The outcomes of one kind of question to one model in one task."""

    model: str
    template: str
    template_hash: str
    task: str
    kind: str
    counts: Counter[str] = field(default_factory=Counter)
    n_right: int = 0
    n_judged: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    n_cached: int = 0

    @property
    def model_and_prompt(self) -> str:
        """For readers: the model, the name of its prompt's template, and the template's hash."""
        return f"{self.model}, prompt {self.template} {self.template_hash}"

    @property
    def n_questions(self) -> int:
        return self.counts.total()

    @property
    def n_answers(self) -> int:
        """Of the model's own, which can be no sequence of symbols."""
        return self.n_questions if self.kind in (RESPOND, SAMPLE) else 0

    @property
    def n_invalid(self) -> int:
        """Answers that are no sequence of symbols that the item allows."""
        return sum(self.counts[name] for name in ERROR_KINDS)

    @property
    def right(self) -> tuple[float, float, float]:
        """Percent of right answers, of those with a target, with Wilson's 95% interval."""
        return _percent(self.n_right, self.n_judged)

    @property
    def invalid(self) -> tuple[float, float, float]:
        """Percent of answers that are no sequence of symbols, with Wilson's 95% interval."""
        return _percent(self.n_invalid, self.n_answers)


def _percent(count: int, n: int) -> tuple[float, float, float]:
    """A percentage and the ends of its interval; NaN of nothing."""
    share = count / n if n else float("nan")
    return 100 * share, *wilson_interval(share, n)


def summarize(records: Iterable[Record]) -> list[TaskOutcomes]:
    """The outcomes by model, template, task and kind of question, in order of first occurrence."""
    found: dict[tuple[str, ...], TaskOutcomes] = {}
    for one in records:
        key = (one.model, one.template, one.template_hash, one.task, one.kind)
        row = found.setdefault(key, TaskOutcomes(*key))
        row.counts[outcome(one)] += 1
        if row.n_answers and one.correct is not None:
            row.n_judged += 1
            row.n_right += one.correct
        if one.cached:
            row.n_cached += 1
        else:
            row.tokens_in += one.tokens_in
            row.tokens_out += one.tokens_out
            row.seconds += one.seconds
    return list(found.values())


@dataclass(frozen=True)
class Rescored:
    """A log with all answers judged anew, and the records that changed, before and after."""

    records: tuple[Record, ...]
    changed: tuple[tuple[int, Record, Record], ...]
    """With their positions in the log, from 1."""
    before: tuple[TaskOutcomes, ...]
    after: tuple[TaskOutcomes, ...]

    @property
    def transitions(self) -> Counter[tuple[str, str]]:
        """How many records went from one outcome to another, or kept it with another response."""
        return Counter((outcome(old), outcome(new)) for _, old, new in self.changed)


def rescore(records: Sequence[Record]) -> Rescored:
    """Judge all answers of a log anew, without a question to the model."""
    new = tuple(map(judge, records))
    pairs = enumerate(zip(records, new, strict=True), 1)
    changed = tuple((number, old, now) for number, (old, now) in pairs if old != now)
    return Rescored(new, changed, tuple(summarize(records)), tuple(summarize(new)))
