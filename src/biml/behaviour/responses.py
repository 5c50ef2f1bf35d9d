"""The tidy table of responses, one row each: what every measure of behaviour starts from.

| column | meaning |
| --- | --- |
| model | who answered: `people`, or a model's name |
| seed | of the model's training run or draws; missing for people |
| task | `few_shot`, `open_ended`, `probes`, or a name of your own |
| item | the query or trial, by a name that all who answered it share |
| participant | who answered, where known; else empty |
| sample | number of the answer among those to this item, or of the answer sheet |
| query, response | words and symbols in canonical names, with blanks between |
| target | the right answer, where there is one; else empty |
| correct | whether response and target are the same; missing without a target |
| error_type | of a wrong few-shot answer: `one-to-one`, `iconic`, both or `other` |
| study | the study examples, where the table tells (probes): `p1 -> c1 \\| p2 -> c1` |
| pool | the symbols that an answer may use, where limited |
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import pandas as pd

from biml.episodes.answerers import Respondents
from biml.episodes.episode import EXAMPLE_SEP, PAIR_SEP, Episode, Example
from biml.episodes.transforms import UNDEFINED
from biml.errors import FormatError

PEOPLE = "people"

REQUIRED_COLUMNS = ("item", "query", "response")
"""Columns that a table must have; the others have defaults."""

RESPONSE_COLUMNS: dict[str, tuple[str, object]] = {
    "model": ("string", PEOPLE),
    "seed": ("Int64", None),
    "task": ("string", ""),
    "item": ("string", ""),
    "participant": ("string", ""),
    "sample": ("int64", 0),
    "query": ("string", ""),
    "response": ("string", ""),
    "target": ("string", ""),
    "correct": ("boolean", None),
    "error_type": ("string", ""),
    "study": ("string", ""),
    "pool": ("string", ""),
}
"""Type and default of each column, in their order."""

RESPONSE_SET_KEYS = ["model", "seed", "task", "participant", "sample"]
"""What answers of one sheet share (the open-ended task)."""

ResponseRow = Mapping[str, object]


def response_table(rows: Iterable[ResponseRow]) -> pd.DataFrame:
    """Rows as a table with all columns in their order and types.

    Where no row has a `sample`, answers of the same person share one number, and answers of unknown
    people to the same item are counted. `correct` follows from `response` and `target`.

    >>> made = response_table([{"item": "a", "query": "dax", "response": "RED", "target": "RED"}])
    >>> made["model"].tolist(), made["sample"].tolist(), made["correct"].tolist()
    (['people'], [0], [True])
    """
    given = list(rows)
    values = {
        name: [default if row.get(name) is None else row[name] for row in given]
        for name, (_, default) in RESPONSE_COLUMNS.items()
    }
    frame = pd.DataFrame(
        {name: pd.Series(v, dtype=_column_type(name)) for name, v in values.items()}
    )
    if not any("sample" in row for row in given):
        frame["sample"] = _sample_numbers(frame)
    frame["correct"] = equal_responses(frame).mask(frame["target"] == "")
    return frame


def responses_from_episodes(
    episodes: Iterable[Episode],
    task: str,
    *,
    model: str = PEOPLE,
    file_holds: str = "query",
    respondents: Respondents = MappingProxyType({}),
) -> pd.DataFrame:
    """The queries of episodes in canonical names as responses, such as people's in the data files.

    Args:
        by: what a file is: `query`, answers to one query or several by unknown people; `trial`, the
            same, with a study set and a pool of its own, so that the file names the item; or
            `participant`, one person's answer sheet.
        answerers: of an imported experiment: the item of each answer and who gave it.
    """
    rows: list[dict[str, object]] = []
    for number, episode in enumerate(episodes):
        name = file_stem(episode.name)
        extra: dict[str, object] = {}
        if file_holds == "trial":
            extra = {"item": name, **trial_columns(episode)}
        elif file_holds == "participant":
            extra = {"participant": name, "sample": number}
        told = respondents.get(episode.name, (None,) * len(episode.queries))
        if episode.name in respondents and file_holds == "query":
            extra = trial_columns(episode)
        for query, who in zip(episode.queries, told, strict=True):
            words = " ".join(query.input)
            row = {"item": words, "query": words, "response": " ".join(query.output)}
            known = who._asdict() if who else {}
            rows.append({"model": model, "task": task, **row, **extra, **known})
    return response_table(rows)


def trial_columns(episode: Episode) -> dict[str, object]:
    """Study examples and pool of a probe trial, as the columns `study` and `pool` hold them."""
    pairs = (f"{' '.join(e.input)} {PAIR_SEP} {' '.join(e.output)}" for e in episode.study)
    return {"study": f" {EXAMPLE_SEP} ".join(pairs), "pool": " ".join(episode.pool or ())}


def study_examples(text: str) -> tuple[Example, ...]:
    """What the column `study` says.

    Raises:
        FormatError: it is not written as that column is.

    >>> study_examples("p1 -> c1 | p2 -> c2 c2")[1].symbols
    ('c2', 'c2')
    """
    examples = []
    for part in text.split(f" {EXAMPLE_SEP} ") if text else ():
        words, arrow, symbols = part.partition(f" {PAIR_SEP} ")
        if not arrow or not words.split() or not symbols.split():
            raise FormatError(
                f"the study examples '{text}' should read like 'p1 -> c1 | p2 -> c2 c2'",
                source="column study",
            )
        examples.append(Example(tuple(words.split()), tuple(symbols.split())))
    return tuple(examples)


def validate_rows(
    rows: Iterable[tuple[int, ResponseRow]],
    *,
    source: str,
    unit: str = "line",
    words: Collection[str] | None = None,
    symbols: Collection[str] | None = None,
    remedy: str = "",
) -> None:
    """Make sure that rows can be responses.

    Args:
        rows: each with its line in the source.
        source, place: for messages; `place` says what the numbers are.
        words, symbols: those that are known; any if not given. `undefined_action` always is.
        remedy: what to do about an unknown symbol, for messages.
    Raises:
        FormatError: an empty query or item, an unknown word or symbol, or a second answer by the
            same participant (or with the same sample number) to the same item.
    """
    seen: dict[tuple[object, ...], int] = {}
    for number, row in rows:
        problem = _row_problem(row, words, symbols, remedy)
        person = row.get("participant") or None
        if not problem and (person or row.get("sample") is not None):
            who = f"participant {person}" if person else f"sample {row.get('sample')}"
            about = [row.get(name) for name in ("model", "seed", "task", "item")]
            first = seen.setdefault((*about, who), number)
            if first != number:
                problem = (
                    f"{who} answers item '{row['item']}' a second time (first on {unit} {first}); "
                    "keep one of the two, or tell them apart by another participant"
                )
        if problem:
            raise FormatError(problem, source=source, line=number, unit=unit)


def equal_responses(responses: pd.DataFrame) -> pd.Series:
    """Whether response and target have the same symbols, with whatever blanks between."""
    pairs = zip(responses["response"], responses["target"], strict=True)
    same = [tokens(response) == tokens(target) for response, target in pairs]
    return pd.Series(same, responses.index, dtype="boolean")


def file_stem(name: str) -> str:
    """A file's name without folders and ending."""
    return name.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".txt")


