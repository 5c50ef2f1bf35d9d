r"""The tidy table of responses, one row each: what every measure of behaviour starts from.

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
| study | the study examples, where the table tells (probes): `p1 -> c1 \| p2 -> c1` |
| pool | the symbols that an answer may use, where limited |
"""

import csv
import io
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from biml.episodes.episode import EXAMPLE_SEP, PAIR_SEP, Episode, Example
from biml.errors import BimlError, FormatError, UsageError
from biml.io import atomic_write
from biml.vocabulary import UNDEFINED

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
    with_study: bool = False,
    sample_per_episode: bool = False,
) -> pd.DataFrame:
    """The queries of episodes in canonical names as responses, such as people's in the data files.

    Args:
        with_study: fill the columns `study` and `pool` too.
        sample_per_episode: an episode is one response set, and shares one `sample` number.
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
    """Study examples and pool of a probe trial, as the columns `study` and `pool` hold them."""
    pairs = (f"{' '.join(e.input)} {PAIR_SEP} {' '.join(e.output)}" for e in episode.study)
    return {"study": f" {EXAMPLE_SEP} ".join(pairs), "pool": " ".join(episode.pool or ())}


def study_examples(text: str) -> tuple[Example, ...]:
    """What the column `study` says.

    Raises:
        FormatError: it is not written as that column is.

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


# === Tables of responses as CSV or Parquet files.


TABLE_SUFFIXES = (".csv", ".parquet")

NUMERIC_COLUMNS = ("seed", "sample")


@dataclass(frozen=True)
class RawRows:
    """The rows of a file of responses, whose contents are yet to be checked.

    Attributes:
        numbered: each row with its number.
        place: what the numbers are: `line` of a CSV file or `row`.
        columns: the names of all columns of the file, those that are left out as well.
    """

    numbered: list[tuple[int, dict[str, object]]]
    unit: str
    columns: tuple[str, ...]


