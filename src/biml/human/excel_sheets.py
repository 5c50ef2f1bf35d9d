"""Sheets of Excel files as texts, whatever size the files give them."""

import io
import zipfile
from collections.abc import Iterable

from biml.analysis.typed_tables import cell_text
from biml.errors import BimlError, FormatError

MAX_EXCEL_BYTES = 2**29
"""That the parts of a file unpack to."""

NumberedRows = list[tuple[int, list[str]]]
"""Rows that are not empty, with their numbers."""


def is_excel(data: bytes, source: str) -> bool:
    """Whether a zip archive is an Excel file; a FormatError if it unpacks to too much."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
            found = "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return False
    if found and size > MAX_EXCEL_BYTES:
        problem = f"unpacks to {size / 1e6:,.0f} MB; save the sheet with the responses as CSV"
        raise FormatError(problem, source=source)
    return found


def read_sheets(data: bytes, source: str) -> list[tuple[str, NumberedRows]]:
    """The names and rows of all sheets.

    Raises:
        BimlError: openpyxl is not installed.
        FormatError: the file is damaged.
    """
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise BimlError(
            f"{source}: an Excel file, which needs openpyxl to be read: pip install openpyxl; or "
            "save the sheet as CSV"
        ) from None
    sheets = []
    try:
        for sheet in load_workbook(io.BytesIO(data), read_only=True, data_only=True).worksheets:
            sheet.reset_dimensions()  # immense where a cell far away was formatted
            rows = enumerate(sheet.iter_rows(values_only=True), 1)
            sheets.append((sheet.title, [(n, texts) for n, row in rows if (texts := _texts(row))]))
    except Exception as error:  # openpyxl has no common class of errors for damaged files
        raise FormatError(f"a damaged Excel file ({error})", source=source) from None
    return sheets


def _texts(row: Iterable[object]) -> list[str]:
    """The cells of a row up to the last one that is filled."""
    texts = [str(cell_text(cell)).strip() for cell in row]
    while texts and not texts[-1]:
        texts.pop()
    return texts
