"""From scratch to the published accuracy: how long it takes on this machine.

For each seed, `biml train --preset fast` from random weights; then the novel queries of the 200
validation episodes over time, and at the end the novel queries of the gold few-shot task under 100
renamings, both answered greedily. Written are a table of the curves (CSV), the figures at each end
(CSV) and a figure (PNG). The last lines are medians over seeds.

    python benchmarks/time_to_accuracy.py [--seeds 0 1 2] [--minutes 60] [--out FOLDER]
                                          [--falls MINUTES MINUTES …]

Where a run ends short of both figures (the published one of novel queries, 99% of gold ones) it
goes on by `--falls`: further runs with biases and noise all along, whose rate falls again from half
the height, the first from the run's end, the others from the mean of the weights at the last two.

A run that was stopped goes on, with the options that it began with; one that is complete is only
evaluated. Minutes are those of training with validation, as the runs themselves count them; those
of a fall include what came before it.
"""

import argparse
import csv
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from average import averaged
from biml.cli.main import main as biml
from biml.episodes.registry import episode_type
from biml.evaluation.network import teacher_forced_exact_match
from biml.io import atomic_write
from biml.networks import checkpoint
from biml.networks.checkpoint import load_model
from biml.paths import DataFolders
from biml.training.metrics import LogEntry, read_metrics
from biml.training.resume import RunPaths

PUBLISHED = {"algebraic+biases": 95.3, "algebraic_noise": 94.7}
"""Percent of novel validation queries that the published networks answer (paper, supplement)."""

GOLD = 99.0
"""Percent of gold few-shot queries to be answered as well."""

FALL = ["--batch_size", "48", "--batch_growth", "1", "--clean_share", "0", "--lr", "0.0005"]

CURVE = ("seed", "fall", "minutes", "episodes", "copied", "novel", "train_loss", "val_loss")
END = ("seed", "fall", "minutes", "episodes", "copied", "novel", "gold")

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--falls", type=float, nargs="*", default=[], metavar="MINUTES")
    parser.add_argument("--episode_type", default="algebraic+biases", choices=PUBLISHED)
    parser.add_argument("--max_tokens", type=int, help="(as in training)")
    parser.add_argument("--out", type=Path, default=Path("time_to_accuracy"))
    args = parser.parse_args()
    published = PUBLISHED[args.episode_type]
    curves: list[Row] = []
    ends: list[Row] = []
    for seed in args.seeds:
        for curve, end in course(seed, args):
            curves += curve
            ends.append(end)
            print(" ".join(f"{name} {shown(value)}" for name, value in end.items()), flush=True)
            if there(end, published):
                break
    write(args.out / "curves.csv", CURVE, curves)
    write(args.out / "runs.csv", END, ends)
    with atomic_write(args.out / "time_to_accuracy.png") as file:
        drawn(curves, published).savefig(file, format="png", dpi=150)
    for text, minutes in medians(args.seeds, curves, ends, published).items():
        print(f"median minutes to {text}: {shown(minutes)}")


def course(seed: int, args: argparse.Namespace) -> Iterator[tuple[list[Row], Row]]:
    """Train a seed, then each fall when it is asked for: the curve of each part, and its end."""
    parts: list[Path] = []
    before: Row = {"minutes": 0.0, "episodes": 0}
    for fall, minutes in enumerate([args.minutes, *args.falls]):
        model = args.out / (f"seed{seed}-fall{fall}.pt" if fall else f"seed{seed}.pt")
        own_options = ["--max_tokens", str(args.max_tokens)] if args.max_tokens else []
        if fall and not model.exists():
            own_options += ["--init", str(start(parts, model)), *FALL]
        train(model, args.episode_type, minutes, seed + 1000 * fall, own_options)
        parts.append(model)
        lines = [line for line in read_metrics(RunPaths(model).history) if "val_loss" in line]
        curve = [point(line, before) | {"seed": seed, "fall": fall} for line in lines]
        before = {name: curve[-1][name] for name in before}
        end = {name: curve[-1][name] for name in END if name != "gold"}
        yield curve, end | {"gold": gold(model)}


def start(parts: Sequence[Path], fall: Path) -> Path:
    """What a fall begins from: the end before it, or the mean of the two before it, written."""
    if len(parts) == 1:
        return parts[0]
    mean = fall.with_name(f"{fall.stem}-start.pt")
    checkpoint.save_checkpoint(mean, averaged(list(parts[-2:])))
    return mean


def train(model: Path, kind: str, minutes: float, seed: int, own_options: Sequence[str]) -> None:
    """Train or go on; a complete run is left as it is."""
    options = ["--fn_out_model", model.name, "--dir_model", str(model.parent)]
    if model.exists():
        code = biml(["train", *options, "--resume"])
    else:
        recipe = ["--preset", "fast", "--episode_type", kind, *own_options]
        length = ["--minutes", str(minutes), "--seed", str(seed)]
        code = biml(["train", *recipe, *length, *options])
    if code:
        raise SystemExit(code)


def point(line: LogEntry, before: Mapping[str, Any]) -> Row:
    """One validation of a part, its minutes and episodes counted from the very beginning."""
    return {
        "minutes": round(before["minutes"] + (line["seconds"] or 0) / 60, 2),
        "episodes": before["episodes"] + (line["episodes"] or 0),
        "copied": line["accuracy_copied"],
        "novel": line["accuracy_novel"],
        "train_loss": line["train_loss"],
        "val_loss": line["val_loss"],
    }


def gold(model: Path) -> float:
    """Percent of the gold task's novel queries, under 100 renamings, answered exactly."""
    loaded = load_model(model)
    asked = episode_type("few_shot_gold").open_evaluation(DataFolders(), 0).repeat(0)
    right = teacher_forced_exact_match(loaded.network, asked)
    novel = [
        verdict
        for episode, verdicts in zip(asked, right, strict=True)
        for query, verdict in zip(episode.queries, verdicts, strict=True)
        if not query.in_study
    ]
    return 100 * sum(novel) / len(novel)


def there(end: Row, published: float) -> bool:
    """Whether an end has the accuracy that the run is for."""
    return bool(end["novel"] >= published and end["gold"] >= GOLD)


def medians(
    seeds: Sequence[int], curves: Sequence[Row], ends: Sequence[Row], published: float
) -> dict[str, float | None]:
    """Minutes in the median over seeds; a seed that did not get there counts as taking for ever."""
    reached = {
        f"{published}% of novel queries": [at for at in curves if at["novel"] >= published],
        f"that and {GOLD:g}% of gold queries": [end for end in ends if there(end, published)],
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


def shown(value: float | None) -> str:
    return "not reached" if value is None else f"{value:g}"


def write(path: Path, names: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
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