def write_responses(responses: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table; what stood there before stays until the new one is complete.

    Raises:
        UsageError: the path ends in neither `.csv` nor `.parquet`.
        BimlError: it cannot be written.
    """
    ending = _table_suffix(path)
    buffer = io.BytesIO()
    if ending == ".csv":
        responses.to_csv(buffer, index=False, lineterminator="\n")
    else:
        responses.to_parquet(buffer, index=False)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def read_responses(
    path: str | os.PathLike[str],
    *,
    words: Collection[str] | None = None,
    symbols: Collection[str] | None = None,
) -> pd.DataFrame:
    """Read responses, a table that `write` wrote or one of your own.

    A file needs the columns `item`, `query` and `response`; `participant` says who answered, and
    the others have defaults. Columns of other names are left out. Blank lines may stand anywhere,
    and Excel's `sep=,` on top.

    Args:
        words: the input words that are known; any word if not given.
        symbols: the output symbols that are known; any symbol if not given.
    Raises:
        UsageError: the path ends in neither `.csv` nor `.parquet`.
        FormatError: a column is missing, or is named with other capitals or blanks; a number or a
            text is none, a query or an item is empty, a word or symbol is unknown, or a participant
            answers an item twice. The message names file and line.
        BimlError: the file cannot be read.
    """
    rows = read_rows(path)
    validate_rows(rows.numbered, source=str(path), unit=rows.unit, words=words, symbols=symbols)
    return response_table(row for _, row in rows.numbered)


def read_rows(path: str | os.PathLike[str]) -> RawRows:
    """The rows of a file of responses, whose contents are yet to be checked.

    Raises:
        UsageError, FormatError, BimlError: as for `read`.
    """
    ending = _table_suffix(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BimlError(f"{path}: cannot be read ({error.strerror or error})") from error
    rows = (_csv_rows if ending == ".csv" else _parquet_rows)(data, str(path))
    if not rows.numbered:
        raise FormatError("there is no response in it", source=str(path))
    return rows


def _csv_rows(data: bytes, source: str) -> RawRows:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError("not UTF-8 text; save it as UTF-8", source=source, line=line) from None
    if "\0" in text:
        raise FormatError("not a text file; save the table as CSV", source=source)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = _header(reader)
        _check_columns(header, source, max(reader.line_num, 1))
        rows = [
            (reader.line_num, _csv_row(header, cells, source, reader.line_num))
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
        return RawRows(rows, "line", tuple(header))
    except csv.Error as error:
        raise FormatError(
            f"not a well-formed CSV row ({error})", source=source, line=reader.line_num
        ) from None


def _header(reader: Iterator[list[str]]) -> list[str]:
    """The names of the columns; blank lines may stand above, and Excel's `sep=,`."""
    for cells in reader:
        if "".join(cells).strip() not in ("", "sep="):
            return [name.strip() for name in cells]
    return []


def _csv_row(header: list[str], cells: list[str], source: str, line: int) -> dict[str, object]:
    if len(cells) != len(header):
        raise FormatError(
            f"{len(cells)} cells under {len(header)} column names; "
            "put a cell that has a comma in it between double quotes",
            source=source,
            line=line,
        )
    row: dict[str, object] = {}
    for name, cell in zip(header, cells, strict=True):
        cell = " ".join(cell.split())
        # An empty cell means nothing is known, except that a response may really be empty.
        if name in RESPONSE_COLUMNS and name != "correct" and (cell or name == "response"):
            try:
                row[name] = _cell_value(name, cell)
            except ValueError as error:
                raise FormatError(str(error), source=source, line=line) from None
    return {**_EMPTY_CELLS, **row}


_EMPTY_CELLS = {"query": "", "item": ""}
"""What is missing is empty, so that `check` says so."""


def _cell_value(name: str, cell: object) -> object:
    """A cell of a column as what it has to be: a whole number or text.

    Raises:
        ValueError: it is neither; the message says what it is.
    """
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # other programs keep whole numbers beside empty cells as 3.0
    if name not in NUMERIC_COLUMNS:
        if isinstance(cell, str | int):
            return " ".join(str(cell).split())
        raise ValueError(f"the {name} {cell!r} is not text")
    try:
        if isinstance(cell, str | int):
            return int(cell)
    except ValueError:
        pass
    raise ValueError(f"the {name} '{cell}' is not a whole number")


def _parquet_rows(data: bytes, source: str) -> RawRows:
    try:
        frame = pd.read_parquet(io.BytesIO(data))
    except (ValueError, OSError) as error:  # pyarrow's errors are kinds of these
        raise FormatError(
            f"not a Parquet file, or a damaged one ({str(error).splitlines()[0]})", source=source
        ) from None
    _check_columns(map(str, frame.columns), source)
    known = [name for name in frame.columns if name in RESPONSE_COLUMNS and name != "correct"]
    cells = frame[known].astype(object).where(frame[known].notna(), None).to_dict("records")
    rows: list[tuple[int, dict[str, object]]] = []
    for number, row in enumerate(cells, 1):
        try:
            found = {str(n): _cell_value(str(n), c) for n, c in row.items() if c is not None}
        except ValueError as error:
            raise FormatError(str(error), source=source, line=number, unit="row") from None
        rows.append((number, {**_EMPTY_CELLS, **found}))
    return RawRows(rows, "row", tuple(map(str, frame.columns)))


def _check_columns(names: Iterable[str], source: str, line: int | None = None) -> None:
    have = list(names)
    for name in have:
        meant = name.strip().lower()
        if meant != name and meant in RESPONSE_COLUMNS:
            raise FormatError(
                f"a column is named {name!r}; if it holds the {meant}, name it {meant!r}, else "
                "something else",
                source=source,
                line=line,
            )
    missing = [name for name in REQUIRED_COLUMNS if name not in have]
    if missing:
        hint = ""
        if len(have) == 1 and any(mark in have[0] for mark in ";\t"):
            hint = "; its cells seem to be parted by something else than commas"
        raise FormatError(
            f"lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(map(repr, have)) or 'none'}{hint}",
            source=source,
            line=line,
        )
    twice = {name for name in have if have.count(name) > 1}
    if twice:
        raise FormatError(f"two columns are named {min(twice)!r}", source=source, line=line)


def _table_suffix(path: str | os.PathLike[str]) -> str:
    ending = Path(path).suffix.lower()
    if ending not in TABLE_SUFFIXES:
        raise UsageError(f"{path}: a table of responses ends in {' or '.join(TABLE_SUFFIXES)}")
    return ending
