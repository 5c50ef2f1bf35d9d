"""The history of a trained model: its provenance for a card, and its learning curves."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from biml.episodes.data_use import DataUse
from biml.episodes.registry import EPISODE_TYPES
from biml.errors import BimlError
from biml.io import read_bytes
from biml.networks.checkpoint import load_checkpoint
from biml.paths import list_pretrained, upgrade_card
from biml.training.config import PRESETS, SIZE_OPTIONS, TrainingConfig, cli_name, current_options
from biml.training.run_files import LogEntry, RunPaths, current_log, read_log
from biml.training.setup import preset_options
from biml.version import __version__

MAX_CURVE_POINTS = 200
"""Points of the learning curves that a released model keeps."""


def reproduction_command(options: Mapping[str, Any], name: str) -> str:
    """The `biml train …` that repeats a run: the options that differ from those of its preset.

    `options` are fields of `TrainingConfig`, as a checkpoint of any version has them.

    >>> options = {"preset": "fast", "episode_type": "joint", "nsteps": 100, "time_budget": 3.0}
    >>> reproduction_command(options, "a.pt")
    'biml train --preset fast --episode_type joint --nsteps 100 --seed 0 --fn_out_model a.pt'
    """
    options = current_options(options)
    preset = options.get("preset", "paper")
    defaults = asdict(TrainingConfig())
    if preset in PRESETS and options.get("episode_type") in EPISODE_TYPES:
        defaults |= preset_options(preset, options["episode_type"])
    implied = {"preset", "time_budget"}  # a time budget became a number of steps, which is exact
    if options.get("init_from") is not None:
        implied |= {"arch", *SIZE_OPTIONS}
    parts = ["biml", "train"] + (["--preset", preset] if preset != "paper" else [])
    for field in asdict(TrainingConfig()):
        value = options.get(field, defaults[field])
        if field in implied or (value == defaults[field] and field != "seed"):
            continue
        if isinstance(value, bool):
            parts.append(cli_name(field))
        else:
            parts += [
                cli_name(field),
                Path(value).name if field in ("init_from", "corpus") else str(value),
            ]
    return shlex.join([*parts, "--fn_out_model", name])


@dataclass(frozen=True)
class RunSegment:
    """One of the training runs that made a model, each from the weights of the one before."""

    episodes_before: int
    log: Sequence[LogEntry]
    """Empty where it is lost."""


def learning_curves(path: Path) -> list[LogEntry]:
    """The history of a model's last run: from its file, else from the history file beside it.

    For `NAME_best.pt` also that of `NAME.pt`. A BimlError if there is none.
    """
    log = _stored_log(load_checkpoint(path))
    beside = RunPaths(path).history
    whole_run = path.with_name(path.name.replace("_best", ""))
    if not log and beside.is_file():
        log = read_log(beside)
    if not log and whole_run != path and whole_run.is_file():
        log = learning_curves(whole_run)
    if not log:
        raise BimlError(f"{path}: holds no learning curves, and there is no file {beside.name}")
    return log


def training_segments(path: Path) -> list[RunSegment]:
    """The curves of all runs that made a model, the first one first.

    Those of parent models come from their files (found by checksum beside the model or among the
    pretrained ones), or from the card.
    """
    contents = load_checkpoint(path)
    ancestors = (contents.get("info") or {}).get("ancestors")
    segments: list[RunSegment] = []
    before = 0
    for parent in ancestors or upgrade_card(contents.get("card")).get("parents") or ():
        file = _find_parent_file(parent, path)
        if file and not segments:
            # The first parent may have parents that this model does not know of.
            segments = training_segments(file)
            before = segments.pop().episodes_before
        log = _curves_or_empty(file) if file else current_log(parent.get("history") or ())
        n_episodes = parent.get("episodes")
        if n_episodes is None:
            n_episodes = log[-1]["episodes"] if log else 0
        log = [entry for entry in log if (entry["episodes"] or 0) <= n_episodes]
        segments.append(RunSegment(before, log))
        before += int(n_episodes)
    return [*segments, RunSegment(before, _curves_or_empty(path))]


def _curves_or_empty(path: Path) -> list[LogEntry]:
    try:
        return learning_curves(path)
    except BimlError:
        return []


def _find_parent_file(parent: Mapping[str, Any], path: Path) -> Path | None:
    for file in (path.with_name(str(parent["file"])), *list_pretrained()):
        if file.is_file() and sha256(read_bytes(file)).hexdigest() == parent.get("sha256"):
            return file
    return None


def _stored_log(contents: Mapping[str, Any]) -> list[LogEntry]:
    """The history in a checkpoint; of a published one, its `train_tracker`."""
    record = (contents.get("training") or {}).get("record") or {}
    if log := record.get("history") or contents.get("history"):
        return current_log(log)
    info = contents.get("info") or {}
    batch_size = int(info.get("batch_size") or 1)
    return [
        {
            "step": entry["step"],
            "episodes": entry["step"] * batch_size,
            "lr": entry["lr"],
            "train_loss": entry["avg_train_loss"],
            "val_loss": entry["val_loss"],
        }
        for entry in info.get("train_tracker") or ()
    ]


def provenance(
    contents: Mapping[str, Any], name: str, segments: Sequence[RunSegment] = ()
) -> dict[str, Any]:
    """How a model was trained; sums include its parents, whose curves are those of `segments`."""
    info = contents.get("info") or {}
    options = info.get("options", contents.get("training", {}).get("options", {}))
    parents = list(info.get("ancestors", ()))
    models = [*parents, {**info, "episode_type": contents["episode_type"]}]
    rows = [EPISODE_TYPES.get(model["episode_type"]) for model in models]
    sources = [one for row in rows if row for one in row.data_sources]
    # There may be more segments, as the first parent may have parents of its own.
    segments = segments or [RunSegment(0, ())] * (len(parents) + 1)
    parent_segments = segments[len(segments) - 1 - len(parents) : -1]
    return {
        "command": reproduction_command(options, f"{name}.pt") if options else None,
        "seed": options.get("seed"),
        **_cost(models),
        "hardware": info.get("hardware"),
        "torch": info.get("torch"),
        "biml": __version__,
        "data": "; ".join(dict.fromkeys(sources)),
        "chosen_by": list(DataUse.of_network(contents["episode_type"], info, {}).chosen_by),
        "parents": [
            _parent_entry(parent) | {"history": thin_log(segment.log)}
            for parent, segment in zip(parents, parent_segments, strict=True)
        ],
    }


def _parent_entry(parent: Mapping[str, Any]) -> dict[str, Any]:
    options, command = parent.get("options"), parent.get("command")
    return {
        **{key: parent[key] for key in ("file", "sha256", "episode_type")},
        "command": reproduction_command(options, parent["file"]) if options else command,
        **_cost([parent]),
    }


def _cost(models: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Sums over models, or None where one is unknown."""
    seconds: list[Any] = [model.get("seconds") for model in models]
    episodes: list[Any] = [model.get("episodes") for model in models]
    return {
        "minutes": None if None in seconds else round(sum(seconds) / 60, 1),
        "episodes": None if None in episodes else sum(episodes),
    }


def thin_log(log: Sequence[LogEntry]) -> list[LogEntry]:
    """At most about `MAX_CURVE_POINTS` entries with a validation, rounded to five digits."""
    validated = [entry for entry in log if entry.get("val_loss") is not None]
    step = max(1, -(-len(validated) // MAX_CURVE_POINTS))
    return [
        {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in entry.items()}
        for entry in [*validated[:-1:step], *validated[-1:]]
    ]
