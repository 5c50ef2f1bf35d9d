"""A results folder: `results.json` says what was run, `tables/` holds the tables."""

import csv
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

import pandas as pd

from biml.errors import BimlError, FormatError, UsageError
from biml.io import atomic_write, check_creatable, typed_field, typed_rows
from biml.report.schemas import TABLES, Table

RESULTS_FORMAT = 3
"""Raised whenever the tables have other columns than before."""


@dataclass(frozen=True)
class ModelInfo:
    """One model of a results folder.

    Attributes:
        name: in the column `model` of every table.
        label: for people.
        kind: `network` or `symbolic`.
    """

    name: str
    label: str
    kind: str


@dataclass(frozen=True)
class Exclusion:
    """An experiment, or a part of one, that a model did not take part in.

    Attributes:
        model: its name; `people` where the data lack the task, so that nobody takes part.
        experiment: its name.
        why: the reason.
        part: what was not measured, in words; empty where it is all of the experiment.
    """

    model: str
    experiment: str
    why: str
    part: str = ""


def exclusions_by_reason(exclusions: Iterable[Exclusion]) -> dict[tuple[str, str], list[str]]:
    """For each model and reason the experiments, or parts of them, as a reader is told."""
    places: dict[tuple[str, str], list[str]] = {}
    for one in exclusions:
        part = f" ({one.part})" if one.part else ""
        places.setdefault((one.model, one.why), []).append(f"{one.experiment}{part}")
    return places


@dataclass(frozen=True)
class Results:
    """What a results folder holds.

    Attributes:
        version: of the biml that made it.
        quick: whether it is the minute's version, with fewer passes and samples.
        seed: of all that is random in it.
        models: in the order of their columns; people are not among them.
        experiments: those that ran.
        skipped: which models took no part in which of them or of their parts.
        tables: by name, as `biml.report.schemas` has them.
    """

    version: str
    quick: bool
    seed: int
    models: tuple[ModelInfo, ...]
    experiments: tuple[str, ...]
    skipped: tuple[Exclusion, ...] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict, repr=False)


def is_results(folder: Path) -> bool:
    """Whether the folder is one that `write_results` wrote, in whatever version."""
    return (folder / "results.json").is_file() and (folder / "tables").is_dir()


RESULT_FILES = ("results.json", "tables", "figures", "index.html")
"""What a results folder may hold."""

OS_FILES = (".ds_store", "thumbs.db", "desktop.ini")
"""What file managers leave in any folder, in small letters."""


