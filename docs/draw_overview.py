"""Draw the picture of the README: study examples, a query, and the responses of people and a model.

biml data download human
python docs/draw_overview.py            # writes docs/images/overview-{light,dark}.svg
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

import biml
from biml.analysis.people import people_few_shot
from biml.analysis.scoring import sample_few_shot
from biml.grammar.meta_grammar import GOLD_STUDY
from biml.paths import DataFolders

MODEL = "net-BIML-top"
QUERIES = ("3 after DAX", "DAX surround 3 after 1 thrice")
N_RESPONSES = 2
# The published picture's colours of the canonical names (paper, Fig. 2).
COLOURS = {"1": "#e8504c", "2": "#33a852", "3": "#4285f4", "DAX": "#f2b705"}
WORDS = {"1": "dax", "2": "wif", "3": "lug", "DAX": "zup", "thrice": "fep"}
WORDS |= {"surround": "blicket", "after": "kiki"}
THEMES = {"light": ("#1f2328", "#d0d7de"), "dark": ("#e6edf3", "#3d444d")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", type=Path, help="folder that holds data_human")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    args = parser.parse_args()
    data = DataFolders(args.data_dir)
    people = people_few_shot(data)
    model = sample_few_shot(biml.load(MODEL).responder, data, model=MODEL, samples_per_response=30)
    args.out.mkdir(parents=True, exist_ok=True)
    for theme in THEMES:
        figure = draw(people, model, theme)
        path = args.out / f"overview-{theme}.svg"
        figure.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(figure)


def draw(people: pd.DataFrame, model: pd.DataFrame, theme: str) -> plt.Figure:
    text, line = THEMES[theme]
    style = {"text.color": text, "font.family": "sans-serif", "svg.fonttype": "path"}
    with mpl.rc_context({**style, "svg.hashsalt": "biml", "font.size": 10}):
        figure = plt.figure(figsize=(10, 3.9))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 100), ylim=(39, 0))
        axes.axis("off")
        axes.text(2, 3.5, "14 study examples", weight="bold", va="center")
        for number, words in enumerate(GOLD_STUDY):
            column, row = divmod(number, 7)
            x, y = 2 + 21 * column, 8.5 + 4.4 * row
            axes.text(x, y, phrase(words.split()), va="center", fontsize=8.5)
            offset = 9 if column == 0 else 17.5
            draw_circles(axes, x + offset, y, biml.GOLD.interpret(words.split()), text)
        axes.plot((50, 50), (2, 37), color=line, lw=1)
        for number, query in enumerate(QUERIES):
            y = 3.5 + 17.5 * number
            axes.text(53, y, f"Query: {phrase(query.split())}", weight="bold", va="center")
            draw_responses(axes, y + 4, "people", people, query, text)
            draw_responses(axes, y + 9.6, "model", model, query, text)
    return figure


def draw_responses(
    axes: Axes, y: float, title: str, responses: pd.DataFrame, query: str, text: str
) -> None:
    rows = responses[responses["query"] == query]
    axes.text(53, y, title, va="center", fontsize=9)
    target = " ".join(biml.GOLD.interpret(query.split()))
    counts = rows["response"].value_counts().head(N_RESPONSES)
    for number, (response, count) in enumerate(counts.items()):
        at = y + 2.5 * number
        percent = 100 * count / len(rows)
        axes.barh(at, percent * 0.12, height=1.5, left=60, color=text, alpha=0.35)
        axes.text(60.5 + percent * 0.12, at, f"{percent:.0f}%", va="center", fontsize=8)
        draw_circles(axes, 78, at, str(response).split(), text)
        if response == target:
            axes.text(92, at, "correct", va="center", fontsize=8)


def draw_circles(axes: Axes, x: float, y: float, symbols: Sequence[str], text: str) -> None:
    for number, symbol in enumerate(symbols):
        axes.scatter(x + 2 * number, y, s=62, color=COLOURS.get(symbol, text), linewidths=0)


def phrase(words: Sequence[str]) -> str:
    return " ".join(WORDS[word] for word in words)


if __name__ == "__main__":
    main()
