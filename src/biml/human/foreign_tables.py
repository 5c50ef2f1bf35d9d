"""Tables as spreadsheets, survey platforms and browser experiments write them.

Formats are recognised by their contents: CSV in several encodings and with several separators,
Excel, Parquet, JSON and JSON Lines. Every cell becomes text.
"""

import codecs
import csv
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from biml.analysis.typed_tables import cell_text, read_parquet
from biml.errors import FormatError
from biml.human.excel_sheets import is_excel, read_sheets
from biml.io import StrPath, parse_json, read_bytes

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "blanks"}

TITLE_LINES = 20  # the names of columns are sought in so many

OTHER_FORMATS = {
    b"\xd0\xcf\x11\xe0": "an Excel file of the older kind (.xls)",
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a file compressed by gzip",
    b"$FL": "an SPSS file",
    b"<stata_dta>": "a Stata file",
    b"<": "a web page or XML document",
    b"\x89PNG": "an image",
    b"\x80": "a Python pickle",
}
"""First bytes of files that are not read, and what these files are."""

END_OF_FILE = "END OF FILE"
"""The last row of an export from Gorilla."""

QUALTRICS_MARK = '{"ImportId":'
"""Begins a cell of the third header row of an export from Qualtrics; the second has questions."""


_TITLES = "the lines above the names of the columns"


@dataclass
class ForeignTable:
    """The rows of a file, before it is known what its columns mean.

    Attributes:
        rows: number (line, row or record, by `unit`) and cells by column.
        labels: longer names of columns, such as the text of a question.
        notes: what was recognised, for the user.
        errors: lines that cannot be read.
        header: the number of the line with the names of columns, where there is one.
    """

    source: str
    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]
    unit: str = "line"
    labels: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    errors: list[FormatError] = field(default_factory=list)
    header: int | None = None

    def error(self, problem: str) -> FormatError:
        return FormatError(problem, source=self.source, line=self.header, unit=self.unit)


def folded(name: str) -> str:
    """A text of words without differences of case, punctuation and blanks.

    >>> folded("Participant_ID "), folded("participant id")
    ('participant id', 'participant id')
    """
    words = re.sub(r"[\W_]+", " ", same_case(name)).split() or name.split()
    return " ".join(words)


def same_case(text: str) -> str:
    """A text without differences of case, and of how its accents are encoded."""
    return unicodedata.normalize("NFC", text.casefold())


def read_foreign_table(path: StrPath, names: Collection[str]) -> ForeignTable:
    """Read a table of responses in any of the known formats.

    Args:
        names: of the columns that matter; in nested JSON, a record with one of them is a row.
    Raises:
        FormatError: it is no table; the message says what it looks like.
    """
    data = read_bytes(path)
    source = str(path)
    if data.startswith(b"PAR1"):
        header, _, numbers, columns = read_parquet(data, source)
        rows = zip(*columns, strict=True) if header else ()
        table = _table(source, header, zip(numbers, rows, strict=True), "row")
    elif data.startswith(b"PK\x03\x04") and is_excel(data, source):
        table = _read_excel(data, source)
    else:
        for mark, description in OTHER_FORMATS.items():
            if data.lstrip()[: len(mark)] == mark:
                raise FormatError(
                    f"looks like {description}; save the responses as CSV or .xlsx and import that",
                    source=source,
                )
        text, encoding = _decode(data, source)
        if text.lstrip().startswith(("[", "{")):
            table = _read_json(text, source, names)
        else:
            table = _read_csv(text, source)
        if encoding:
            table.notes.insert(0, f"read as {encoding}")
    _drop_header_rows(table)
    if table.rows and END_OF_FILE in (cell.strip() for cell in table.rows[-1][1].values()):
        table.rows.pop()
        table.notes.append(f"the last row, {END_OF_FILE}, was left out")
    return _with_nested_records(table, names)


def _table(
    source: str, header: Iterable[object], rows: Iterable[tuple[int, Iterable[object]]], unit: str
) -> ForeignTable:
    """A table with different names for its columns."""
    columns: dict[str, None] = {}
    counts: Counter[str] = Counter()
    for name in map(str.strip, map(str, header)):
        unique = name
        while unique in columns:
            counts[name] += 1
            unique = f"{name} ({counts[name] + 1})"
        columns[unique] = None
    cells = [
        (number, dict(zip(columns, map(str, map(cell_text, row)), strict=True)))
        for number, row in rows
    ]
    filled = [(number, row) for number, row in cells if any(map(str.strip, row.values()))]
    return ForeignTable(source, list(columns), filled, unit)


