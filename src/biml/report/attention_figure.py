"""The figure of `biml attention`: a panel for each layer and head."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from biml.evaluation.trace import QUERY, Trace
from biml.report.figure_style import STYLE

PANELS_IN_ROW = 8


def attention_figure(
    trace: Trace,
    names: Sequence[str],
    heads: Sequence[int] | None = None,
    *,
    by_token: bool = False,
) -> Figure:
    """Draw attention from the tokens in columns to what is in rows.

    Attention to the sources is summed over each study example unless `by_token`.

    Args:
        names: of attention in the trace, such as `decoder.1.cross_attention`.
        heads: by default all.
    """
    panels = [(name, head) for name in names for head in heads or range(len(trace[name]))]
    drawn = [_panel(trace, name, head, by_token) for name, head in panels]
    n_columns = min(PANELS_IN_ROW, len(heads or trace[names[0]]))
    n_rows = -(-len(panels) // n_columns)
    widest = max(len(columns) for _, columns, _ in drawn)
    tallest = max(len(rows) for _, _, rows in drawn)
    longest = max(len(label) for _, _, rows in drawn for label in rows)
    largest = max(weights.max() for weights, _, _ in drawn)
    width = 0.07 * longest + n_columns * max(1.1, 0.2 * widest + 0.2) + 0.6
    height = n_rows * (0.19 * tallest + 0.9) + 0.3
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.suptitle(f"{' '.join(trace.query)} → {' '.join(trace.response[:-1])}", fontsize=9)
        axes = figure.subplots(n_rows, n_columns, squeeze=False)
        for unused in axes.flat[len(panels) :]:
            unused.set_axis_off()
        for number, (name, head) in enumerate(panels):
            axis, (weights, columns, rows) = axes.flat[number], drawn[number]
            image = axis.imshow(weights.T, cmap="Blues", vmin=0, vmax=largest, aspect="auto")
            is_first = number % n_columns == 0
            axis.set_xticks(range(len(columns)), columns, rotation=90)
            axis.set_yticks(range(len(rows)), rows if is_first else [])
            axis.tick_params(length=0)
            title = f"{name if is_first else ''}\nhead {head}"
            axis.set_title(title, loc="left", fontweight="normal", fontsize=8)
        figure.colorbar(image, ax=axes, label="attention", shrink=min(1, 2 / height), aspect=15)
    return figure


def _panel(
    trace: Trace, name: str, head: int, by_token: bool
) -> tuple[Float[np.ndarray, "column row"], tuple[str, ...], tuple[str, ...]]:
    """The weights, and the labels of columns and rows."""
    weights, rows = trace[name][head], trace.keys(name)
    if not by_token and trace.examples and rows == trace.tokens("encoder"):
        weights, rows = attention_to_examples(trace, weights)
    return weights, trace.tokens(name), rows


def attention_to_examples(
    trace: Trace, weights: Float[np.ndarray, "column source"]
) -> tuple[Float[np.ndarray, "column row"], tuple[str, ...]]:
    """Attention to each study example, then to the query where it is read beside them."""
    by_example = trace.by_example(weights)
    if not any(token.example == QUERY and token.label in trace.query for token in trace.sources):
        return by_example, trace.examples
    rest = weights.sum(1, keepdims=True) - by_example.sum(1, keepdims=True)
    return np.concatenate((by_example, rest), 1), (*trace.examples, "query")
