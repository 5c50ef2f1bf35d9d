"""The figure of `biml ask`: kinds of answers to each string, for each model."""

import matplotlib
import pandas as pd
from matplotlib.axes import Axes

from biml.report.figure_style import GREY, STYLE, RenderedFigure, label_rows, render, subplots

_BARS = {"gold": "#0072B2", "other": "#56B4E9", "none": "#D55E00"}
"""Colours of what an answer is."""

_LABELS = {"gold": "gold reading", "other": "other reading", "none": "no reading"}

_COLUMNS = 3

CAPTION = (
    "Percent of answers over remappings that are the gold reading, another reading that the study "
    "examples allow, or none. Ticks: gold readings for each symbol of the held-out word, which "
    "coincide for a systematic learner."
)


def strings_figure(answers: pd.DataFrame) -> RenderedFigure:
    """Draw the answers of `biml.evaluation.strings.ask`, with a column `model` more."""
    models = list(dict.fromkeys(answers["model"]))
    queries = list(dict.fromkeys(answers["query"]))
    with matplotlib.rc_context(STYLE):
        figure, panels = subplots(len(models), 2.8, 0.6 + 0.21 * len(queries), columns=_COLUMNS)
        figure.set_figwidth(figure.get_figwidth() + 2.5)
        for number, (panel, model) in enumerate(zip(panels, models, strict=True)):
            _draw(panel, answers[answers["model"] == model], queries)
            if number % _COLUMNS:
                panel.set_yticklabels([])
            panel.set_title(model, loc="left")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        return render(figure, "strings", "Answers to strings", CAPTION)


def _draw(panel: Axes, answers: pd.DataFrame, queries: list[str]) -> None:
    shares = pd.crosstab(answers["query"], answers["answer"], normalize="index") * 100
    left = pd.Series(0.0, index=queries)
    for name, colour in _BARS.items():
        widths = shares.get(name, pd.Series(dtype=float)).reindex(queries).fillna(0.0)
        panel.barh(range(len(queries)), widths, 0.7, left, color=colour, label=_LABELS[name])
        left += widths
    is_gold = 100.0 * (answers["answer"] == "gold")
    by_symbol = is_gold.groupby([answers["query"], answers["symbol"]]).mean()
    rows = [queries.index(query) for query, _ in by_symbol.index]
    panel.plot(
        by_symbol.to_numpy(),
        rows,
        "|",
        color="black",
        markersize=7,
        label="gold, by held-out symbol",
    )
    label_rows(panel, queries)
    panel.set_xlim(-2, 102)
    panel.set_xlabel("percent of answers")
    panel.grid(axis="y", visible=False)
    panel.tick_params(axis="x", color=GREY)
