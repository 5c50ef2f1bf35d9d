"""Typed tables in CSV and Parquet files, read with errors that name file, line and remedy."""

import csv
import io
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pandas as pd
from pandas.api.types import infer_dtype

from biml.errors import FormatError, UsageError, first_line
from biml.io import harmless, read_bytes

TABLE_SUFFIXES = (".csv", ".parquet")

MAX_CELL = 10_000
"""Letters of a cell; figures and pages with longer labels take gigabytes."""

_TYPE_PROBLEMS = {
    "string": "not text",
    "boolean": "neither True nor False",
    "float64": "not a number",
    "Int64": "not a whole number",
    "int64": "not a whole number",
}


@dataclass(frozen=True)
class TypedTable:
    """A table read from a file; empty cells are missing numbers, but empty texts."""

    frame: pd.DataFrame
    source: str
    numbers: tuple[int, ...]
    """The line (CSV) or row (Parquet, by `unit`) of each row."""
    unit: str
    columns: tuple[str, ...]
    """The names of all columns of the file."""
    remedy: str = ""
    """Appended to error messages."""

    def error(self, row: int, problem: str) -> FormatError:
        """An error that names the line of a row (counted from 0)."""
        return FormatError(
            f"{problem}{self.remedy}", source=self.source, line=self.numbers[row], unit=self.unit
        )

    def check_keys(self, keys: Collection[str]) -> None:
        """Make sure that no two rows agree in all these columns."""
        cells = self.frame[list(keys)].astype("string").fillna("")
        repeated = cells.duplicated().to_numpy(bool)
        if keys and repeated.any():
            row = int(repeated.argmax())
            first = int((cells == cells.iloc[row]).all(axis="columns").to_numpy(bool).argmax())
            named = [f"{name} '{value}'" for name, value in cells.iloc[row].items() if value]
            raise self.error(
                row,
                f"a second row for {', '.join(named) or 'empty cells'} "
                f"(first on {self.unit} {self.numbers[first]})",
            )


def read_typed_table(
    path: str | os.PathLike[str],
    types: Mapping[str, str],
    *,
    required: Collection[str],
    aliases: Mapping[str, str] = MappingProxyType({}),
    remedy: str = "",
) -> TypedTable:
    """Read the columns of `types` (pandas types by name) and ignore others.

    A CSV file may have blank lines anywhere, and Excel's `sep=,` on top.

    Args:
        aliases: old names of columns, with their present ones.
        remedy: appended to error messages, such as "; run `biml reproduce` again".
    """
    suffix = table_suffix(path)
    source = str(path)
    data = read_bytes(path)
    try:
        read = _read_csv if suffix == ".csv" else read_parquet
        header, header_line, numbers, cells = read(data, source)
        _check_columns(header, types, required, aliases, source, header_line)
    except FormatError as error:
        raise FormatError(f"{error.problem}{remedy}", source=source, line=error.line) from None
    names = [aliases.get(name, name) for name in header]
    unit = "line" if suffix == ".csv" else "row"
    known = {name: pd.Series(c) for name, c in zip(names, cells, strict=True) if name in types}
    frame = pd.DataFrame({name: _parse(column, types[name]) for name, column in known.items()})
    table = TypedTable(frame, source, tuple(numbers), unit, tuple(header), remedy)
    for name, column in known.items():
        long = column.map(lambda cell: len(cell) if isinstance(cell, str) else 0) > MAX_CELL
        if long.any():
            row = int(long.to_numpy(bool).argmax())
            problem = f"the {name} has {len(column.iloc[row]):,} letters, more than {MAX_CELL:,}"
            raise table.error(row, problem)
        wrong = frame[name].isna().to_numpy(bool)
        if wrong.any() and types[name] != "int64":
            wrong = wrong & (column != "").to_numpy(bool)
        if wrong.any():
            row = int(wrong.argmax())
            problem = f"the {name} '{column.iloc[row]}' is {_TYPE_PROBLEMS[types[name]]}"
            raise table.error(row, problem)
    return table


