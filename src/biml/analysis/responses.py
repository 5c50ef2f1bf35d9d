r"""The table of responses, one per row: the input of every measure of behaviour.

| column | meaning |
| --- | --- |
| model | `people`, or the name of a model |
| seed | of the model's training run or samples; missing for people |
| task | `few_shot`, `open_ended`, `probes`, or a custom task |
| item | name of the query or trial, the same for all participants and models |
| participant | where known; else empty |
| sample | number of the response among those to the item, or of the response set |
| query, response | words and symbols in canonical names, separated by blanks |
| target | the correct response, where there is one; else empty |
| correct | whether response and target are equal; missing without a target |
| error_type | of a wrong few-shot response: `one-to-one`, `iconic`, both or `other` |
| study | the study examples, where given (probes): `p1 -> c1 \| p2 -> c1` |
| allowed_outputs | the symbols that a response may use, where restricted |

>>> made = response_table([{"item": "a", "query": "dax", "response": "RED", "target": "RED"}])
>>> made["model"].tolist(), made["sample"].tolist(), made["correct"].tolist()
(['people'], [0], [True])
"""

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from biml.analysis.typed_tables import read_typed_table, table_bytes, table_suffix
from biml.episodes.episode import EXAMPLE_SEP, PAIR_SEP, Episode, Example
from biml.errors import FormatError, merge_errors
from biml.io import write_file
from biml.vocabulary import UNDEFINED

PEOPLE: Final = "people"

REQUIRED_COLUMNS = ("item", "query", "response")
"""Columns that a file must have; the others have defaults."""

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
    "allowed_outputs": ("string", ""),
}
"""Type and default of each column, in order."""

COLUMN_ALIASES = {"pool": "allowed_outputs"}
"""Older names of columns that are still read."""

RESPONSE_SET_KEYS = ["model", "seed", "task", "participant", "sample"]
"""Columns that the responses of one response set share (open-ended task)."""


