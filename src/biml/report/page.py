"""The page of a results folder, `index.html`, which is self-contained, and its figure files."""

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from biml.episodes.episode import SIMULATED_PREFIX
from biml.episodes.palette import CSS
from biml.errors import FormatError, UsageError
from biml.io import write_file
from biml.report import figures
from biml.report.answers import (
    OpenEndedSection,
    ResponseSection,
    few_shot_responses,
    open_ended_responses,
    probe_responses,
)
from biml.report.figure_style import TEXT_COLOUR, RenderedFigure, colour
from biml.report.html_tables import (
    ModelColumns,
    Tables,
    label,
    model_columns,
    models_table,
    page_templates,
)
from biml.report.results import Results, exclusion_matrix, read_results
from biml.report.tables import make_tables, measure_tables

PAGE_FILE = "index.html"

FIGURE_FORMATS = ("png", "svg")

FIGURE_FILES = tuple(
    f"{name}.{suffix}" for name in figures.FIGURE_NAMES for suffix in FIGURE_FORMATS
)
"""What may be in the folder `figures`."""

PAPER_TASKS = ("few_shot", "open_ended", "probes")

_FIGURE_ID = re.compile(r'<figure id="(\w+)"')


def write_report(folder: Path) -> Results:
    """Write `index.html` and `figures/` of a results folder from its tables."""
    results = read_results(folder)
    if (folder / "figures").is_symlink():
        raise UsageError(
            f"{folder / 'figures'} is a link, in whose folder figures would be replaced; remove it"
        )
    if not results.tables:
        raise FormatError(
            "there is no table in it; run `biml reproduce` again", source=str(folder / "tables")
        )
    rendered = figures.render_all(dict(results.tables), model_columns(results))
    page = render_page(results, rendered, source=folder / "tables")
    for name in figures.FIGURE_NAMES:
        for suffix in FIGURE_FORMATS:
            path = folder / "figures" / f"{name}.{suffix}"
            if name in rendered:
                write_file(path, getattr(rendered[name], suffix))
            else:
                path.unlink(missing_ok=True)  # of earlier tables
    write_file(folder / PAGE_FILE, page)
    return results


def is_complete(folder: Path) -> bool:
    """Whether the page and the files of all its figures exist."""
    try:
        names = _FIGURE_ID.findall((folder / PAGE_FILE).read_text("utf-8", "replace"))
    except OSError:
        return False
    files = [folder / "figures" / f"{name}.{suffix}" for name in names for suffix in FIGURE_FORMATS]
    return all(file.is_file() for file in files)


def render_page(results: Results, rendered: dict[str, RenderedFigure], source: Path) -> str:
    """The page as HTML; messages about the tables name their folder, `source`."""
    environment, style, script = page_templates()
    return environment.get_template("page.html").render(
        results=results,
        style=Markup(CSS + style),
        script=Markup(script),
        script_digest=b64encode(sha256(script.encode()).digest()).decode(),
        **_template_values(results, rendered, source),
    )


