"""Making a model for shipping: rounded weights, and a card of facts and measured figures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from biml.checkpoints import own
from biml.checkpoints.export import converted
from biml.checkpoints.model import read_contents
from biml.episodes.locate import DataFolders
from biml.episodes.types import episode_type
from biml.errors import UsageError
from biml.evaluation.measure import PASSES, changed_answers, measure
from biml.lineage.curves import Part, training_parts
from biml.training.history import Line
from biml.training.recipe import command
from biml.version import __version__

CURVE_POINTS = 200
"""Points of the learning curves of a run that are kept at most."""


def ready_to_ship(
    checkpoint: Path,
    name: str,
    data: DataFolders,
    *,
    facts: Mapping[str, Any] | None = None,
    passes: int = PASSES,
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
    contents = read_contents(checkpoint)
    if not contents["episode_type"]:
        raise UsageError(f"{checkpoint} does not say what it was trained on")
    parts = training_parts(checkpoint)
    card = {"name": name, **_facts(contents, name, parts)}
    unknown = set(facts or {}) - {*card, "note"}
    if unknown:
        raise UsageError(f"a card has no {', '.join(sorted(unknown))}; it has {', '.join(card)}")
    card |= facts or {}
    weights = converted(converted(contents["weights"], torch.float16), torch.float32)
    network = own.network_from({**contents, "weights": weights}, str(checkpoint))
    figures, skipped = measure(network, data, passes=passes, progress=progress)
    progress("answers before and after rounding")
    changed, asked = changed_answers(network, own.network_from(contents, str(checkpoint)), data)
    card |= {
        "figures": figures,
        "skipped": skipped,
        "p_lapse": figures.get("few_shot_human", {}).get("p_lapse"),
        "rounding": {"changed_answers": changed, "answers": asked},
    }
    kept = {key: contents[key] for key in ("format", "version", *own.REQUIRED)}
    info = contents.get("info") or {}
    return kept | {
        "weights": weights,
        "info": {key: info[key] for key in ("step", "total_steps", "episodes") if key in info},
        "card": card,
        "history": _thinned(parts[-1].lines),
    }


def _facts(contents: Mapping[str, Any], name: str, parts: Sequence[Part]) -> dict[str, Any]:
    """How a model was trained, counting the models that its weights started from."""
    info = contents.get("info") or {}
    options = info.get("options", contents.get("training", {}).get("options", {}))
    line = [*info.get("ancestors", ()), {**info, "episode_type": contents["episode_type"]}]
    sources = dict.fromkeys(
        part
        for one in line
        for part in episode_type(one["episode_type"]).learns_from.split("; ")
        if part
    )
    return {
        "command": command(options, f"{name}.pt") if options else None,
        "seed": options.get("seed"),
        "minutes": _sum(line, "seconds", 1 / 60),
        "episodes": _sum(line, "episodes"),
        "hardware": info.get("hardware"),
        "torch": info.get("torch"),
        "biml": __version__,
        "data": "; ".join(sources),
        "started_from": _started_from(info.get("ancestors", ()), parts),
    }


def _started_from(
    ancestors: Sequence[Mapping[str, Any]], parts: Sequence[Part]
) -> list[dict[str, Any]]:
    """The models before this one, each with its curves where they are known."""
    # There may be more parts: the first one may have had ancestors that this one does not know of.
    before = parts[len(parts) - 1 - len(ancestors) : -1]
    return [
        _ancestor(one) | {"history": _thinned(part.lines)}
        for one, part in zip(ancestors, before, strict=True)
    ]


def _ancestor(one: Mapping[str, Any]) -> dict[str, Any]:
    options = one.get("options")
    return {
        "file": one["file"],
        "sha256": one["sha256"],
        "episode_type": one["episode_type"],
        "command": command(options, one["file"]) if options else one.get("command"),
        "minutes": _sum([one], "seconds", 1 / 60),
        "episodes": _sum([one], "episodes"),
    }


def _sum(line: list[Mapping[str, Any]], key: str, unit: float = 1) -> float | None:
    """The sum over a line of models, or None where one of them does not say."""
    values = [one.get(key) for one in line]
    if None in values:
        return None
    total = sum(values) * unit  # type: ignore[arg-type]
    return round(total, 1) if unit != 1 else total


def _thinned(lines: Sequence[Line]) -> list[Line]:
    """The validated lines of a history, and of those not too many."""
    validated = [line for line in lines if line.get("val_loss") is not None]
    every = max(1, -(-len(validated) // CURVE_POINTS))
    kept = [*validated[:-1:every], *validated[-1:]]
    return [{key: _short(value) for key, value in line.items()} for line in kept]


def _short(value: float | int | None) -> float | int | None:
    return float(f"{value:.5g}") if isinstance(value, float) else value
