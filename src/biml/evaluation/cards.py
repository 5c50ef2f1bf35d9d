"""Making a model for shipping: rounded weights, and a card of facts and measured figures."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from biml.episodes.registry import episode_type
from biml.errors import BimlError, UsageError
from biml.evaluation.accuracy import DEFAULT_REPEATS, count_changed_responses, evaluate_for_card
from biml.networks.checkpoint import REQUIRED_KEYS, load_checkpoint, network_from_checkpoint
from biml.networks.pretrained import cast_weights, read_bytes
from biml.paths import DataFolders, list_pretrained
from biml.training.config import PRESETS, SIZE_OPTIONS, TrainingConfig, cli_name, current_options
from biml.training.metrics import LogEntry, current_log, read_metrics
from biml.training.resume import RunPaths
from biml.version import __version__


def reproduction_command(options: Mapping[str, Any], name: str) -> str:
    """The `biml train …` that repeats a run: the options that differ from those of its preset.

    Args:
        options: fields of `TrainingConfig`, as a checkpoint of any version has them.
        name: of the model's file.

    >>> options = {"preset": "fast", "episode_type": "joint", "nsteps": 100, "time_budget": 3.0}
    >>> reproduction_command(options, "a.pt")
    'biml train --preset fast --episode_type joint --nsteps 100 --seed 0 --fn_out_model a.pt'
    """
    options = current_options(options)
    preset = options.get("preset", "paper")
    defaults = asdict(TrainingConfig()) | PRESETS.get(preset, {})
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
            parts += [cli_name(field), Path(value).name if field == "init_from" else str(value)]
    return shlex.join([*parts, "--fn_out_model", name])


# === The learning curves that a checkpoint remembers, ours or a released one.


@dataclass(frozen=True)
class RunSegment:
    """One of the runs that made a model, each from the weights of the one before.

    Attributes:
        before: episodes that were shown in earlier parts.
        lines: of its history; none where nobody has them.
    """

    episodes_before: int
    log: Sequence[LogEntry]


def learning_curves(path: Path) -> list[LogEntry]:
    """The lines of a model's last run: from the file itself, else from the history file beside it.

    Those of `NAME_best.pt` are those of `NAME.pt`, where that is beside it.

    Raises:
        BimlError: neither holds any, or the model cannot be read.
    """
    lines = _stored_log(load_checkpoint(path))
    beside = RunPaths(path).history
    whole_run = path.with_name(path.name.replace("_best", ""))
    if not lines and beside.is_file():
        lines = read_metrics(beside)
    if not lines and whole_run != path and whole_run.is_file():
        lines = learning_curves(whole_run)
    if not lines:
        raise BimlError(f"{path}: holds no learning curves, and there is no file {beside.name}")
    return lines


def training_segments(path: Path) -> list[RunSegment]:
    """The curves of all runs that made a model, the first one first.

    Those of the models that it started from are taken from their files, found by their checksums
    beside it or among the models that come with biml, or from its card.

    Raises:
        BimlError: the model cannot be read.
    """
    contents = load_checkpoint(path)
    card = contents.get("card") or {}
    ancestors = (contents.get("info") or {}).get("ancestors") or card.get("started_from") or ()
    parts: list[RunSegment] = []
    before = 0
    for one in ancestors:
        file = _find_parent_file(one, path)
        if file and not parts:
            # It may know of earlier ones itself.
            parts = training_segments(file)
            before = parts.pop().episodes_before
        lines = _curves_or_empty(file) if file else current_log(one.get("history") or ())
        shown = one.get("episodes")
        if shown is None:
            shown = lines[-1]["episodes"] if lines else 0
        parts.append(
            RunSegment(before, [line for line in lines if (line["episodes"] or 0) <= shown])
        )
        before += int(shown)
    return [*parts, RunSegment(before, _curves_or_empty(path))]


def _curves_or_empty(path: Path) -> list[LogEntry]:
    try:
        return learning_curves(path)
    except BimlError:
        return []


def _find_parent_file(parent: Mapping[str, Any], path: Path) -> Path | None:
    """The file of a model that the one at `path` started from, if that is still there."""
    for file in (path.with_name(str(parent["file"])), *list_pretrained()):
        if file.is_file() and sha256(read_bytes(file)).hexdigest() == parent.get("sha256"):
            return file
    return None


def _stored_log(contents: Mapping[str, Any]) -> list[LogEntry]:
    """The lines in a checkpoint."""
    record = contents.get("training", {}).get("record", {})
    found = record.get("history") or contents.get("history")
    return current_log(found or _mlc_log(contents.get("info") or {}))


def _mlc_log(info: Mapping[str, Any]) -> list[LogEntry]:
    """A released checkpoint's `train_tracker` in our words."""
    batch_size = int(info.get("batch_size") or 1)
    return [
        {
            "step": line["step"],
            "episodes": line["step"] * batch_size,
            "lr": line["lr"],
            "train_loss": line["avg_train_loss"],
            "val_loss": line["val_loss"],
        }
        for line in info.get("train_tracker") or ()
    ]