def _decode(data: bytes, source: str) -> tuple[str, str]:
    """The text of a file, and its encoding unless that is UTF-8."""
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif (sample := data[:400])[1::2].count(0) > len(sample) / 4:
        encoding = "utf-16-le"
    elif sample[::2].count(0) > len(sample) / 4:
        encoding = "utf-16-be"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        # Latin-1 is a subset, except for bytes that no text has.
        encoding = "windows-1252"
        text = data.decode(encoding, "replace")
    if "\0" in text:
        raise FormatError(
            "not a text file; save the responses as CSV or .xlsx and import that", source=source
        )
    return text, "" if encoding == "utf-8-sig" else encoding.upper().replace("WINDOWS", "Windows")


def _read_csv(text: str, source: str) -> ForeignTable:
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    separator, skipped_lines = _separator(text)
    lines = io.StringIO(text, newline="")
    titles = [line for line in islice(lines, skipped_lines) if line.strip() and "sep=" not in line]
    reader = csv.reader(lines, delimiter=separator, strict=True)
    errors: list[FormatError] = []
    every: list[tuple[int, list[str]]] = []
    try:
        every.extend((reader.line_num + skipped_lines, cells) for cells in reader)
    except csv.Error as error:
        problem = f"not a well-formed CSV row ({error}); is a double quote missing or single?"
        line = every[-1][0] if every else skipped_lines
        errors.append(FormatError(problem, source=source, line=line + 1))
        if len(every) < 2:
            raise errors[0] from None
    filled = [(line, cells) for line, cells in every if any(map(str.strip, cells))]
    (header_line, header), *rows = filled or [(1, [])]
    # R numbers the rows, without a name of that column.
    firsts = [cells[0] for _, cells in rows if len(cells) == len(header) + 1]
    has_row_names = bool(rows) and firsts == [str(n) for n in range(1, len(rows) + 1)]
    if has_row_names:
        header = ["", *header]
    fitting = []
    for line, cells in rows:
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if END_OF_FILE in cells:
            cells += [""] * (len(header) - len(cells))
        if len(cells) == len(header):
            fitting.append((line, cells))
            continue
        problem = (
            f"{len(cells)} cells under {len(header)} column names; put a cell that contains "
            f"'{separator}' between double quotes"
        )
        errors.append(FormatError(problem, source=source, line=line))
    table = _table(source, header, fitting, "line")
    table.errors, table.header = errors, header_line
    if separator != ",":
        table.notes.append(f"the cells are separated by {SEPARATORS[separator]}")
    if titles:
        table.notes.append(f"{_TITLES} ({titles[0].strip()[:60]}) were left out")
    if has_row_names:
        table.notes.append("the first cells are the numbers of the rows (as R writes them)")
    return table


def _separator(text: str) -> tuple[str, int]:
    """The separator of cells, and the number of lines above the names of columns.

    It is the one that Excel's line `sep=;` names, or else the one that makes most names. A line
    with one cell alone, or that begins with `#`, is a title if names follow.
    """
    for number, line in enumerate(islice(io.StringIO(text, newline=""), TITLE_LINES)):
        if line.startswith("sep=") and line[4:5] in SEPARATORS:
            return line[4:5], number + 1
        separator = max(SEPARATORS, key=lambda separator: _count_names(line, separator))
        if not line.startswith("#") and _count_names(line, separator) > 1:
            return separator, number
    return ",", 0


def _count_names(line: str, separator: str) -> int:
    """How many columns a line names; blanks separate names between quotes only (as R writes)."""
    if separator == " " and not re.fullmatch(r'"[^"]*"( "[^"]*")+', line.strip()):
        return 0
    return sum(map(bool, map(str.strip, next(csv.reader([line], delimiter=separator), []))))


def _read_excel(data: bytes, source: str) -> ForeignTable:
    sheets = read_sheets(data, source)
    filled = [(name, rows) for name, rows in sheets if rows] or [("", [(1, [])])]
    wide = [(n, rows) for n, rows in filled if any(sum(map(bool, row)) > 1 for _, row in rows)]
    name, lines = (wide or filled)[0]
    counts = [sum(map(bool, row)) for _, row in lines[:TITLE_LINES]]
    titles = next((place for place, count in enumerate(counts) if count > 1), 0)
    number, header = lines[titles]
    # Notes may stand beside the table, but not a hundred columns away.
    width = min(max(len(row) for _, row in lines[titles:]), len(header) + 100)
    padded = [(n, (row + [""] * width)[:width]) for n, row in lines[titles:]]
    table = _table(source, padded[0][1], padded[1:], "row")
    table.header = number
    if titles:
        table.notes.append(f"{_TITLES} ({''.join(lines[0][1])[:60]}) were left out")
    if len(sheets) > 1:
        table.notes.append(f"read the sheet '{name}', the first table of {len(sheets)} sheets")
    return table


