"""Results folders: `results.json` describes the run, `tables/` holds its tables."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from biml.analysis.typed_tables import read_typed_table, table_bytes
from biml.episodes.data_use import TASK_DATA
from biml.errors import FormatError, UsageError
from biml.evaluation.intervals import mean_interval, wilson_interval
from biml.io import OS_FILES, check_replaceable, read_json, typed_field, write_file
from biml.report.schemas import (
    FORMAT_3_CELLS,
    FORMAT_3_COLUMNS,
    FORMAT_3_TABLES,
    PEOPLE,
    TABLES,
    Table,
)

RESULTS_FORMAT = 4
"""Raised whenever tables or columns change; 3 (biml 0.1.0) is still read."""

RESULT_FILES = ("results.json", "tables", "figures", "index.html")

T = TypeVar("T")


@dataclass(frozen=True)
class ModelInfo:
    """A model of the tables."""

    name: str
    label: str  # for readers
    kind: str  # `network`, `symbolic` or `language model`
    fitted_to: str = ""  # tasks whose human responses it was trained on or fitted to
    chosen_by: str = ""  # tasks by whose scores it was chosen; both with blanks between
    architecture: str = ""
    trained_on: str = ""  # for readers

    @property
    def data_use(self) -> str:
        """What it was trained on, fitted to and chosen by, in words."""
        fitted_to, chosen_by = (
            ", ".join(TASK_DATA.get(task, task) for task in tasks.split())
            for tasks in (self.fitted_to, self.chosen_by)
        )
        parts = {"trained on": self.trained_on, "trained on or fitted to": fitted_to}
        parts["chosen by"] = chosen_by
        return "; ".join(f"{use} {of}" for use, of in parts.items() if of) or "fitted to nothing"


@dataclass(frozen=True)
class Exclusion:
    """A measurement that was not made for a model, or for `people` if the data lack its task."""

    model: str
    experiment: str
    measurement: str  # empty for the whole experiment (format 3 only)
    reason: str  # completes the sentence "the model …"; for people, a sentence of its own

    @property
    def column(self) -> str:
        """Experiment and measurement in one text."""
        return f"{self.experiment}: {self.measurement}" if self.measurement else self.experiment

    @property
    def sentence(self) -> str:
        """The reason as a sentence."""
        text = self.reason if self.model == PEOPLE else f"the model {self.reason}"
        return f"{text[:1].upper()}{text[1:]}."


@dataclass(frozen=True)
class ExclusionMatrix:
    """Models in rows, measurements in columns; a cell is the number of its reason, 0 for none."""

    columns: tuple[str, ...]
    rows: dict[str, tuple[int, ...]]
    reasons: tuple[str, ...]


def exclusion_matrix(exclusions: Iterable[Exclusion]) -> ExclusionMatrix:
    """The exclusions as one matrix, with each reason numbered from 1."""
    every = list(exclusions)
    columns = tuple(dict.fromkeys(one.column for one in every))
    reasons = tuple(dict.fromkeys(one.sentence for one in every))
    numbers = {(one.model, one.column): reasons.index(one.sentence) + 1 for one in every}
    models = dict.fromkeys(one.model for one in every)
    rows = {model: tuple(numbers.get((model, c), 0) for c in columns) for model in models}
    return ExclusionMatrix(columns, rows, reasons)


@dataclass(frozen=True)
class Results:
    """The contents of a results folder; the tables are those of `biml.report.schemas`."""

    version: str  # of the biml that wrote it
    quick: bool  # with fewer repeats and samples
    seed: int
    models: tuple[ModelInfo, ...]  # in the order of their columns, without people
    experiments: tuple[str, ...]
    exclusions: tuple[Exclusion, ...] = ()
    imported: bool = False  # people's responses are those of a custom experiment
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict, repr=False)
    edited: tuple[str, ...] = ()
    """Names of tables that were changed, added or removed since the folder was written."""


def is_results(folder: Path) -> bool:
    """Whether `write_results` wrote the folder, in whatever version."""
    return (folder / "results.json").is_file() and (folder / "tables").is_dir()


def check_output_folder(folder: Path, figure_files: Collection[str]) -> None:
    """Raise UsageError unless results may be written to a new folder or replace earlier ones.

    `figure_files` may be in its folder `figures`; any file that is not of results would be lost.
    """
    known = {*RESULT_FILES, *(f"figures/{name}" for name in figure_files)}
    known |= {f"tables/{name}.csv" for name in (*TABLES, *FORMAT_3_TABLES.values())}
    complete = is_results(folder) or not folder.is_dir()
    check_replaceable(folder, lambda path: complete and path in known, "results")


def write_results(results: Results, folder: Path) -> None:
    """Write everything into a new folder."""
    for name, contents in _file_contents(results).items():
        write_file(folder / name, contents)


def is_up_to_date(folder: Path, results: Results) -> bool:
    """Whether a folder holds exactly these results."""
    try:
        return set(_file_names(folder / "tables")) == {f"{n}.csv" for n in results.tables} and all(
            (folder / n).read_bytes() == text for n, text in _file_contents(results).items()
        )
    except OSError:
        return False


def read_results(folder: Path) -> Results:
    """Read a results folder of this format or of format 3.

    Raises:
        UsageError: it is no results folder.
        FormatError: it is damaged or of another format.
    """
    path = folder / "results.json"
    if not is_results(folder):
        raise UsageError(
            f"{folder}: not a results folder (no results.json with tables beside it); "
            "`biml reproduce --out FOLDER` makes one"
        )
    about = read_json(path)
    try:
        results_format = typed_field(about, "format", int)
        old = results_format == 3
        key, names = ("skipped", "part why") if old else ("exclusions", "measurement reason")
        if old or results_format == RESULTS_FORMAT:
            tables = _read_tables(folder / "tables", old)
            edited = _edited(folder / "tables", tables, about.get("digests"))
            return Results(
                version=typed_field(about, "version", str),
                quick=typed_field(about, "quick", bool),
                seed=typed_field(about, "seed", int),
                models=_read_rows(
                    about,
                    "models",
                    ModelInfo,
                    "name label kind",
                    "" if old else "fitted_to chosen_by architecture trained_on",
                ),
                experiments=tuple(map(str, typed_field(about, "experiments", list))),
                exclusions=_read_rows(about, key, Exclusion, f"model experiment {names}"),
                imported=about.get("imported") is True,
                tables=with_intervals(tables),
                edited=edited,
            )
    except ValueError as error:
        raise FormatError(
            f"damaged ({error}); mend it, or run `biml reproduce` again", source=str(path)
        ) from None
    raise FormatError(
        f"has format {results_format}, this biml reads 3 and {RESULTS_FORMAT}; run `biml reproduce`"
        f" again, or use the biml that made it ({about.get('version', 'unknown version')})",
        source=str(path),
    )


def _read_rows(
    about: object, key: str, kind: type[T], names: str, optional: str = ""
) -> tuple[T, ...]:
    found = []
    for row in typed_field(about, key, list):
        required = [typed_field(row, name, str) for name in names.split()]
        more = {name: typed_field(row, name, str) for name in optional.split() if name in row}
        found.append(kind(*required, **more))
    return tuple(found)


def _read_tables(folder: Path, format_3: bool) -> dict[str, pd.DataFrame]:
    files = {name: FORMAT_3_TABLES.get(name, name) if format_3 else name for name in TABLES}
    paths = {name: folder / f"{file}.csv" for name, file in files.items()}
    return {n: read_table(TABLES[n], path, format_3) for n, path in paths.items() if path.is_file()}


def with_intervals(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables with the intervals that follow from counts, where earlier results lack them.

    Participants are unknown there, so that all responses count as independent.
    """
    shares: dict[str, Callable[[Any], tuple[float, float]]] = {
        "response_patterns": lambda row: wilson_interval(row.percent / 100, row.n),
        "item_accuracies": lambda row: wilson_interval(row.accuracy / 100, row.n),
        "accuracies": lambda row: mean_interval(row.mean, row.sd, row.n),
    }
    found = dict(tables)
    for name, interval in shares.items():
        frame = found.get(name, pd.DataFrame({"low": [1.0]}))
        if frame["low"].isna().all() and len(frame):
            numbers = frame.astype({"n": "float64"}).itertuples(index=False)
            found[name] = frame.assign(**{"low": 0.0, "high": 0.0})
            found[name][["low", "high"]] = list(map(interval, numbers))
    return found


