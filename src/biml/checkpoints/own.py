"""Our own checkpoints: one dictionary of plain values and tensors in a `.pt` file.

Keys: `format`, `version`, `architecture` (a name of the table of architectures), `config` (its
fields), `vocabulary` (`input` and `output` symbols in order), `episode_type`, `weights` (the
network's state dict), `info` (plain facts, such as the step) and, where a run can be resumed from
it, `training` (optimizer, step, history, options). `torch.load(path, weights_only=True)` reads it.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biml.checkpoints.restricted import safe_torch_load
from biml.errors import BimlError, FormatError, UsageError
from biml.files import atomic_write
from biml.networks.base import EpisodeNetwork
from biml.networks.table import architecture, build_network, architecture_name
from biml.vocabulary import TokenVocab, Vocabulary

FORMAT = "biml checkpoint"
VERSION = 1

REQUIRED_KEYS = ("architecture", "config", "vocabulary", "episode_type", "weights")


def checkpoint_dict(
    architecture: str,
    config: Any,
    vocabulary: Vocabulary,
    episode_type: str,
    weights: Mapping[str, Tensor],
    *,
    info: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The dictionary that a checkpoint holds."""
    kept = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": architecture,
        "config": asdict(config),
        "vocabulary": {
            "input": list(vocabulary.input.symbols),
            "output": list(vocabulary.output.symbols),
        },
        "episode_type": episode_type,
        "weights": dict(weights),
        "info": dict(info or {}),
    }
    return kept if training is None else kept | {"training": dict(training)}


def checkpoint_of(
    network: EpisodeNetwork,
    episode_type: str,
    *,
    info: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The dictionary for a network as it is now; its weights are not copied.

    Args:
        network: its architecture, config, vocabulary and weights are kept.
        episode_type: what it was trained on.
        info: plain facts to show to a user, such as `{"step": 100}`.
        training: what a run needs to go on (plain values and tensors).
    """
    weights = {name: value.detach() for name, value in network.state_dict().items()}
    name = architecture_name(network)
    return checkpoint_dict(
        name,
        network.config,
        network.vocabulary,
        episode_type,
        weights,
        info=info,
        training=training,
    )


def save_checkpoint(path: str | Path, contents: Mapping[str, Any]) -> None:
    """Write a checkpoint; whatever stood at `path` is replaced in one step, or not at all.

    Raises:
        BimlError: the folder cannot be written or the disk is full; `path` is as it was.
    """
    # PyTorch's archive writer fails obscurely on a full disk, so it writes to memory.
    archive = io.BytesIO()
    torch.save(dict(contents), archive)
    with atomic_write(path) as file:
        file.write(archive.getbuffer())


def load_native_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read one of our checkpoints, with all tensors on the CPU.

    Raises:
        FormatError: damaged, hostile, not one of ours, or written by a later version.
        BimlError: the file cannot be opened.
    """
    return validate(safe_torch_load(path), str(path))


def validate(contents: dict[str, Any], source: str) -> dict[str, Any]:
    """The contents, if they have our format and an architecture that there is.

    Raises:
        FormatError: they do not.
    """
    if contents.get("format") != FORMAT:
        raise FormatError("is neither a biml nor a released checkpoint", source=source)
    version = contents.get("version")
    if version != VERSION:
        raise FormatError(
            f"has format version {version}, this biml reads {VERSION}; update biml", source=source
        )
    missing = [key for key in REQUIRED_KEYS if key not in contents]
    if missing:
        raise FormatError(f"the checkpoint lacks {', '.join(missing)}", source=source)
    try:
        architecture(str(contents["architecture"]))
    except UsageError as error:
        raise FormatError(str(error), source=source) from None
    return contents


def network_from_checkpoint(
    contents: Mapping[str, Any], source: str = "<checkpoint>"
) -> EpisodeNetwork:
    """The network of a checkpoint, on the CPU, in evaluation mode.

    Raises:
        FormatError: sizes, vocabulary and weights do not fit together.
    """
    try:
        words, outputs = (contents["vocabulary"][side] for side in ("input", "output"))
        vocabulary = Vocabulary(TokenVocab(tuple(words)), TokenVocab(tuple(outputs)))
        network = build_network(contents["architecture"], contents["config"], vocabulary)
        network.load_state_dict(contents["weights"])
    except (RuntimeError, KeyError, TypeError, AttributeError, ValueError, BimlError) as error:
        if isinstance(error, UsageError):
            raise FormatError(str(error), source=source) from None
        problem = "the weights do not fit the sizes and the vocabulary that it states"
        raise FormatError(f"{problem} ({error})", source=source) from None
    return network.eval()