def _template_values(
    results: Results, rendered: dict[str, RenderedFigure], source: Path
) -> dict[str, Any]:
    """The contents of the page; empty where tables are absent."""
    tables, columns = dict(results.tables), model_columns(results)
    try:
        answers, custom = _response_sections(tables, columns)
    except FormatError as error:
        raise FormatError(error.problem, source=str(source / "responses.csv")) from None
    grids = make_tables(tables, columns)
    tasks = [*PAPER_TASKS, *(name for _, name, _ in custom.values())]
    measures = {task: measure_tables(task, tables, columns) for task in tasks}
    statistics = tables.get("statistics", pd.DataFrame(columns=["published", "published_low"]))
    published = statistics[["published", "published_low"]].notna().any(axis=None)
    grids["models"] = models_table(results)
    sections = {
        ("models", "What the models were made with"): grids["models"],
        ("few-shot", "Few-shot task"): "few_shot" in answers
        or grids["few_shot"]
        or grids["by_query"]
        or measures["few_shot"],
        ("open-ended", "Open-ended task"): "open_ended" in answers
        or grids["open_ended"]
        or measures["open_ended"],
        ("probes", "Probes"): "probes" in answers or grids["probes"] or measures["probes"],
        **{(id, title): True for id, (title, _, _) in custom.items()},
        ("error-rates", "SCAN and COGS"): grids["error_rates"] or "errors_by_length" in rendered,
        ("likelihood", "Likelihood"): grids["likelihoods"] or grids["likelihood_details"],
        ("accuracy", "Exact matches"): grids["accuracies"],
        ("published", "Published statistics" if published else "Statistics"): grids["published"],
        ("training", "Training"): "learning_curves" in rendered,
        ("missing", "Excluded measurements"): results.exclusions,
    }
    only_benchmarks = bool(grids["error_rates"]) and results.experiments == ("benchmarks",)
    every = [*answers.values(), *(section for *_, section in custom.values())]
    styles = {rule: None for section in every for rule in section.palette.css.splitlines()}
    return {
        "only_benchmarks": only_benchmarks,
        "heading": "SCAN and COGS" if only_benchmarks else "People and models, side by side",
        "columns": columns,
        "simulated": _simulated_participants(tables),
        "labels": {column.name: column.label for column in columns} | {"people": "Every model"},
        "hues": [colour(column) if column.number else "currentColor" for column in columns],
        "colours": Markup("\n".join(styles)),
        "sections": {id: title for (id, title), content in sections.items() if content},
        "figures": {name: (of, Markup(inline_svg(of))) for name, of in rendered.items()},
        "answers": answers,
        "others": custom,
        "grids": grids,
        "measures": measures,
        "missing": exclusion_matrix(results.exclusions),
    }


def _simulated_participants(tables: Tables) -> int:
    """The number of participants whose responses models gave."""
    with_names = [table for table in tables.values() if "participant" in table]
    names = {str(name) for table in with_names for name in table["participant"].dropna().unique()}
    return sum(name.startswith(SIMULATED_PREFIX) for name in names)


def _response_sections(
    tables: Tables, columns: ModelColumns
) -> tuple[
    dict[str, ResponseSection | OpenEndedSection], dict[str, tuple[str, str, ResponseSection]]
]:
    """Responses of the paper's tasks by task; title, task and responses of others by id."""
    table = tables.get("responses", pd.DataFrame({"task": []}))
    by_task = {str(task): rows for task, rows in table.groupby("task", sort=False)}
    makers: dict[str, Callable[..., ResponseSection | OpenEndedSection]] = {
        "few_shot": few_shot_responses,
        "open_ended": open_ended_responses,
        "probes": probe_responses,
    }
    answers = {
        task: make(by_task[task], columns) for task, make in makers.items() if task in by_task
    }
    names = [task for task in by_task if task not in makers]
    custom = {
        f"task-{number}": (
            label(task).capitalize() or "Responses",
            task,
            few_shot_responses(by_task[task], columns),
        )
        for number, task in enumerate(names, 1)
    }
    return answers, custom


def inline_svg(figure: RenderedFigure) -> str:
    """The SVG as part of a page: in the colour of its text, without background and size."""
    text = figure.svg.decode().replace(TEXT_COLOUR, "currentColor")
    text = text.replace("fill: #ffffff", "fill: none")
    text = text[text.index("<svg") :].replace("xlink:href", "href")
    # Style rules would hold for the whole page, which has its own for figures.
    text = re.sub(
        r"<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL
    )
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', _svg_opening, text, count=1)
    # Ids recur in every figure: keep those that are referenced, with the figure's name.
    used = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', text))
    text = re.sub(r' id="([\w.-]+)"', lambda id: id[0] if id[1] in used else "", text)
    for own in used:
        text = re.sub(rf'(url\(#|href="#| id="){re.escape(own)}', rf"\1{figure.name}-{own}", text)
    # Hundredths of a point are finer than any screen.
    text = re.sub(r'="[^"]*"', lambda of: re.sub(r"(\d\.\d\d)\d+", r"\1", of[0]), text)
    return re.sub(r"\s*\n\s*", "\n", text)


def _svg_opening(match: re.Match[str]) -> str:
    width = float(match[1].split()[2]) * 4 / 3
    return (
        f'<svg viewBox="{match[1]}" role="img" aria-hidden="true" '
        f'style="width:{width:.0f}px;min-width:{min(width, 560):.0f}px">'
    )
