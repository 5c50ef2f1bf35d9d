"""Making a model for shipping: rounded weights, and a card of facts and measured figures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from biml.checkpoints import own
from biml.checkpoints.export import cast_weights
from biml.checkpoints.model import load_checkpoint
from biml.episodes.locate import DataFolders
from biml.episodes.types import episode_type
from biml.errors import UsageError
from biml.evaluation.measure import DEFAULT_REPEATS, count_changed_responses, evaluate_for_card
from biml.lineage.curves import RunSegment, training_segments
from biml.training.history import LogEntry
from biml.training.recipe import reproduction_command
from biml.version import __version__

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
    network = own.network_from_checkpoint({**contents, "weights": weights}, str(checkpoint))
    figures, skipped = evaluate_for_card(network, data, repeats=repeats, progress=progress)
    progress("answers before and after rounding")
    changed, asked = count_changed_responses(
        network, own.network_from_checkpoint(contents, str(checkpoint)), data
    )
    card |= {
        "figures": figures,
        "skipped": skipped,
        "p_lapse": figures.get("few_shot_human", {}).get("p_lapse"),
        "rounding": {"changed_answers": changed, "answers": asked},
    }
    kept = {key: contents[key] for key in ("format", "version", *own.REQUIRED_KEYS)}
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
        part
        for one in line
        for part in episode_type(one["episode_type"]).data_source.split("; ")
        if part
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
