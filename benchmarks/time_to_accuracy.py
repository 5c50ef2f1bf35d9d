"""Time to the published accuracy, training from scratch on this machine.

For each seed, `biml train --preset fast` from random weights. Measured are greedy exact-match
accuracy on the novel queries of the 200 validation episodes, over time, and on the novel queries of
the gold few-shot task under 100 remappings, at the end. Writes the learning curves (curves.csv),
the final metrics (runs.csv) and a figure (time_to_accuracy.png), and prints medians over seeds.

    python benchmarks/time_to_accuracy.py [--seeds 0 1 2] [--minutes 60] [--out FOLDER]
                                          [--finetune_minutes MINUTES MINUTES …]

A run that reaches neither or only one of the two criteria (the published accuracy on novel queries,
99% of gold queries) continues with fine-tuning runs of `--finetune_minutes`: with biases and noise
throughout and a new learning-rate decay from half the peak rate. The first starts from the end of
the run, each later one from the average of the weights of the last two.

An interrupted run is resumed with its own options; a complete one is only evaluated. Minutes are
those of training and validation, and those of a fine-tuning run include all before it.
"""

import argparse
import csv
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from average_weights import average_weights
from biml.cli.main import main as biml
from biml.episodes.registry import episode_type
from biml.evaluation.network import teacher_forced_exact_match
from biml.io import atomic_write
from biml.networks import checkpoint
from biml.networks.checkpoint import load_model
from biml.paths import DataFolders
from biml.training.run_files import LogEntry, RunPaths, read_log

PUBLISHED = {"algebraic+biases": 95.3, "algebraic_noise": 94.7}
"""Accuracy of the published networks on novel validation queries, in percent (supplement)."""

GOLD = 99.0
"""Required accuracy on gold few-shot queries, in percent."""

FINETUNING_OPTIONS = [
    "--batch_size",
    "48",
    "--batch_growth",
    "1",
    "--clean_fraction",
    "0",
    "--lr",
    "0.0005",
]

CURVE = ("seed", "finetuning", "minutes", "episodes", "study", "novel", "train_loss", "val_loss")
END = ("seed", "finetuning", "minutes", "episodes", "study", "novel", "gold")

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one run each (%(default)s)")
    option("--minutes", type=float, default=60, help="length of the first run (%(default)g)")
    option(
        *("--finetune_minutes", "--falls"),
        type=float,
        nargs="*",
        default=[],
        metavar="MINUTES",
        help="length of each fine-tuning run (--falls is the old spelling)",
    )
    option("--episode_type", default="algebraic+biases", choices=PUBLISHED)
    option(
        *("--micro_batch_tokens", "--max_tokens"),
        type=int,
        help="size of a micro-batch, as for `biml train`",
    )
    option("--out", type=Path, default=Path("time_to_accuracy"), help="folder (%(default)s)")
    args = parser.parse_args()
    published = PUBLISHED[args.episode_type]
    curves: list[Row] = []
    ends: list[Row] = []
    for seed in args.seeds:
        for curve, end in run_seed(seed, args):
            curves += curve
            ends.append(end)
            print(*(f"{name} {format_value(value)}" for name, value in end.items()), flush=True)
            if reaches_criteria(end, published):
                break
    write(args.out / "curves.csv", CURVE, curves)
    write(args.out / "runs.csv", END, ends)
    with atomic_write(args.out / "time_to_accuracy.png") as file:
        plot(curves, published).savefig(file, format="png", dpi=150)
    for text, minutes in medians(args.seeds, curves, ends, published).items():
        print(f"median minutes to {text}: {format_value(minutes)}")


