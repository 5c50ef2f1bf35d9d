"""`biml train`, and the published command `python train.py`."""

import argparse
import shlex
import sys
from dataclasses import fields
from pathlib import Path

from biml import plugins
from biml.cli.options import add_config, add_data_dir, add_dir_model
from biml.errors import UsageError
from biml.training.config import RuntimeConfig, TrainingConfig

SUMMARY = "Train a model, or resume its training."

TRAINING_OPTIONS = tuple(field.name for field in fields(TrainingConfig))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--fn_out_model", required=True, metavar="NAME.pt", help="file name of the model"
    )
    add_dir_model(parser)
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--resume", action="store_true", help="resume the run of this file, with its options"
    )
    existing.add_argument(
        "--overwrite", action="store_true", help="replace an existing file without a question"
    )
    add_data_dir(parser)
    add_config(parser, TrainingConfig, keep_defaults=False)
    add_config(parser, RuntimeConfig)
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def run(args: argparse.Namespace) -> int:
    """Train; the exit code is 128 plus the signal's number if one stopped the run."""
    from biml.training.api import train
    from biml.training.distributed import process_rank

    options = {
        name: getattr(args, name)
        for name in (*TRAINING_OPTIONS, *(field.name for field in fields(RuntimeConfig)))
        if getattr(args, name) is not None
    }
    first = process_rank() == 0
    result = train(
        args.fn_out_model,
        dir_model=args.dir_model,
        data_dir=args.data_dir,
        resume=args.resume,
        overwrite=args.overwrite or (first and not args.resume and _may_overwrite(args)),
        progress=not args.quiet,
        **options,
    )
    if first and not args.quiet:
        where = ["--fn_out_model", args.fn_out_model]
        where += [] if args.dir_model == "out_models" else ["--dir_model", args.dir_model]
        data = ["--data_dir", str(args.data_dir)] if args.data_dir else []
        data += [word for source in plugins.loaded() for word in ("--plugin", source)]
        if result.stopped_by is not None:
            print(f"Resume with: biml train {shlex.join([*where, *data, '--resume'])}")
        else:
            kind = ["--episode_type", result.config.episode_type]
            print(f"See responses: biml eval {shlex.join([*where, *kind, *data])} --max --verbose")
    return 0 if result.stopped_by is None else 128 + result.stopped_by


def _may_overwrite(args: argparse.Namespace) -> bool:
    """Ask whether existing files may be replaced, at a terminal.

    Raises:
        UsageError: the answer is no.
    """
    from biml.training.api import existing_models

    paths = existing_models(Path(args.dir_model) / args.fn_out_model, bool(args.save_best))
    if not paths or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    for path in paths:
        try:
            answer = input(f"{path} exists. Replace it? [y/N] ")
        except EOFError:
            print()
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise UsageError(
                f"{path} is kept; continue its run with --resume, or choose another --fn_out_model"
            )
    return True
