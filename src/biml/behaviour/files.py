"""Tables of responses as CSV or Parquet files."""

import csv
import io
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from biml.behaviour.responses import (
    RESPONSE_COLUMNS,
    REQUIRED_COLUMNS,
    validate_rows,
    response_table,
)
from biml.errors import BimlError, FormatError, UsageError
from biml.files import atomic_write

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