def run_seed(seed: int, args: argparse.Namespace) -> Iterator[tuple[list[Row], Row]]:
    """Train, then fine-tune as often as the caller iterates; yield each curve and its end."""
    models: list[Path] = []
    before: Row = {"minutes": 0.0, "episodes": 0}
    for n, minutes in enumerate([args.minutes, *args.finetune_minutes]):
        model = args.out / (f"seed{seed}-finetune{n}.pt" if n else f"seed{seed}.pt")
        if (old := args.out / f"seed{seed}-fall{n}.pt").exists():
            model = old  # of an earlier version
        options = (
            ["--micro_batch_tokens", str(args.micro_batch_tokens)]
            if args.micro_batch_tokens
            else []
        )
        if n and not model.exists():
            options += ["--init_from", str(initial_model(models, model)), *FINETUNING_OPTIONS]
        train(model, args.episode_type, minutes, seed + 1000 * n, options)
        models.append(model)
        lines = [line for line in read_log(RunPaths(model).history) if "val_loss" in line]
        curve = [point(line, before) | {"seed": seed, "finetuning": n} for line in lines]
        before = {name: curve[-1][name] for name in before}
        end = {name: curve[-1][name] for name in END if name != "gold"}
        yield curve, end | {"gold": gold(model)}


def initial_model(models: Sequence[Path], finetuned: Path) -> Path:
    """The model that fine-tuning starts from; an average of the last two is written."""
    if len(models) == 1:
        return models[0]
    average = finetuned.with_name(f"{finetuned.stem}-start.pt")
    checkpoint.save_checkpoint(average, average_weights(list(models[-2:])))
    return average


def train(model: Path, kind: str, minutes: float, seed: int, more: Sequence[str]) -> None:
    """Train or resume; a complete run stays as it is."""
    options = ["--fn_out_model", model.name, "--dir_model", str(model.parent)]
    if model.exists():
        code = biml(["train", *options, "--resume"])
    else:
        recipe = ["--preset", "fast", "--episode_type", kind, *more]
        length = ["--time_budget", str(minutes), "--seed", str(seed)]
        code = biml(["train", *recipe, *length, *options])
    if code:
        raise SystemExit(code)


def point(line: LogEntry, before: Mapping[str, Any]) -> Row:
    """One validation; minutes and episodes include those of earlier runs."""
    return {
        "minutes": round(before["minutes"] + (line["seconds"] or 0) / 60, 2),
        "episodes": before["episodes"] + (line["episodes"] or 0),
        "study": line["accuracy_study"],
        "novel": line["accuracy_novel"],
        "train_loss": line["train_loss"],
        "val_loss": line["val_loss"],
    }


def gold(model: Path) -> float:
    """Exact-match accuracy on novel gold queries under 100 remappings, in percent."""
    loaded = load_model(model)
    episodes = episode_type("few_shot_gold").open_evaluation(DataFolders(), 0).repeat(0)
    matches = teacher_forced_exact_match(loaded.network, episodes)
    novel = [
        match
        for episode, of_episode in zip(episodes, matches, strict=True)
        for query, match in zip(episode.queries, of_episode, strict=True)
        if not query.in_study
    ]
    return 100 * sum(novel) / len(novel)


def reaches_criteria(end: Row, published: float) -> bool:
    """Whether both accuracies are high enough."""
    return bool(end["novel"] >= published and end["gold"] >= GOLD)


def medians(
    seeds: Sequence[int], curves: Sequence[Row], ends: Sequence[Row], published: float
) -> dict[str, float | None]:
    """Median minutes over seeds; a seed that does not reach a criterion counts as infinite."""
    reached = {
        f"{published}% of novel queries": [at for at in curves if at["novel"] >= published],
        f"that and {GOLD:g}% of gold queries": [
            end for end in ends if reaches_criteria(end, published)
        ],
    }
    found: dict[str, float | None] = {}
    for text, rows in reached.items():
        times = [
            min((row["minutes"] for row in rows if row["seed"] == seed), default=float("inf"))
            for seed in seeds
        ]
        middle = statistics.median(times)
        found[text] = None if middle == float("inf") else middle
    return found


def format_value(value: float | None) -> str:
    return "not reached" if value is None else f"{value:g}"


def write(path: Path, names: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def plot(curves: list[dict[str, Any]], published: float) -> Figure:
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
