"""From scratch to the published accuracy: how long it takes on this machine.

For each seed, `biml train --preset fast` from random weights; then the novel queries of the 200
validation episodes over time, and at the end the novel queries of the gold few-shot task under 100
renamings, both answered greedily. Written are a table of the curves (CSV), the figures of each
run (CSV) and a figure (PNG). The last line is the median over seeds.

    python benchmarks/time_to_accuracy.py [--seeds 0 1 2] [--minutes 60] [--out FOLDER]

A run that was stopped goes on, with the options that it began with; one that is complete is only
evaluated. Minutes are those of
training with validation, as the run itself counts them.
"""

import argparse
import csv
import io
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from biml.checkpoints.model import load_model
from biml.commands.main import main as biml
from biml.episodes.locate import DataFolders
from biml.episodes.types import episode_type
from biml.evaluation.exact import exact
from biml.files import write_aside
from biml.training.history import Line, read_history
from biml.training.outputs import Outputs

PUBLISHED = {"algebraic+biases": 95.3, "algebraic_noise": 94.7}
"""Percent of novel validation queries that the published networks answer (paper, supplement)."""

CURVE = ("seed", "minutes", "episodes", "copied", "novel", "train_loss", "val_loss")
RUN = ("seed", "minutes", "episodes", "minutes_to_published", "copied", "novel", "gold")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--episode_type", default="algebraic+biases", choices=PUBLISHED)
    parser.add_argument("--out", type=Path, default=Path("time_to_accuracy"))
    args = parser.parse_args()
    curves: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    for seed in args.seeds:
        model = args.out / f"seed{seed}.pt"
        train(model, seed, args)
        lines = [line for line in read_history(Outputs(model).history) if "val_loss" in line]
        curves += [point(seed, line) for line in lines]
        runs.append({**summary(curves, seed, PUBLISHED[args.episode_type]), "gold": gold(model)})
        print(" ".join(f"{name} {shown(value)}" for name, value in runs[-1].items()), flush=True)
    write(args.out / "curves.csv", CURVE, curves)
    write(args.out / "runs.csv", RUN, runs)
    with write_aside(args.out / "time_to_accuracy.png") as file:
        drawn(curves, PUBLISHED[args.episode_type]).savefig(file, format="png", dpi=150)
    print("median", " ".join(f"{name} {shown(median(runs, name))}" for name in RUN[1:]))


def train(model: Path, seed: int, args: argparse.Namespace) -> None:
    """Train or go on; a complete run is left as it is."""
    options = ["--fn_out_model", model.name, "--dir_model", str(model.parent)]
    if model.exists():
        code = biml(["train", *options, "--resume"])
    else:
        recipe = ["--preset", "fast", "--episode_type", args.episode_type]
        length = ["--minutes", str(args.minutes), "--seed", str(seed)]
        code = biml(["train", *recipe, *length, *options])
    if code:
        raise SystemExit(code)


def point(seed: int, line: Line) -> dict[str, Any]:
    return {
        "seed": seed,
        "minutes": round((line["seconds"] or 0) / 60, 2),
        "episodes": line["episodes"],
        "copied": line["accuracy_copied"],
        "novel": line["accuracy_novel"],
        "train_loss": line["train_loss"],
        "val_loss": line["val_loss"],
    }


def summary(curves: Iterable[Mapping[str, Any]], seed: int, published: float) -> dict[str, Any]:
    of_run = [at for at in curves if at["seed"] == seed]
    there = [at["minutes"] for at in of_run if at["novel"] >= published]
    last = of_run[-1]
    return {
        **{name: last[name] for name in ("seed", "minutes", "episodes")},
        "minutes_to_published": there[0] if there else None,
        **{name: last[name] for name in ("copied", "novel")},
    }


def gold(model: Path) -> float:
    """Percent of the gold task's novel queries, under 100 renamings, answered exactly."""
    loaded = load_model(model)
    asked = episode_type("few_shot_gold").open_evaluation(DataFolders(), 0).presented(0)
    right = exact(loaded.network, asked)
    novel = [
        verdict
        for episode, verdicts in zip(asked, right, strict=True)
        for query, verdict in zip(episode.queries, verdicts, strict=True)
        if not query.copied
    ]
    return 100 * sum(novel) / len(novel)


def median(runs: list[dict[str, Any]], name: str) -> float | None:
    """Over the runs; a run that did not get there counts as taking for ever."""
    values = [float("inf") if run[name] is None else run[name] for run in runs]
    middle = statistics.median(values)
    return None if middle == float("inf") else middle


def shown(value: float | None) -> str:
    return "not reached" if value is None else f"{value:g}"


def write(path: Path, names: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with write_aside(path) as file:
        file.write(text.getvalue().encode())


def drawn(curves: list[dict[str, Any]], published: float) -> Figure:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for seed in dict.fromkeys(at["seed"] for at in curves):
        of_run = [at for at in curves if at["seed"] == seed]
        minutes = [at["minutes"] for at in of_run]
        axes.plot(minutes, [at["novel"] for at in of_run], label=f"seed {seed}")
    axes.axhline(published, color="black", linestyle=":", label=f"published, {published}%")
    axes.set(
        xlabel="minutes of training", ylabel="novel validation queries, % exact", ylim=(0, 100)
    )
    axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    main()
