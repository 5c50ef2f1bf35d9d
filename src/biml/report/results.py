"""Results folders: `results.json` describes the run, `tables/` holds its tables."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd

from biml.analysis.typed_tables import read_typed_table, table_bytes
from biml.errors import BimlError, FormatError, UsageError
from biml.io import atomic_write, check_creatable, typed_field, typed_rows
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

OS_FILES = (".ds_store", "thumbs.db", "desktop.ini")
"""Lower-case names of files that file managers leave in any folder."""


@dataclass(frozen=True)
class ModelInfo:
    """A model of the tables.

    Attributes:
        label: for readers.
        kind: `network` or `symbolic`.
        fitted_to: tasks whose human responses it was trained on, with blanks between.
    """

    name: str
    label: str
    kind: str
    fitted_to: str = ""


@dataclass(frozen=True)
class Exclusion:
    """A measurement that was not made for a model.

    Attributes:
        model: its name; `people` where the data lack the task, so that no model is measured.
        experiment: the experiment that the measurement belongs to.
        measurement: its description; empty for the whole experiment (format 3 only).
        reason: completes the sentence "the model …"; of people, a sentence of its own.
    """

    model: str
    experiment: str
    measurement: str
    reason: str

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
class _ModelInFormat3:
    name: str
    label: str
    kind: str


@dataclass(frozen=True)
class _SkippedInFormat3:
    model: str
    experiment: str
    why: str
    part: str


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
    """The contents of a results folder.

    Attributes:
        version: of the biml that wrote it.
        quick: whether it was made with fewer repeats and samples.
        seed: of everything random.
        models: in the order of their columns, without people.
        experiments: names of those that ran.
        exclusions: measurements that were not made, with reasons.
        tables: by name, as in `biml.report.schemas`.
    """

    version: str
    quick: bool
    seed: int
    models: tuple[ModelInfo, ...]
    experiments: tuple[str, ...]
    exclusions: tuple[Exclusion, ...] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict, repr=False)


def is_results(folder: Path) -> bool:
    """Whether `write_results` wrote the folder, in whatever version."""
    return (folder / "results.json").is_file() and (folder / "tables").is_dir()


def check_output_folder(folder: Path, figure_files: Collection[str]) -> None:
    """Make sure that results may be written to a folder, over earlier results or as a new one.

    Args:
        figure_files: names that may be in its folder `figures`.
    Raises:
        UsageError: it is a file, holds something else, or cannot be replaced or created.
    """
    if problem := _replacement_problem(folder):
        raise UsageError(
            f"{folder} {problem}, so that results cannot replace it; name another folder, such as "
            f"{folder / 'reproduction'}"
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the results")
    check_creatable(folder)
    if not folder.exists():
        return
    names = _file_names(folder)
    foreign = [name for name in names if name not in RESULT_FILES]
    table_files = {f"{name}.csv" for name in (*TABLES, *FORMAT_3_TABLES.values())}
    for part, known in (("tables", table_files), ("figures", figure_files)):
        if part in names and (folder / part).is_dir():
            inside = _file_names(folder / part)
            foreign += [f"{part}/{name}" for name in inside if name not in known]
    if foreign or (names and not is_results(folder)):
        raise UsageError(
            f"{folder} holds something else than results ({', '.join((foreign or names)[:3])}), "
            "which would be lost; name another folder"
        )


def _replacement_problem(folder: Path) -> str:
    """Why the folder cannot be replaced, or an empty text."""
    if folder.is_symlink():
        return "is a link"
    if Path.cwd().is_relative_to(folder.resolve()):
        return "is the current folder, or holds it"
    return "is a mount point" if folder.is_mount() else ""


def write_results(results: Results, folder: Path) -> None:
    """Write everything into a new folder."""
    for name, contents in _file_contents(results).items():
        with atomic_write(folder / name) as file:
            file.write(contents)


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
        UsageError: it is none.
        FormatError: it is damaged, or of another format.
    """
    path = folder / "results.json"
    if not is_results(folder):
        raise UsageError(
            f"{folder}: not a results folder (no results.json with tables beside it); "
            "`biml reproduce --out FOLDER` makes one"
        )
    try:
        about = json.loads(path.read_bytes())
        results_format = typed_field(about, "format", int)
        if results_format in (3, RESULTS_FORMAT):
            return Results(
                version=typed_field(about, "version", str),
                quick=typed_field(about, "quick", bool),
                seed=typed_field(about, "seed", int),
                models=_read_models(about, results_format),
                experiments=tuple(map(str, typed_field(about, "experiments", list))),
                exclusions=_read_exclusions(about, results_format),
                tables=_read_tables(folder / "tables", results_format),
            )
    except ValueError as error:
        raise FormatError(
            f"damaged ({error}); mend it, or run `biml reproduce` again", source=str(path)
        ) from None
    except OSError as error:
        raise BimlError(f"{path}: cannot be read ({error.strerror or error})") from error
    raise FormatError(
        f"has format {results_format}, this biml reads 3 and {RESULTS_FORMAT}; run `biml reproduce`"
        f" again, or use the biml that made it ({about.get('version', 'unknown version')})",
        source=str(path),
    )


def _read_models(about: object, results_format: int) -> tuple[ModelInfo, ...]:
    if results_format == RESULTS_FORMAT:
        return typed_rows(about, "models", ModelInfo)
    models = typed_rows(about, "models", _ModelInFormat3)
    return tuple(ModelInfo(m.name, m.label, m.kind) for m in models)


def _read_exclusions(about: object, results_format: int) -> tuple[Exclusion, ...]:
    if results_format == RESULTS_FORMAT:
        return typed_rows(about, "exclusions", Exclusion)
    skipped = typed_rows(about, "skipped", _SkippedInFormat3)
    return tuple(Exclusion(s.model, s.experiment, s.part, s.why) for s in skipped)


def _read_tables(folder: Path, results_format: int) -> dict[str, pd.DataFrame]:
    old = results_format == 3
    files = {name: FORMAT_3_TABLES.get(name, name) if old else name for name in TABLES}
    paths = {name: folder / f"{file}.csv" for name, file in files.items()}
    return {name: read_table(TABLES[name], p, old) for name, p in paths.items() if p.is_file()}


def coerce_types(frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """The frame with the columns of the table in their order and types, without others."""
    return pd.DataFrame(
        {name: frame[name].astype(kind) for name, kind in table.columns.items()}  # type: ignore[call-overload]
    ).reset_index(drop=True)


def write_table(table: Table, frame: pd.DataFrame, path: Path) -> None:
    """Write a frame that has the columns of the table."""
    with atomic_write(path) as file:
        file.write(_to_csv(table, frame))


def read_table(table: Table, path: Path, format_3: bool = False) -> pd.DataFrame:
    """Read a table; empty cells are missing numbers, but empty texts.

    Raises:
        FormatError: a column is missing, a cell is not of its column's type, or two rows have
            the same keys; the message names file and line.
    """
    aliases = {
        old: new for new, old in FORMAT_3_COLUMNS.items() if format_3 and new in table.columns
    }
    read = read_typed_table(
        path,
        table.columns,
        required=table.columns,
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
    files = {f"tables/{n}.csv": _to_csv(TABLES[n], frame) for n, frame in results.tables.items()}
    about = {"format": RESULTS_FORMAT, **asdict(replace(results, tables={}))}
    del about["tables"]
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    return {**files, "results.json": text.encode()}


def _to_csv(table: Table, frame: pd.DataFrame) -> bytes:
    return table_bytes(coerce_types(frame, table), ".csv")
