"""The log of all questions to a language model and its answers, which is their cache as well.

A log is a file of JSON lines, one `Record` a line. Questions are found by their key, a digest of
model, prompt and settings, so that a run that was killed goes on where it was and a second one asks
nothing again. The same question in another context, such as another task, is one more record
without a cost.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, get_type_hints

from biml.arguments import check_type
from biml.errors import BimlError, FormatError, UsageError, merge_errors
from biml.io import parse_json, read_bytes
from biml.llm.answers import ERROR_KINDS

RESPOND, SAMPLE, LOG_PROB, REASON = "respond", "sample", "log_prob", "reason"

KINDS = {
    RESPOND: "the best answer",
    SAMPLE: "a sampled answer",
    LOG_PROB: "the log-probability of a given answer",
    REASON: "the reasoning before a given answer",
}
"""Kinds of questions."""

LOG_SUFFIX = ".jsonl"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One question to a language model with its answer.

    Words and symbols are separated by spaces, and examples as in `p1 -> c1 | p2 -> c2`; they are
    remapped as the model got them, unless a name begins with `original_`.
    """

    key: str  #: of the question: see `question_key`
    model: str  #: with its revision or the digest of its file, such as `hf:name@main`
    template: str  #: the name of the prompt's template
    template_hash: str
    settings: dict[str, Any]  #: what else the answer depends on, such as `max_tokens`
    kind: str  #: a key of `KINDS`
    task: str = ""  #: the episode type; empty where unknown
    episode: str = ""  #: its name, such as that of its file
    item: str = ""
    sample: int = 0  #: among those with the same prompt
    study: str = ""
    query: str
    original_study: str = ""
    original_query: str
    symbols: str  #: all output symbols of the episode
    original_symbols: str  #: in the same order
    pool: str | None = None  #: the symbols that a response may use; None for all
    max_length: int  #: of a response, in symbols
    marker: str = ""  #: after which the answer stands, where the model reasons first
    prompt: str  #: as text; messages of a chat each begin with a line `--- role`
    prefix: str = ""  #: the beginning of the answer that was given to the model (after a lapse)
    answer: str | None  #: as the model gave it (None: no text), or whose log-probability is asked
    response: str  #: the answer parsed
    original_response: str
    target: str | None = None  #: the right response, where there is one
    original_target: str | None = None
    correct: bool | None = None
    error: str = ""  #: a key of `answers.ERROR_KINDS`; empty for a sequence of symbols
    log_probs: list[float] | None = None  #: of each symbol and the end
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    cached: bool = False  #: the answer is that to the same question in another context

    @property
    def whole_answer(self) -> str | None:
        """The answer with its beginning, as `answers.parse_answer` reads it."""
        if self.prefix and self.answer is not None:
            return f"{self.prefix} {self.answer}"
        return self.answer

    @property
    def context(self) -> tuple[object, ...]:
        """What identifies a record beside its key."""
        names = ("key", "task", "episode", "item", "sample", "target")
        return tuple(getattr(self, name) for name in names)


_TYPES = get_type_hints(Record)
_REQUIRED = {one.name for one in fields(Record) if one.default is MISSING}


def question_key(
    model: str, prompt: str, settings: Mapping[str, Any], kind: str, *more: str | int
) -> str:
    """The digest of everything that an answer depends on; `more` is such as a sample's number."""
    parts = [model, prompt, dict(sorted(settings.items())), kind, *more]
    return blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def read_log(path: Path) -> list[Record]:
    """Read the records of a log, in order.

    A last line that is not complete, which a killed process has left, is ignored; so is a question
    that a server left without an answer, if a later run put it again.

    Raises:
        FormatError: lines that are no records, all of them.
    """
    records, errors = [], []
    for number, line in _lines(read_bytes(path)):
        try:
            records.append(_record(parse_json(line.decode())))
        except UsageError as error:
            errors.append(FormatError(str(error), source=str(path), line=number))
        except ValueError as error:
            errors.append(FormatError(f"is not JSON ({error})", source=str(path), line=number))
    if errors:
        raise merge_errors(errors)
    return list({one.context: one for one in records}.values())


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    *complete, _ = data.split(b"\n")
    for number, line in enumerate(complete, 1):
        if line.strip():
            yield number, line