def _edited(folder: Path, tables: Mapping[str, pd.DataFrame], digests: object) -> tuple[str, ...]:
    """The tables whose contents differ from their digests; earlier results have none.

    A table that a spreadsheet has saved without a change is read, and would be written, as before;
    with the columns that its file has.
    """
    if digests is None:
        return ()
    if not isinstance(digests, dict):
        raise ValueError("'digests' is not an object")
    found = {}
    for name, frame in tables.items():
        header = (folder / f"{name}.csv").read_text("utf-8-sig").partition("\n")[0]
        columns = [column for column in TABLES[name].columns if column in header.strip().split(",")]
        found[name] = sha256(_to_csv(TABLES[name], frame, columns)).hexdigest()
    return tuple(n for n in sorted({*found, *digests}) if found.get(n) != digests.get(n))


def coerce_types(frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """The frame with the columns of the table in their order and types, without others."""
    frame = frame.assign(**{name: None for name in table.optional if name not in frame})
    return pd.DataFrame(
        {name: frame[name].astype(kind) for name, kind in table.columns.items()}  # type: ignore[call-overload]
    ).reset_index(drop=True)


def write_table(table: Table, frame: pd.DataFrame, path: Path) -> None:
    """Write a frame that has the columns of the table."""
    write_file(path, _to_csv(table, frame))


def read_table(table: Table, path: Path, format_3: bool = False) -> pd.DataFrame:
    """Read a table; empty cells are missing numbers, but empty texts.

    Raises:
        FormatError: a column is missing, a cell has another type, or two rows have the same keys.
    """
    aliases = {
        old: new for new, old in FORMAT_3_COLUMNS.items() if format_3 and new in table.columns
    }
    read = read_typed_table(
        path,
        table.columns,
        required=[name for name in table.columns if name not in table.optional],
        aliases=aliases,
        remedy="; the table is damaged: correct it, or run `biml reproduce` again",
    )
    read.check_keys(table.keys)
    frame = read.frame
    if format_3:
        frame = frame.replace({c: of for c, of in FORMAT_3_CELLS.items() if c in frame})
    return coerce_types(frame, table)


def _file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.lower() not in OS_FILES)


def _file_contents(results: Results) -> dict[str, bytes]:
    """The files of a results folder with their contents, tables first."""
    tables = {name: _to_csv(TABLES[name], frame) for name, frame in results.tables.items()}
    about = {"format": RESULTS_FORMAT, **asdict(replace(results, tables={}))}
    del about["tables"], about["edited"]
    about["digests"] = {name: sha256(text).hexdigest() for name, text in tables.items()}
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    files = {f"tables/{name}.csv": text for name, text in tables.items()}
    return {**files, "results.json": text.encode()}


def _to_csv(table: Table, frame: pd.DataFrame, columns: Sequence[str] = ()) -> bytes:
    """The contents of a table's file, with all of its columns unless others are given."""
    return table_bytes(coerce_types(frame, table)[list(columns or table.columns)], ".csv")
