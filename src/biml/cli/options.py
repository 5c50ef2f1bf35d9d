"""Options shared by commands, and options made from the fields of a config."""

import argparse
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from biml.training.config import Interval, Option, options_of


def add_dir_model(parser: Any, help: str = "folder of the model") -> None:
    """Add `--dir_model FOLDER`."""
    parser.add_argument(
        "--dir_model", default="out_models", metavar="FOLDER", help=f"{help} (default: %(default)s)"
    )


def add_data_dir(parser: Any) -> None:
    """Add `--data_dir FOLDER`."""
    help = "searched first for data folders"
    parser.add_argument("--data_dir", type=Path, metavar="FOLDER", help=help)


def add_device(parser: Any) -> None:
    """Add `--device NAME`."""
    help = "auto, cpu, cuda or cuda:N (default: %(default)s)"
    parser.add_argument("--device", default="auto", metavar="NAME", help=help)


def add_config(
    parser: argparse.ArgumentParser, config: type[Any], *, keep_defaults: bool = True
) -> None:
    """Add an option for each field of a config, in argument groups by the options' `group`.

    Args:
        keep_defaults: whether an option that is not given has its field's default, or None.
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
        add(f"--{option.flag or field.name}", help=_help(option, field.default), **details)
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
