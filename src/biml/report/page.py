"""The page of a results folder: `index.html`, which needs nothing else, and the figures' files."""

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from biml.episodes.palette import CSS
from biml.errors import FormatError
from biml.io import atomic_write
from biml.report import figures
from biml.report.answers import (
    OpenEndedSection,
    ResponseSection,
    few_shot_responses,
    open_ended_responses,
    probe_responses,
)
from biml.report.figures import RenderedFigure, colour, inline_svg
from biml.report.html_tables import ModelColumn, format_number, label, model_columns
from biml.report.results import Results, exclusion_matrix, read_results
from biml.report.tables import TABLE_FUNCTIONS

PAGE_FILE = "index.html"

FIGURE_FORMATS = ("png", "svg")

FIGURE_FILES = tuple(
    f"{name}.{ending}" for name in figures.FIGURE_NAMES for ending in FIGURE_FORMATS
)
"""What may be in the folder `figures`."""

_FIGURE_ID = re.compile(r'<figure id="(\w+)"')


def write_report(folder: Path) -> None:
    """Write `index.html` and `figures/` of a results folder from its tables.

    Raises:
        UsageError: the folder holds no results.
        FormatError: they are damaged, from another format, or there is no table at all.
        BimlError: something cannot be written.
    """
    results = read_results(folder)
    if not results.tables:
        raise FormatError(
            "there is no table in it; run `biml reproduce` again", source=str(folder / "tables")
        )
    drawn = figures.render_all(dict(results.tables), model_columns(results))
    made = render_page(results, drawn, source=folder / "tables")
    for name in figures.FIGURE_NAMES:
        for ending in FIGURE_FORMATS:
            path = folder / "figures" / f"{name}.{ending}"
            if name in drawn:
                with atomic_write(path) as file:
                    file.write(getattr(drawn[name], ending))
            else:
                # Of tables that were there before.
                path.unlink(missing_ok=True)
    with atomic_write(folder / PAGE_FILE) as file:
        file.write(made.encode())


def is_complete(folder: Path) -> bool:
    """Whether the page is there, and the files of every figure on it."""
    try:
        shown = _FIGURE_ID.findall((folder / PAGE_FILE).read_text("utf-8", "replace"))
    except OSError:
        return False
    files = [folder / "figures" / f"{name}.{ending}" for name in shown for ending in FIGURE_FORMATS]
    return all(file.is_file() for file in files)


def render_page(results: Results, figures: dict[str, RenderedFigure], source: Path) -> str:
    """The page as HTML.

    Args:
        drawn: the figures, by name.
        source: where the tables are, for messages.
    Raises:
        FormatError: the study examples in the responses cannot be read.
    """
    templates = PackageLoader("biml.report", "templates")
    environment = Environment(
        loader=templates,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = format_number
    script = templates.get_source(environment, "page.js")[0]
    style = templates.get_source(environment, "page.css")[0]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        results=results,
        style=Markup(CSS + style),
        script=Markup(script),
        script_digest=digest,
        **_template_values(results, figures, source),
    )


def _template_values(
    results: Results, drawn: dict[str, RenderedFigure], source: Path
) -> dict[str, Any]:
    """What the template shows; empty where the tables are absent."""
    tables, everyone = dict(results.tables), model_columns(results)
    try:
        answers, others = _response_sections(tables, everyone), _custom_tasks(tables, everyone)
    except FormatError as error:
        raise FormatError(error.problem, source=str(source / "responses.csv")) from None
    grids = {make.__name__: make(tables, everyone) for make in TABLE_FUNCTIONS}
    shows = {
        ("few-shot", "Few-shot task"): "few_shot" in answers
        or grids["few_shot"]
        or grids["by_query"],
        ("open-ended", "Open-ended task"): "open_ended" in answers or grids["open_ended"],
        ("probes", "Probes"): "probes" in answers or grids["probes"],
        **{(id, title): True for id, (title, _) in others.items()},
        ("likelihood", "Likelihood"): grids["likelihoods"] or grids["likelihood_details"],
        ("accuracy", "Exact answers"): grids["accuracies"],
        ("published", "Published figures"): grids["published"],
        ("training", "Training"): "learning_curves" in drawn,
        ("missing", "What is missing"): results.exclusions,
    }
    everything = [*answers.values(), *(task for _, task in others.values())]
    styles = {rule: None for task in everything for rule in task.palette.css.splitlines()}
    return {
        "columns": everyone,
        "labels": {column.name: column.label for column in everyone},
        "hues": [colour(column) if column.number else "currentColor" for column in everyone],
        "colours": Markup("\n".join(styles)),
        "sections": {id: title for (id, title), content in shows.items() if content},
        "figures": {name: (figure, Markup(inline_svg(figure))) for name, figure in drawn.items()},
        "answers": answers,
        "others": others,
        "grids": grids,
        "missing": exclusion_matrix(results.exclusions),
    }


def _response_sections(
    tables: dict[str, pd.DataFrame], everyone: tuple[ModelColumn, ...]
) -> dict[str, ResponseSection | OpenEndedSection]:
    rows = _by_task(tables)
    return {task: make(rows[task], everyone) for task, make in _SECTIONS.items() if task in rows}


def _custom_tasks(
    tables: dict[str, pd.DataFrame], everyone: tuple[ModelColumn, ...]
) -> dict[str, tuple[str, ResponseSection]]:
    """By section the title and the answers of each task that is none of the paper's."""
    rows = {task: found for task, found in _by_task(tables).items() if task not in _SECTIONS}
    return {
        f"task-{n}": (label(task).capitalize() or "Answers", few_shot_responses(found, everyone))
        for n, (task, found) in enumerate(rows.items(), 1)
    }


def _by_task(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    table = tables.get("responses")
    groups = () if table is None else table.groupby("task", sort=False)
    return {str(task): rows for task, rows in groups}


_SECTIONS: dict[str, Callable[..., ResponseSection | OpenEndedSection]] = {
    "few_shot": few_shot_responses,
    "open_ended": open_ended_responses,
    "probes": probe_responses,
}
"""What is made of the answers of each of the paper's tasks."""