def _read_json(text: str, source: str, names: Collection[str]) -> ForeignTable:
    """JSON, or JSON Lines: records, possibly nested."""
    try:
        value = parse_json(text)
    except ValueError as first_error:
        value = []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                value += [parse_json(line)] if line.strip() else []
            except ValueError:
                position = number if value else getattr(first_error, "lineno", 1)
                problem = "neither a record in JSON, nor part of one (see JSON Lines)"
                raise FormatError(problem, source=source, line=position) from None
    wanted = {folded(name) for name in names}
    records = list(_nested_rows(value, {}, wanted)) or [
        record
        for record in (value if isinstance(value, list) else [value])
        if isinstance(record, dict)
    ]
    return _table_of_records(source, enumerate(records, 1), "record")


def _table_of_records(
    source: str, records: Iterable[tuple[int, Mapping[str, object]]], unit: str
) -> ForeignTable:
    numbered = list(records)
    columns = list(dict.fromkeys(str(name) for _, record in numbered for name in record))
    rows = [
        (number, {name: _json_text(record.get(name)) for name in columns})
        for number, record in numbered
    ]
    return ForeignTable(source, columns, rows, unit)


def _json_text(value: object) -> str:
    """A value of a record as a cell; lists and objects remain JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else str(cell_text(value))


def _nested_rows(
    value: object, surrounding: Mapping[str, object], wanted: Collection[str]
) -> Iterator[dict[str, object]]:
    """The innermost records with a wanted field, with the fields of the records around them.

    >>> data = {"id": "P1", "trials": [{"query": "dax", "response": "RED"}]}
    >>> list(_nested_rows(data, {}, {"query", "response"}))
    [{'id': 'P1', 'query': 'dax', 'response': 'RED'}]
    """
    if isinstance(value, str) and _is_nested(value):
        try:
            value = parse_json(value)
        except ValueError:
            return
    if isinstance(value, list):
        for element in value:
            yield from _nested_rows(element, surrounding, wanted)
    elif isinstance(value, dict):
        scalars = {k: v for k, v in value.items() if not _is_nested(v)}
        around = {**surrounding, **scalars}
        inner = [row for each in value.values() for row in _nested_rows(each, around, wanted)]
        if inner:
            yield from inner
        elif any(folded(str(name)) in wanted for name in value):
            yield {**surrounding, **value}


def _is_nested(value: object) -> bool:
    """Whether a value is a list or an object, as such or in JSON."""
    return isinstance(value, list | dict) or (isinstance(value, str) and value[:1] in ("[", "{"))


def _with_nested_records(table: ForeignTable, names: Collection[str]) -> ForeignTable:
    """The records in JSON inside cells as rows, where the columns themselves do not have them."""
    wanted = {folded(name) for name in names}
    if len(wanted & {folded(name) for name in table.columns}) > 1:
        return table
    records = [
        (number, record)
        for number, row in table.rows
        for record in _nested_rows(row, {}, wanted)
        if record.keys() != row.keys()
    ]
    if not records:
        return table
    nested = _table_of_records(table.source, records, table.unit)
    nested.notes = [*table.notes, f"{len(records):,} records in JSON inside cells are the rows"]
    nested.errors = table.errors
    return nested


def _drop_header_rows(table: ForeignTable) -> None:
    """Take the second (with the questions) and third of Qualtrics away, and repeated ones."""
    for n, (_, row) in enumerate(table.rows[:2]):
        if any(cell.startswith(QUALTRICS_MARK) for cell in row.values()):
            table.labels = table.rows[0][1] if n else {}
            table.notes.append(
                f"{n + 1} further header rows (as Qualtrics writes them) were left out"
            )
            del table.rows[: n + 1]
            break
    names = [(number, row) for number, row in table.rows if _is_header(row)]
    if names:
        table.rows = [(number, row) for number, row in table.rows if not _is_header(row)]
        table.notes.append(f"rows left out: {len(names):,} that repeat the names of the columns")


def _is_header(row: Mapping[str, str]) -> bool:
    return all(cell.strip() == name for name, cell in row.items())


def json_response(text: str) -> str:
    """The response in a JSON cell: a text, or the single value of a list or object.

    >>> json_response('{"Q0": "RED RED"}'), json_response('["RED", "BLUE"]')
    ('RED RED', 'RED BLUE')
    >>> json_response("RED")
    'RED'

    Raises:
        ValueError: an object of several fields.
    """
    if text[:1] not in ("[", "{", '"'):
        return text
    try:
        value = parse_json(text)
    except ValueError:
        return text
    while isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    if isinstance(value, dict):
        raise ValueError(f"the cell is JSON with the fields {', '.join(map(str, value))}")
    parts = value if isinstance(value, list) else [value]
    return " ".join(str(cell_text(part)) for part in parts)
