"""`biml train`, and the published command `python train.py`."""

import argparse
import shlex
import signal
import sys
import time
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from biml import plugins
from biml.cli import add_data_dir, add_dir_model, from_plugins
from biml.errors import BimlError, UsageError
from biml.training.config import Interval, Option, RuntimeConfig, TrainingConfig, options_of

TRAINING_OPTIONS = tuple(field.name for field in fields(TrainingConfig))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--fn_out_model", required=True, metavar="NAME.pt", help="file name of the model"
    )
    add_dir_model(parser, "folder of the model, made if it is missing")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--resume", action="store_true", help="resume the run of this file, with its options"
    )
    existing.add_argument(
        "--overwrite", action="store_true", help="replace an existing file without confirmation"
    )
    add_data_dir(parser)
    _add_config(parser, TrainingConfig, keep_defaults=False)
    _add_config(parser, RuntimeConfig)
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def _add_config(
    parser: argparse.ArgumentParser, config: type[Any], *, keep_defaults: bool = True
) -> None:
    """Add an option for each field of a config, in argument groups by the options' `group`.

    An option that is not given has its field's default or, without `keep_defaults`, None.
    """
    groups = {group.title: group for group in parser._action_groups}
    for field, option in zip(fields(config), options_of(config).values(), strict=True):
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        value_type = field.type
        if isinstance(value_type, UnionType):
            value_type = get_args(value_type)[0]
        details: dict[str, Any] = {"type": value_type, "metavar": option.metavar}
        if value_type is bool:
            details = {"action": "store_const", "const": not field.default}
        elif option.allowed and not isinstance(option.allowed, Interval):
            details["type"] = partial(_current_choice, option)
            details["choices"] = (*option.allowed, *option.old_values)
            details["metavar"] = "{" + ",".join(option.allowed) + "}"
        elif not option.metavar:
            details["metavar"] = "N" if value_type is int else "X"
        details |= {"dest": field.name, "default": field.default if keep_defaults else None}
        add = groups[option.group].add_argument
        kind = {"arch": "architecture", "episode_type": "episode type"}.get(field.name, "")
        text = _help(option, field.default) + from_plugins(kind)
        add(f"--{option.flag or field.name}", help=text, **details)
        if option.formerly:
            add(f"--{option.formerly}", help=argparse.SUPPRESS, **details)


def _current_choice(option: Option, text: str) -> str:
    return option.old_values.get(text, text)


def _help(option: Option, default: Any) -> str:
    text = option.help
    if default is not None and not isinstance(default, bool):
        text += (
            f" (default: {default:g})" if isinstance(default, float) else f" (default: {default})"
        )
    if option.formerly:
        old = [f"--{option.formerly}"]
        old += [f"{old} for {new}" for old, new in option.old_values.items()]
        text += f"; also accepted: {', '.join(old)}"
    return text.replace("%", "%%")


MIN_ACCURACY = 5.0
"""Percent of novel validation queries below which a model has learned next to nothing."""


def run(args: argparse.Namespace) -> int:
    """Train; the exit code is 128 plus the signal's number if one stopped the run."""
    started = time.perf_counter()  # importing PyTorch takes seconds
    from biml.training.api import train
    from biml.training.distributed import LostProcessError, process_rank

    options = {
        name: getattr(args, name)
        for name in (*TRAINING_OPTIONS, *(field.name for field in fields(RuntimeConfig)))
        if getattr(args, name) is not None
    }
    first = process_rank() == 0
    where = ["--fn_out_model", args.fn_out_model]
    where += [] if args.dir_model == "out_models" else ["--dir_model", args.dir_model]
    data = ["--data_dir", str(args.data_dir)] if args.data_dir else []
    data += [word for source in plugins.loaded() for word in ("--plugin", source)]
    hint = f"Resume with: biml train {shlex.join([*where, *data, '--resume'])}"
    try:
        result = train(
            args.fn_out_model,
            dir_model=args.dir_model,
            data_dir=args.data_dir,
            resume=args.resume,
            overwrite=args.overwrite or (first and not args.resume and _may_overwrite(args)),
            progress=not args.quiet,
            started=started,
            **options,
        )
    except LostProcessError as error:
        # Processes of torchrun other than the first do not know whether it saved.
        remedy = hint if error.can_resume or not first else "Nothing was saved; start it again."
        raise BimlError(f"{error}\n{remedy}") from None
    if first and not args.quiet:
        if result.stopped_by is not None:
            if result.stopped_by != signal.SIGPIPE:
                print(hint)
            else:
                problem = f"saved at step {result.step:,}: standard output cannot be written"
                print(f"{problem}\n{hint}", file=sys.stderr)
        else:
            kind = ["--episode_type", result.config.episode_type]
            if result.config.corpus:
                kind = ["--corpus", result.config.corpus]
            novel = (result.last_validation or {}).get("accuracy_novel")
            if novel is not None and novel < MIN_ACCURACY and result.config.time_budget:
                minutes = result.config.time_budget
                print(
                    f"It answers {novel:.1f}% of novel validation queries: {minutes:g} minutes are "
                    f"too short; train a new model with a larger --time_budget"
                )
            print(f"See responses: biml eval {shlex.join([*where, *kind, *data])} --max --verbose")
    return 0 if result.stopped_by is None else 128 + result.stopped_by


def _may_overwrite(args: argparse.Namespace) -> bool:
    """Ask whether existing files may be replaced, at a terminal; "no" is a `UsageError`."""
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