def tokens(text: str) -> tuple[str, ...]:
    """Words or symbols of one cell."""
    return tuple(text.split())


def _row_problem(
    row: ResponseRow, words: Collection[str] | None, symbols: Collection[str] | None, remedy: str
) -> str | None:
    """What is wrong with the contents of a row, or None."""
    query = tokens(str(row["query"] or ""))
    if not query:
        return "the query is empty; write its words, with blanks between"
    if not str(row.get("item") or "").strip():
        return "the item is empty; name it, for example by its query"
    known = None if symbols is None else [*symbols, UNDEFINED]
    checks = [("word", query, words)]
    checks += [("symbol", tokens(str(row.get(c) or "")), known) for c in ("response", "target")]
    for kind, found, allowed in checks:
        for one in found:
            if allowed is not None and one not in allowed:
                more = f"; {remedy}" if remedy and kind == "symbol" else ""
                return f"unknown {kind} '{one}'; known are: {' '.join(allowed)}{more}"
    return None


def _sample_numbers(frame: pd.DataFrame) -> list[int]:
    """Sample numbers where none are given."""
    people: dict[object, dict[str, int]] = defaultdict(dict)
    answers: dict[object, int] = defaultdict(int)
    numbers = []
    columns = [frame[name].tolist() for name in ("model", "seed", "task", "participant", "item")]
    for model, seed, task, person, item in zip(*columns, strict=True):
        if person:
            known = people[model, str(seed), task]
            numbers.append(known.setdefault(person, len(known)))
        else:
            numbers.append(answers[model, str(seed), task, item])
            answers[model, str(seed), task, item] += 1
    return numbers


def _column_type(name: str) -> Any:
    return RESPONSE_COLUMNS[name][0]
