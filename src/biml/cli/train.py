"""`biml train`, and the published command `python train.py`."""

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from biml.errors import UsageError
from biml.training import metrics, trainer
from biml.training.config import TrainingConfig
from biml.training.metrics import LogEntry

SECONDS_PER_DAY = 24 * 3600


class NullConsole(metrics.TrainingCallback):
    """Shows nothing; the processes other than the first, and `--quiet`."""

    def on_end(self, outcome: trainer.RunResult) -> None: ...


class TrainConsole(NullConsole):
    """Tells how a run goes.

    Args:
        console: where to.
        args: the options of the command, for the hints at the end.
    """

    def __init__(self, console: Console, args: argparse.Namespace) -> None:
        self._console = console
        self._args = args
        self._live: Progress | None = None
        self._validated: LogEntry = {}
        self._episodes = 0
        if console.is_terminal:
            self._live = Progress(
                TextColumn("step {task.fields[step]}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[figures]}"),
                console=console,
                transient=True,
            )
            self._task = self._live.add_task("", step="0", figures="first step…")

    def on_start(self, start: metrics.RunInfo) -> None:
        config = start.config
        self._episodes = config.episodes_seen(start.total_steps, start.total_steps)
        processes = "1 process" if start.processes == 1 else f"{start.processes} processes"
        doing = f"Resuming at step {start.steps_done:,}" if start.steps_done else "Training"
        self._print(
            f"{doing}: {config.arch} network ({start.parameters:,} weights), "
            f"{config.episode_type} episodes from {start.data_description}"
        )
        self._print(
            f"{start.total_steps:,} steps of {_format_sizes(config)} episodes on {start.device}, "
            f"{config.precision}, {processes}, seed {config.seed}"
        )
        if start.estimated_seconds is not None:
            self._print(
                f"Measured here: about {_format_duration(start.estimated_seconds)} for the whole run"
            )
            if (
                start.estimated_seconds > SECONDS_PER_DAY
                and config.preset == "paper"
                and config.init is None
            ):
                self._print("--preset fast is a recipe for machines like this one (docs/fast.md)")
        if start.steps_done >= start.total_steps:
            self._print("This run is complete already; there is nothing left to do.")
        elif self._live is not None:
            self._live.start()
            # Hidden, it would stay so after a second Ctrl-C or kill -9.
            self._console.show_cursor(True)

    def on_step(self, progress: metrics.StepInfo) -> None:
        if self._live is None:
            return
        figures = [f"{progress.episodes_per_second:.1f} episodes/s", f"loss {progress.loss:.3f}"]
        if self._validated:
            figures.append(_format_metrics(self._validated))
        figures.append(f"{_format_duration(progress.seconds_left)} left")
        self._live.update(
            self._task,
            completed=progress.step,
            total=progress.total_steps,
            step=f"{progress.step:,}/{progress.total_steps:,}",
            figures="  ".join(figures),
        )

    def on_log(self, line: LogEntry, total: int) -> None:
        if "val_loss" not in line:
            return
        self._validated = line
        if self._live is None:
            rate = line["episodes_per_second"] or 0.0
            step = line["step"] or 0
            remaining = (self._episodes - (line["episodes"] or 0)) / max(rate, 1e-9)
            left = f"  {_format_duration(remaining)} left"
            self._print(
                f"step {line['step']:,}/{total:,}  {rate:.1f} episodes/s  "
                f"loss {line['train_loss']:.3f}  {_format_metrics(line)}"
                + (left if 1 < step < total else "")  # most of the first step is validation
            )

    def on_message(self, text: str) -> None:
        self._print(text)

    def on_end(self, outcome: trainer.RunResult) -> None:
        args, outputs = self._args, outcome.paths
        figures = f", {_format_metrics(outcome.last_validation)}" if outcome.last_validation else ""
        self._print(
            f"Model: {outputs.model} (step {outcome.step:,} of {outcome.total_steps:,}{figures}, "
            f"{_format_duration(outcome.seconds)})"
        )
        where = ["--fn_out_model", args.fn_out_model]
        if args.dir_model != "out_models":
            where += ["--dir_model", args.dir_model]
        data = ["--data_dir", str(args.data_dir)] if args.data_dir else []
        if outcome.stopped_by is not None:
            self._print(f"Go on with: biml train {shlex.join([*where, *data, '--resume'])}")
        else:
            kind = ["--episode_type", outcome.config.episode_type]
            self._print(
                f"See answers: biml eval {shlex.join([*where, *kind, *data])} --max --verbose"
            )

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def make_console(args: argparse.Namespace, first: bool) -> Iterator[NullConsole]:
    """The console of this process: only the first of a run talks, and not with `--quiet`."""
    if args.quiet or not first:
        yield NullConsole()
        return
    show = TrainConsole(Console(), args)
    try:
        yield show
    finally:
        show.close()