def _record(entry: object) -> Record:
    """Check one line; a UsageError says what is wrong with it."""
    if not isinstance(entry, dict):
        raise UsageError("is not a record: a JSON object as a run of a model writes it")
    known = {name: value for name, value in entry.items() if name in _TYPES}
    if missing := sorted(_REQUIRED - set(known)):
        raise UsageError(f"has no {', '.join(missing)}; is this a log of a language model?")
    for name, value in known.items():
        check_type(name, value, _TYPES[name])
    for name, kinds in (("kind", KINDS), ("error", {"": "", **ERROR_KINDS})):
        if known.get(name, "") not in kinds:
            listed = ", ".join(filter(None, kinds))
            raise UsageError(f"{name} is {known[name]!r}, but should be one of {listed}")
    for name in ("max_length", "sample", "tokens_in", "tokens_out", "seconds"):
        if known.get(name, 0) < 0:
            raise UsageError(f"{name} is {known[name]}, but must be at least 0")
    record = Record(**known)
    if len(record.symbols.split()) != len(record.original_symbols.split()):
        problem = "symbols and original_symbols must be as many"
        raise UsageError(f"{problem}, not {record.symbols!r} and {record.original_symbols!r}")
    return record


@dataclass
class AnswerLog:
    """The records of a file, to which new ones are appended; without a path, in memory only.

    Several processes may append to one file. `session` has those of this object's questions, also
    of questions whose answers were known.
    """

    path: Path | None = None
    session: list[Record] = field(default_factory=list, init=False, repr=False)
    _by_key: dict[str, Record] = field(default_factory=dict, init=False, repr=False)
    _contexts: set[tuple[object, ...]] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.exists():
            self._remember(one for one in read_log(self.path) if one.answer is not None)

    def __len__(self) -> int:
        """The number of different questions with an answer."""
        return sum(one.answer is not None for one in self._by_key.values())

    def find(self, key: str) -> Record | None:
        """The answer to a question, if it is known."""
        return self._by_key.get(key)

    def in_memory(self) -> "AnswerLog":
        """A log with the same records, which is not kept."""
        copy = AnswerLog()
        copy._by_key, copy._contexts = dict(self._by_key), set(self._contexts)
        return copy

    def seconds(self, kind: str) -> float | None:
        """The mean time of a question of one kind; None if there was none."""
        found = [one.seconds for one in self._by_key.values() if one.kind == kind and one.seconds]
        return sum(found) / len(found) if found else None

    def add(self, records: Iterable[Record]) -> None:
        """Append those that are not in the log; what is written stays if the process is killed."""
        records = list(records)
        self.session += records
        new = {one.context: one for one in records if one.context not in self._contexts}
        self._remember(new.values())
        if self.path is None or not new:
            return
        lines = "".join(f"{json.dumps(asdict(one), ensure_ascii=False)}\n" for one in new.values())
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                _cut_incomplete_line(file.fileno())
                file.write(lines.encode())
        except OSError as error:
            raise BimlError(
                f"{self.path}: answers cannot be kept ({error.strerror or error}); free some space "
                "or choose another folder"
            ) from error

    def _remember(self, records: Iterable[Record]) -> None:
        for one in records:
            self._by_key.setdefault(one.key, one)
            self._contexts.add(one.context)


def _cut_incomplete_line(descriptor: int) -> None:
    """Remove a last line without an end, which a killed process has left."""
    end = size = os.fstat(descriptor).st_size
    while end and (block := os.pread(descriptor, min(end, 65536), end - min(end, 65536))):
        if b"\n" in block:
            end -= len(block) - block.rindex(b"\n") - 1
            break
        end -= len(block)
    if end < size:
        os.ftruncate(descriptor, end)