# === Making a model for shipping: rounded weights, and a card of facts and measured figures.


MAX_CURVE_POINTS = 200
"""Points of the learning curves of a run that are kept at most."""


def build_release(
    checkpoint: Path,
    name: str,
    data: DataFolders,
    *,
    facts: Mapping[str, Any] | None = None,
    repeats: int = DEFAULT_REPEATS,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """A checkpoint's contents for shipping, to be written by `export.write_safetensors`.

    The figures are those of the weights rounded to float16, which are what is shipped.

    Args:
        checkpoint: a trained model.
        name: what it shall be called.
        data: where people's answers are found.
        facts: of the card, where the checkpoint does not hold them or others are true.
        passes: over people's answers.
        progress: told what is being done.

    Raises:
        UsageError: a fact that no card has, or the checkpoint does not say its episode type.
        BimlError: the checkpoint cannot be read, or people's answers are not found.
    """
    contents = load_checkpoint(checkpoint)
    if not contents["episode_type"]:
        raise UsageError(f"{checkpoint} does not say what it was trained on")
    parts = training_segments(checkpoint)
    card = {"name": name, **_training_facts(contents, name, parts)}
    unknown = set(facts or {}) - {*card, "note"}
    if unknown:
        raise UsageError(f"a card has no {', '.join(sorted(unknown))}; it has {', '.join(card)}")
    card |= facts or {}
    weights = cast_weights(cast_weights(contents["weights"], torch.float16), torch.float32)
    network = network_from_checkpoint({**contents, "weights": weights}, str(checkpoint))
    figures, skipped = evaluate_for_card(network, data, repeats=repeats, progress=progress)
    progress("answers before and after rounding")
    changed, asked = count_changed_responses(
        network, network_from_checkpoint(contents, str(checkpoint)), data
    )
    card |= {
        "figures": figures,
        "skipped": skipped,
        "p_lapse": figures.get("few_shot_human", {}).get("p_lapse"),
        "rounding": {"changed_answers": changed, "answers": asked},
    }
    kept = {key: contents[key] for key in ("format", "version", *REQUIRED_KEYS)}
    info = contents.get("info") or {}
    return kept | {
        "weights": weights,
        "info": {key: info[key] for key in ("step", "total_steps", "episodes") if key in info},
        "card": card,
        "history": _thin_log(parts[-1].log),
    }


def _training_facts(
    contents: Mapping[str, Any], name: str, segments: Sequence[RunSegment]
) -> dict[str, Any]:
    """How a model was trained, counting the models that its weights started from."""
    info = contents.get("info") or {}
    options = info.get("options", contents.get("training", {}).get("options", {}))
    line = [*info.get("ancestors", ()), {**info, "episode_type": contents["episode_type"]}]
    sources = dict.fromkeys(
        part for one in line for part in episode_type(one["episode_type"]).data_sources
    )
    return {
        "command": reproduction_command(options, f"{name}.pt") if options else None,
        "seed": options.get("seed"),
        "minutes": _total(line, "seconds", 1 / 60),
        "episodes": _total(line, "episodes"),
        "hardware": info.get("hardware"),
        "torch": info.get("torch"),
        "biml": __version__,
        "data": "; ".join(sources),
        "started_from": _parent_entries(info.get("ancestors", ()), segments),
    }


def _parent_entries(
    parents: Sequence[Mapping[str, Any]], segments: Sequence[RunSegment]
) -> list[dict[str, Any]]:
    """The models before this one, each with its curves where they are known."""
    # There may be more parts: the first one may have had ancestors that this one does not know of.
    before = segments[len(segments) - 1 - len(parents) : -1]
    return [
        _parent_entry(one) | {"history": _thin_log(part.log)}
        for one, part in zip(parents, before, strict=True)
    ]


def _parent_entry(parent: Mapping[str, Any]) -> dict[str, Any]:
    options = parent.get("options")
    return {
        "file": parent["file"],
        "sha256": parent["sha256"],
        "episode_type": parent["episode_type"],
        "command": reproduction_command(options, parent["file"])
        if options
        else parent.get("command"),
        "minutes": _total([parent], "seconds", 1 / 60),
        "episodes": _total([parent], "episodes"),
    }


def _total(models: list[Mapping[str, Any]], key: str, unit: float = 1) -> float | None:
    """The sum over a line of models, or None where one of them does not say."""
    values = [one.get(key) for one in models]
    if None in values:
        return None
    total = sum(values) * unit  # type: ignore[arg-type]
    return round(total, 1) if unit != 1 else total


def _thin_log(log: Sequence[LogEntry]) -> list[LogEntry]:
    """The validated lines of a history, and of those not too many."""
    validated = [line for line in log if line.get("val_loss") is not None]
    every = max(1, -(-len(validated) // MAX_CURVE_POINTS))
    kept = [*validated[:-1:every], *validated[-1:]]
    return [{key: _round_significant(value) for key, value in line.items()} for line in kept]


def _round_significant(value: float | int | None) -> float | int | None:
    return float(f"{value:.5g}") if isinstance(value, float) else value