def response_table(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """A table of responses with all columns in their order and types.

    If no row has a `sample`, the responses of one participant share a number, and responses of
    unknown participants to the same item are counted. `correct` follows from `response` and
    `target`.
    """
    given = list(rows)
    frame = pd.DataFrame(
        {
            name: pd.Series(
                [default if row.get(name) is None else row[name] for row in given],
                dtype=kind,
            )
            for name, (kind, default) in RESPONSE_COLUMNS.items()
        }
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
    with_study: bool = False,
    sample_per_episode: bool = False,
) -> pd.DataFrame:
    """The queries of episodes (in canonical names), such as human data files, as responses.

    Args:
        with_study: also fill the columns `study` and `allowed_outputs`.
        sample_per_episode: an episode is one response set, with one `sample` number.
    """
    rows: list[dict[str, object]] = []
    for number, episode in enumerate(episodes):
        extra: dict[str, object] = trial_columns(episode) if with_study else {}
        if sample_per_episode:
            extra["sample"] = number
        for query in episode.queries:
            words = " ".join(query.input)
            row = {
                "model": model,
                "task": task,
                "item": query.item or words,
                "participant": query.participant,
                "query": words,
                "response": " ".join(query.output),
            }
            rows.append(row | extra)
    return response_table(rows)


def trial_columns(episode: Episode) -> dict[str, object]:
    """Study examples and allowed outputs of a trial, as columns of a table."""
    return {
        "study": f" {EXAMPLE_SEP} ".join(e.text for e in episode.study),
        "allowed_outputs": " ".join(episode.pool or ()),
    }


def study_examples(text: str) -> tuple[Example, ...]:
    """Parse the column `study`; a FormatError if it is malformed.

    >>> study_examples("p1 -> c1 | p2 -> c2 c2")[1].output
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


def equal_responses(responses: pd.DataFrame) -> pd.Series:
    """Whether response and target consist of the same symbols."""
    pairs = zip(responses["response"], responses["target"], strict=True)
    same = [tokens(response) == tokens(target) for response, target in pairs]
    return pd.Series(same, responses.index, dtype="boolean")


def with_targets(
    responses: pd.DataFrame, targets: list[str], error_types: list[str]
) -> pd.DataFrame:
    """The responses with the columns `target` and `error_type` replaced."""
    columns = {"target": targets, "error_type": error_types}
    index = responses.index
    return responses.assign(**{k: pd.Series(v, index, dtype="string") for k, v in columns.items()})


def file_stem(name: str) -> str:
    """The name of an episode file without folders and suffix."""
    return name.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".txt")


def tokens(text: str) -> tuple[str, ...]:
    """The words or symbols of a cell."""
    return tuple(text.split())


def _sample_numbers(frame: pd.DataFrame) -> list[int]:
    """Number the responses of a table without sample numbers."""
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


def write_responses(
    responses: pd.DataFrame, path: str | os.PathLike[str], *, safe_cells: bool = False
) -> None:
    """Write a table to a `.csv` or `.parquet` file; an existing file is replaced at the end.

    `safe_cells` is for spreadsheets, which take cells such as `=A1` for formulas: in a `.csv` file
    these begin with an apostrophe, with which biml would read them.
    """
    contents = table_bytes(responses, table_suffix(path), safe_cells=safe_cells)
    write_file(path, contents)


def read_responses(
    path: str | os.PathLike[str],
    *,
    words: Collection[str] | None = None,
    symbols: Collection[str] | None = None,
) -> pd.DataFrame:
    """Read responses from a `.csv` or `.parquet` file.

    The columns `item`, `query` and `response` are required; the others have defaults. Unknown
    columns are ignored, and `correct` is computed anew.

    Args:
        words, symbols: the known input words and output symbols; any if not given.
    Raises:
        FormatError: a column is missing or misspelled, a cell has the wrong type, a query or item
            is empty, a word or symbol is unknown, or a participant has two responses to an item.
    """
    rows = _read_rows(path)
    check_rows(rows, words=words, symbols=symbols and (*symbols, UNDEFINED))
    return response_table(row.cells for row in rows)


@dataclass(frozen=True)
class FileRow:
    """A row of a file of responses: its non-empty cells, and its position for messages."""

    cells: Mapping[str, object]
    source: str
    number: int
    unit: str = "line"

    @property
    def item(self) -> str:
        return str(self.cells.get("item", ""))

    @property
    def participant(self) -> str:
        return str(self.cells.get("participant", ""))

    @property
    def input(self) -> tuple[str, ...]:
        return tokens(str(self.cells.get("query", "")))

    @property
    def output(self) -> tuple[str, ...]:
        return tokens(str(self.cells.get("response", "")))

    def error(self, problem: str) -> FormatError:
        return FormatError(problem, source=self.source, line=self.number, unit=self.unit)


def _read_rows(path: str | os.PathLike[str]) -> list[FileRow]:
    """The rows of a file of responses before `check_rows`."""
    types = {name: kind.replace("int64", "Int64") for name, (kind, _) in RESPONSE_COLUMNS.items()}
    del types["correct"]
    table = read_typed_table(path, types, required=REQUIRED_COLUMNS, aliases=COLUMN_ALIASES)
    if table.frame.empty:
        raise FormatError("there is no response in it", source=table.source)
    rows = []
    for number, row in zip(table.numbers, table.frame.to_dict("records"), strict=True):
        cells = {str(n): " ".join(c.split()) if isinstance(c, str) else c for n, c in row.items()}
        # An empty cell means unknown, except that a response may really be empty.
        given = {n: c for n, c in cells.items() if n == "response" or not (c is pd.NA or c == "")}
        rows.append(FileRow(given, table.source, number, table.unit))
    return rows


def check_rows(rows: Iterable[FileRow], **known: Any) -> None:
    """Make sure that rows are valid responses, by the arguments of `row_errors`."""
    if errors := list(row_errors(rows, **known)):
        raise merge_errors(errors)


def row_errors(
    rows: Iterable[FileRow],
    *,
    words: Collection[str] | None = None,
    symbols: Collection[str] | None = None,
    max_length: int | None = None,
    remedy: str = "",
) -> Iterator[FormatError]:
    """What is wrong with rows of responses.

    Args:
        words, symbols: the known ones; any if not given.
        max_length: if given, a response must have from one to so many symbols.
        remedy: for an unknown symbol.
    """
    first_rows: dict[tuple[object, ...], FileRow] = {}
    for row in rows:
        if problem := _row_problem(row, words, symbols, max_length, remedy):
            yield row.error(problem)
            continue
        sample = row.cells.get("sample")
        if row.participant or sample is not None:
            who = f"participant {row.participant}" if row.participant else f"sample {sample}"
            key = (*(row.cells.get(name) for name in ("model", "seed", "task", "item")), who)
            first = first_rows.setdefault(key, row)
            if first is not row:
                yield row.error(
                    f"{who} answers item '{row.item}' a second time (first on {row.unit} "
                    f"{first.number}); keep one of the two, or give them different participants"
                )


def _row_problem(
    row: FileRow,
    words: Collection[str] | None,
    symbols: Collection[str] | None,
    max_length: int | None,
    remedy: str,
) -> str:
    """What is wrong with the contents of a row, or an empty text."""
    if not row.input:
        return "the query is empty; write its words, separated by blanks"
    if not row.item:
        return "the item is empty; name it, for example by its query"
    if max_length is not None and not row.output:
        return (
            "the response is empty; leave the row out, or write "
            f"{UNDEFINED} for a response outside the symbols"
        )
    if max_length is not None and len(row.output) > max_length:
        return (
            f"the response has {len(row.output)} symbols, more than the {max_length} allowed; "
            "correct it or leave it out"
        )
    target = tokens(str(row.cells.get("target", "")))
    for kind, found, known in (
        ("word", row.input, words),
        ("symbol", row.output + target, symbols),
    ):
        for token in found:
            if known is not None and token not in known:
                more = f"; {remedy}" if remedy and kind == "symbol" else ""
                return f"unknown {kind} '{token}'; known are: {' '.join(known)}{more}"
    return ""