def check_output_folder(folder: Path, figure_files: Collection[str]) -> None:
    """Make sure that a results folder may be written there, in the place of an earlier one.

    Args:
        figures: the names of files that may be in its folder `figures`.
    Raises:
        UsageError: there is a file, a folder that holds something else, or one that cannot be
            replaced, or nothing can be put there.
    """
    why = _is_fixed_format(folder)
    if why:
        raise UsageError(
            f"{folder} {why}, so that results cannot take its place; name another folder, such as "
            f"{folder / 'reproduction'}"
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the results")
    check_creatable(folder)
    if not folder.exists():
        return
    inside = _relative_files(folder)
    others = [name for name in inside if name not in RESULT_FILES]
    for part, known in (("tables", {f"{name}.csv" for name in TABLES}), ("figures", figure_files)):
        if part in inside and (folder / part).is_dir():
            others += [
                f"{part}/{name}" for name in _relative_files(folder / part) if name not in known
            ]
    if others or (inside and not is_results(folder)):
        raise UsageError(
            f"{folder} holds something else than results ({', '.join((others or inside)[:3])}), "
            "which would be lost; name another folder"
        )


def _is_fixed_format(folder: Path) -> str:
    """Why the folder cannot be replaced; empty where it can."""
    if folder.is_symlink():
        return "is a link"
    if Path.cwd().is_relative_to(folder.resolve()):
        return "is the current folder, or holds it"
    return "is where a disk is mounted" if folder.is_mount() else ""


def write_results(results: Results, folder: Path) -> None:
    """Write everything into a new folder.

    Raises:
        BimlError: it cannot be written.
    """
    for name, contents in _file_contents(results).items():
        with atomic_write(folder / name) as file:
            file.write(contents)


def is_up_to_date(folder: Path, results: Results) -> bool:
    """Whether exactly these results are in a folder."""
    try:
        here = set(_relative_files(folder / "tables"))
        return here == {f"{name}.csv" for name in results.tables} and all(
            (folder / n).read_bytes() == text for n, text in _file_contents(results).items()
        )
    except OSError:
        return False


def read_results(folder: Path) -> Results:
    """Read a results folder.

    Raises:
        UsageError: there is none.
        FormatError: it is damaged, or from a biml with another format.
    """
    path = folder / "results.json"
    if not is_results(folder):
        raise UsageError(
            f"{folder}: not a results folder (no results.json with tables beside it); "
            "`biml reproduce --out FOLDER` makes one"
        )
    try:
        about = json.loads(path.read_bytes())
        made_by = typed_field(about, "format", int)
        if made_by == RESULTS_FORMAT:
            return Results(
                version=typed_field(about, "version", str),
                quick=typed_field(about, "quick", bool),
                seed=typed_field(about, "seed", int),
                models=typed_rows(about, "models", ModelInfo),
                experiments=tuple(map(str, typed_field(about, "experiments", list))),
                skipped=typed_rows(about, "skipped", Exclusion),
                tables=_read_tables(folder / "tables"),
            )
    except ValueError as error:
        raise FormatError(
            f"damaged ({error}); mend it, or run `biml reproduce` again", source=str(path)
        ) from None
    except OSError as error:
        raise BimlError(f"{path}: cannot be read ({error.strerror or error})") from error
    raise FormatError(
        f"has format {made_by}, this biml reads {RESULTS_FORMAT}; run `biml reproduce` again, or use the "
        f"biml that made it ({about.get('version', 'unknown version')})",
        source=str(path),
    )


def coerce_types(frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """The frame with the table's columns in their order and types; others are left out."""
    return pd.DataFrame(
        {name: frame[name].astype(kind) for name, kind in table.columns.items()}  # type: ignore[call-overload]
    ).reset_index(drop=True)


def write_table(table: Table, frame: pd.DataFrame, path: Path) -> None:
    """Write a frame that has the table's columns.

    Raises:
        BimlError: it cannot be written.
    """
    with atomic_write(path) as file:
        file.write(_table_csv(table, frame))


def read_table(table: Table, path: Path) -> pd.DataFrame:
    """Read a table; empty cells are missing numbers, but empty texts.

    Raises:
        FormatError: a column is missing, a number or a flag is none, or two rows have the same
            keys; the message names file and line.
    """
    try:
        # An answer may be empty, or say `NA`.
        cells = pd.read_csv(path, dtype="string", keep_default_na=False, encoding="utf-8")
        missing = [name for name in table.columns if name not in cells]
        if missing:
            raise ValueError(f"lacks the column {missing[0]}")
    except ValueError as error:  # pandas's own errors are kinds of it
        raise FormatError(
            f"damaged ({error}); run `biml reproduce` again", source=str(path)
        ) from None
    columns = {name: _parse_column(cells[name], kind) for name, kind in table.columns.items()}
    frame = pd.DataFrame(columns)
    _check_cells(table, cells, frame, path)
    _check_keys(table, frame, path)
    return coerce_types(frame, table)


def _relative_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.lower() not in OS_FILES)


def _file_contents(results: Results) -> dict[str, bytes]:
    """What is in each file of a results folder; the tables come first."""
    files = {f"tables/{n}.csv": _table_csv(TABLES[n], frame) for n, frame in results.tables.items()}
    about = {"format": RESULTS_FORMAT, **asdict(replace(results, tables={}))}
    del about["tables"]
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    return {**files, "results.json": text.encode()}


def _table_csv(table: Table, frame: pd.DataFrame) -> bytes:
    return coerce_types(frame, table).to_csv(index=False, lineterminator="\n").encode()


def _read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    paths = {name: folder / f"{name}.csv" for name in TABLES}
    return {name: read_table(TABLES[name], p) for name, p in paths.items() if p.is_file()}


def _parse_column(cells: pd.Series, kind: str) -> pd.Series:
    """The values of a column, missing where a cell is empty or cannot be read."""
    if kind == "string":
        return cells
    if kind == "boolean":
        # Spreadsheets write TRUE.
        return cells.str.lower().map({"true": True, "false": False}).astype("boolean")
    numbers = pd.to_numeric(cells.mask(cells == ""), errors="coerce")
    return numbers if kind == "float64" else numbers.mask(numbers % 1 != 0)


_CELL_PROBLEMS = {
    "boolean": "neither True nor False",
    "float64": "no number",
    "Int64": "no whole number",
    "int64": "no whole number",
}


def _check_cells(table: Table, cells: pd.DataFrame, frame: pd.DataFrame, path: Path) -> None:
    for name, kind in table.columns.items():
        wrong = frame[name].isna() & ((cells[name] != "") | (kind == "int64"))
        if wrong.any():
            row = wrong.tolist().index(True)
            raise _damaged_error(
                path, row, f"the {name} '{cells[name].iloc[row]}' is {_CELL_PROBLEMS[kind]}"
            )


def _check_keys(table: Table, frame: pd.DataFrame, path: Path) -> None:
    seen: dict[tuple[str, ...], int] = {}
    keys = frame[list(table.keys)].astype("string").fillna("")
    for row, key in enumerate(keys.itertuples(index=False, name=None) if table.keys else ()):
        first = seen.setdefault(key, row)
        if first != row:
            named = zip(table.keys, key, strict=True)
            about = (
                ", ".join(f"{name} '{value}'" for name, value in named if value) or "empty cells"
            )
            told = f"a second row for {about} (first on line {_line_of_row(path, first)})"
            raise _damaged_error(path, row, told)


def _damaged_error(path: Path, row: int, problem: str) -> FormatError:
    return FormatError(
        f"{problem}; mend it, or run `biml reproduce` again",
        source=str(path),
        line=_line_of_row(path, row),
    )


def _line_of_row(path: Path, row: int) -> int:
    """The line of the file on which a row of its table ends; a cell may have line breaks."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        ends = (reader.line_num for cells in reader if len(cells) > 1 or "".join(cells).strip())
        return next(islice(ends, row + 1, None))