def _format_metrics(line: LogEntry) -> str:
    parts = [f"val loss {line['val_loss']:.3f}"]
    for name in ("copied", "novel"):
        value = line.get(f"accuracy_{name}")
        if value is not None:
            parts.append(f"{name} {value:.1f}%")
    return "  ".join(parts)


def _format_sizes(config: TrainingConfig) -> str:
    """Episodes a step, from the first to the last.

    >>> _format_sizes(TrainingConfig(batch_size=32, batch_growth=2))
    '32 to 64'
    """
    first, last = config.batch_size, round(config.batch_size * config.batch_growth)
    return str(first) if first == last else f"{first} to {last}"


def _format_duration(seconds: float) -> str:
    """A length of time as a person would say it.

    >>> [_format_duration(s) for s in (42, 3_700, 500_000)]
    ['42 s', '1 h 1 min', '5 d 18 h']
    """
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86_400
    if minutes < 2:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes:.0f} min"
    if days < 2:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{int(days)} d {int(hours % 24)} h"


# === `biml train`, and the published command `python train.py`.


SUMMARY = "Train a model, or go on training one."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    _configure_files(parser)
    _configure_training(parser.add_argument_group("training"))
    _configure_network(parser.add_argument_group("network"))
    _configure_runtime(parser.add_argument_group("how the run is carried out"))


def _configure_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fn_out_model", required=True, metavar="NAME.pt", help="name of the model's file"
    )
    parser.add_argument(
        "--dir_model", default="out_models", metavar="FOLDER", help="its folder (%(default)s)"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run that this file holds, with the options that it had",
    )
    existing.add_argument(
        "--overwrite", action="store_true", help="replace the file where it exists, unasked"
    )
    parser.add_argument(
        "--data_dir", type=Path, metavar="FOLDER", help="where to look for data folders first"
    )


def _configure_training(group: Any) -> None:
    option = group.add_argument
    option(
        "--preset",
        metavar="NAME",
        help="recipe that the options not given come from: paper (the published one; values in "
        "brackets are its own) or fast (the staged network and another recipe, for a laptop)",
    )
    option("--minutes", type=float, metavar="N", help="length of the run, measured when it begins")
    option(
        "--episode_type",
        metavar="TYPE",
        help="kind of episodes (retrieve); any wrong name lists them all",
    )
    option("--batch_size", type=int, metavar="N", help="episodes a step (25)")
    option(
        "--batch_growth",
        type=float,
        metavar="X",
        help="the last step has X times as many episodes; they grow evenly (1)",
    )
    option("--nepochs", type=int, metavar="N", help="passes over the data (50)")
    option("--nsteps", type=int, metavar="N", help="steps in total, instead of whole passes")
    option(
        "--lr",
        type=float,
        metavar="X",
        help="highest learning rate (0.001; muon takes 12 times this for the matrices)",
    )
    option(
        "--lr_end_factor",
        type=float,
        metavar="X",
        help="learning rate of the last epoch, as a share of --lr (0.05)",
    )
    option(
        "--no_lr_warmup",
        dest="lr_warmup",
        action="store_const",
        const=False,
        help="begin with --lr instead of rising to it over the first epoch",
    )
    option(
        "--save_best",
        action="store_const",
        const=True,
        help="keep the model with the lowest validation loss too, as NAME_best.pt",
    )
    option(
        "--save_best_skip",
        type=float,
        metavar="X",
        help="share of training before --save_best begins (0.2)",
    )
    option("--optimizer", choices=("adamw", "muon"), help="muon is for the matrices (adamw)")
    option(
        "--lr_shape",
        choices=("epochs", "square"),
        help="course of the learning rate: epochs (the default, the published one) or square "
        "(a fall with the square of what remains; where a curriculum brings in biases and noise, "
        "a second one from 0.4 of --lr)",
    )
    option(
        "--curriculum",
        action="store_const",
        const=True,
        help="begin with easier episodes, and bring in biases and noise late",
    )
    option(
        "--clean_share",
        type=float,
        metavar="X",
        help="share of a curriculum's run before biases and noise come in (0.75)",
    )
    option(
        "--guide",
        type=float,
        metavar="X",
        help="weight of losses that tell inner layers what words mean and symbols stand for "
        "(0); not for --arch paper",
    )
    option("--seed", type=int, metavar="N", help="of weights, episodes and dropout (0)")


def _configure_network(group: Any) -> None:
    option = group.add_argument
    option(
        "--init",
        metavar="MODEL",
        help="start from a trained model's weights, found as `biml eval` finds it; its "
        "architecture and sizes are taken, and a curriculum leaves its easiest episodes out",
    )
    option(
        "--arch",
        metavar="NAME",
        help="architecture: paper (the default, the published transformer) or staged (study "
        "examples read once an episode, with a lexicon; then queries; then answers)",
    )
    option(
        "--equal_projections",
        action="store_const",
        const=True,
        help="for --arch paper only: key projections start as query projections are, as those of "
        "the staged network always do",
    )
    option("--nlayers_encoder", type=int, metavar="N", help="layers of the encoder (3)")
    option("--nlayers_query", type=int, metavar="N", help="layers that read a query (staged: 4)")
    option("--nlayers_decoder", type=int, metavar="N", help="layers of the decoder (3)")
    option("--emb_size", type=int, metavar="N", help="width (128)")
    option("--ff_mult", type=int, metavar="N", help="feed-forward width, in widths (4)")
    option("--dropout", type=float, metavar="X", help="dropout probability (0.1)")
    option("--act", choices=("gelu", "relu"), help="activation function (gelu)")


