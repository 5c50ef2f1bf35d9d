"""The command that a run can be repeated with, from the options that its checkpoint holds."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from biml.training.beginning import SIZE_OPTIONS
from biml.training.config import TrainingConfig, cli_name
from biml.training.presets import PRESETS


def reproduction_command(options: Mapping[str, Any], name: str) -> str:
    """`biml train …` with the options that differ from those of the preset.

    Args:
        options: fields of `TrainingConfig`, as a checkpoint holds them.
        name: of the model's file.

    >>> reproduction_command({"preset": "fast", "episode_type": "joint", "nsteps": 100, "minutes": 3.0}, "a.pt")
    'biml train --preset fast --episode_type joint --nsteps 100 --seed 0 --fn_out_model a.pt'
    """
    preset = options.get("preset", "paper")
    usual = asdict(TrainingConfig()) | PRESETS.get(preset, {})
    fixed = {"preset", "minutes"}  # a time budget became a number of steps, which is exact
    if options.get("init") is not None:
        fixed |= {"arch", *SIZE_OPTIONS}
    parts = ["biml", "train"] + (["--preset", preset] if preset != "paper" else [])
    for field in asdict(TrainingConfig()):
        value = options.get(field, usual[field])
        if field in fixed or (value == usual[field] and field != "seed"):
            continue
        if isinstance(value, bool):
            parts.append(cli_name(field))
        else:
            parts += [cli_name(field), Path(value).name if field == "init" else str(value)]
    return shlex.join([*parts, "--fn_out_model", name])
