"""`biml train`, and the published command `python train.py`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from biml.errors import UsageError

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
    from biml.cli.train_console import make_console
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