def _configure_runtime(group: Any) -> None:
    option = group.add_argument
    option("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    option(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        help="of matrix products (auto: bf16 where that is faster here)",
    )
    option(
        "--workers",
        type=int,
        metavar="N",
        help="processes on a CPU (one for each core); the result is the same up to rounding",
    )
    option(
        "--max_tokens",
        type=int,
        metavar="N",
        help="size of the pieces that a step is computed in; lower needs less memory",
    )
    option(
        "--save_every",
        type=float,
        default=5.0,
        metavar="MINUTES",
        help="between two checkpoints (%(default)g)",
    )
    option("--dashboard", action="store_true", help="draw the learning curves to NAME.png")
    option("--quiet", action="store_true", help="show errors only")


TRAINING_OPTIONS = (
    *("preset", "minutes", "episode_type"),
    *("batch_size", "batch_growth", "nepochs", "nsteps"),
    *("lr", "lr_end_factor", "lr_warmup", "lr_shape", "optimizer"),
    *("curriculum", "clean_share", "guide"),
    *("save_best", "save_best_skip", "seed", "precision", "max_tokens"),
    *("arch", "equal_projections", "nlayers_encoder", "nlayers_query", "nlayers_decoder"),
    *("emb_size", "ff_mult", "dropout", "act"),
)


def run(args: argparse.Namespace) -> int:
    """Train; the exit code is 128 and the signal's number where one stopped the run."""
    pass  # DROPPED
    from biml.paths import DataFolders, resolve_model
    from biml.training.config import RuntimeConfig, TrainingConfig
    from biml.training.distributed import process_rank
    from biml.training.resume import RunPaths
    from biml.training.setup import warm_episode_cache
    from biml.training.trainer import train

    given = {
        name: getattr(args, name) for name in TRAINING_OPTIONS if getattr(args, name) is not None
    }
    if given.get("precision") == "auto":
        del given["precision"]
    if args.init is not None:
        given["init"] = str(resolve_model(args.init, args.dir_model, DataFolders(args.data_dir)))
    conduct = RuntimeConfig(
        device=args.device,
        workers=args.workers,
        save_every=args.save_every,
        dashboard=args.dashboard,
    )
    model = Path(args.dir_model) / args.fn_out_model
    first = process_rank() == 0
    if first and not args.resume:
        check_model_name(model)
        confirm_overwrite(model, args.overwrite, "--resume goes on with it")
        if args.save_best:
            best = RunPaths(model).best
            confirm_overwrite(best, args.overwrite, "another --fn_out_model leaves it as it is")
    with make_console(args, first) as watch:
        if first and not args.resume:
            kind = given.get("episode_type", TrainingConfig.episode_type)
            warm_episode_cache(kind, args.data_dir, watch.on_message)
        outcome = train(
            model,
            given,
            runtime=conduct,
            data_dir=args.data_dir,
            resume=args.resume,
            callback=watch,
        )
    if first:
        watch.on_end(outcome)
    return 0 if outcome.stopped_by is None else 128 + outcome.stopped_by


def check_model_name(model: Path) -> None:
    """Make sure that a model of this name can be read again.

    Raises:
        UsageError: it is a folder, or the name is that of an export.
    """
    if model.suffix == ".safetensors":
        raise UsageError(
            f"--fn_out_model: {model.name} would be read as an export, which training does not "
            f"write; name it {model.stem}.pt; `biml export` makes safetensors"
        )
    if model.is_dir():
        raise UsageError(f"--fn_out_model: {model} is a folder; name a file such as net.pt")


def confirm_overwrite(model: Path, overwrite: bool, otherwise: str) -> None:
    """Make sure that no model is lost.

    Args:
        model: the file to write.
        overwrite: whether the user said that it may be replaced.
        otherwise: what else the user can do.

    Raises:
        UsageError: the file exists, and nobody said that it may be replaced.
    """
    if overwrite or not model.exists():
        return
    if sys.stdin.isatty() and sys.stdout.isatty():
        try:
            answer = input(f"{model} exists. Replace it? [y/N] ")
        except EOFError:
            print()
            answer = ""
        if answer.strip().lower() in ("y", "yes"):
            return
        raise UsageError(f"{model} is kept; {otherwise}")
    raise UsageError(f"{model} exists: --overwrite replaces it, {otherwise}")