def table_bytes(frame: pd.DataFrame, suffix: str, *, safe_cells: bool = False) -> bytes:
    """A frame as the contents of a `.csv` or `.parquet` file.

    With `safe_cells` no spreadsheet takes a cell of the former for a formula (see `io.harmless`).
    """
    if suffix == ".csv":
        frame = frame.map(harmless) if safe_cells else frame
        return frame.to_csv(index=False, lineterminator="\n").encode()
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def table_suffix(path: str | os.PathLike[str]) -> str:
    """The ending of a table's path; a UsageError unless it is one of `TABLE_SUFFIXES`."""
    suffix = Path(path).suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise UsageError(f"{path}: the name of a table ends in {' or '.join(TABLE_SUFFIXES)}")
    return suffix


_RawTable = tuple[list[str], int | None, Iterable[int], Iterable[Iterable[object]]]
"""Names of columns and their line, numbers of rows, and the cells of each column."""


def _read_csv(data: bytes, source: str) -> _RawTable:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError("not UTF-8 text; save it as UTF-8", source=source, line=line) from None
    if "\0" in text:
        raise FormatError("not a text file; save the table as CSV", source=source)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    numbers, rows = [], []
    try:
        header = _header(reader)
        header_line = max(reader.line_num, 1)
        for cells in reader:
            if any(map(str.strip, cells)) or (cells and len(header) == 1):
                if len(cells) != len(header):
                    raise FormatError(
                        f"{len(cells)} cells under {len(header)} column names; "
                        "put a cell that contains a comma between double quotes",
                        source=source,
                        line=reader.line_num,
                    )
                numbers.append(reader.line_num)
                rows.append(cells)
    except csv.Error as error:
        raise FormatError(
            f"not a well-formed CSV row ({error})", source=source, line=reader.line_num
        ) from None
    return header, header_line, numbers, zip(*rows, strict=True) if rows else [()] * len(header)


def _header(reader: Iterator[list[str]]) -> list[str]:
    for cells in reader:
        if "".join(cells).strip() not in ("", "sep="):
            return [name.strip() for name in cells]
    return []


def read_parquet(data: bytes, source: str) -> _RawTable:
    try:
        frame = pd.read_parquet(io.BytesIO(data))
    except Exception as error:  # damaged metadata fail in many ways
        raise FormatError(
            f"not a Parquet file, or a damaged one ({first_line(error)})", source=source
        ) from None
    columns = [map(cell_text, frame.iloc[:, n].astype(object)) for n in range(frame.shape[1])]
    return list(map(str, frame.columns)), None, range(1, len(frame) + 1), columns


def cell_text(cell: object) -> object:
    """A cell as CSV holds it; other programs keep whole numbers beside empty cells as 3.0."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, str | int):
        return str(cell)
    return "" if cell is None or pd.isna(cell) is True else cell  # type: ignore[call-overload]


def _parse(cells: pd.Series, kind: str) -> pd.Series:
    """The values of a column, missing where a cell is empty or of another type."""
    if kind == "string":
        if infer_dtype(cells) not in ("string", "empty"):
            cells = cells.where(cells.map(lambda cell: isinstance(cell, str)))
        return cells.astype("string")
    texts = cells.astype("string").str.strip()
    if kind == "boolean":
        # Spreadsheets write TRUE.
        return texts.str.lower().map({"true": True, "false": False}).astype("boolean")
    values = pd.to_numeric(texts.mask(texts == ""), errors="coerce")
    if kind == "float64":
        return values.astype("Float64").astype("float64")
    return values.mask((values % 1 != 0) | (values.abs() >= 2.0**63)).astype("Int64")


def _check_columns(
    names: list[str],
    types: Mapping[str, str],
    required: Collection[str],
    aliases: Mapping[str, str],
    source: str,
    line: int | None,
) -> None:
    def error(problem: str) -> FormatError:
        return FormatError(problem, source=source, line=line)

    for name in names:
        meant = name.strip().lower()
        if meant != name and meant in types:
            raise error(
                f"a column is named {name!r}; if it holds the {meant}, name it {meant!r}, else "
                "something else"
            )
    present = [aliases.get(name, name) for name in names]
    missing = [name for name in required if name not in present]
    if missing:
        hint = ""
        if len(names) == 1 and any(mark in names[0] for mark in ";\t"):
            hint = "; its cells seem to be separated by something other than commas"
        listed = [repr(name[:100]) for name in names[:20]] + ["…"] * (len(names) > 20)
        raise error(
            f"lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(listed) or 'none'}{hint}"
        )
    duplicates = {name for name, count in Counter(present).items() if count > 1}
    if duplicates:
        raise error(f"two columns are named {min(duplicates)!r}")
