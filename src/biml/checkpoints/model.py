"""Loading a trained network, whoever wrote its file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from biml.checkpoints import own, released
from biml.checkpoints.export import read_safetensors
from biml.checkpoints.restricted import safe_torch_load
from biml.errors import UsageError
from biml.networks.base import EpisodeNetwork
from biml.vocabulary import Vocabulary


@dataclass
class LoadedModel:
    """A trained network and what its file says about it.

    Attributes:
        network: in evaluation mode.
        episode_type: what it was trained on; empty where the file does not say.
        info: plain facts, such as `step`, `epoch`, `best_val_loss`, and `args` of a released one.
        card: of a model that comes with biml, how it was trained and how well it answers.
    """

    network: EpisodeNetwork
    episode_type: str
    metadata: dict[str, Any]
    card: dict[str, Any] = field(default_factory=dict)


def load_model(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    vocabulary: Vocabulary | None = None,
) -> LoadedModel:
    """Load one of our checkpoints, a released one, or an export in safetensors format.

    Args:
        path: a `.pt` or `.safetensors` file.
        device: where the network shall live.
        vocabulary: the symbols that it will be asked about, where that is known.

    Raises:
        FormatError: the file is truncated, hostile or not a checkpoint.
        UsageError: the network knows other symbols than `vocabulary`.
        BimlError: the file cannot be opened.
    """
    contents = load_checkpoint(path)
    network = own.network_from_checkpoint(contents, str(path))
    if vocabulary is not None:
        check_vocabulary(network, vocabulary, path, contents["episode_type"])
    return LoadedModel(
        network.to(device),
        contents["episode_type"],
        dict(contents.get("info") or {}),
        dict(contents.get("card") or {}),
    )


def check_vocabulary(
    network: EpisodeNetwork, vocabulary: Vocabulary, path: str | Path, episode_type: str
) -> None:
    """Make sure that a network knows the symbols that it will be asked about.

    Args:
        network: from the file `path`, trained on `episode_type`.
        vocabulary: what it shall know.

    Raises:
        UsageError: it knows others; the message has both.
    """
    if network.vocabulary != vocabulary:
        raise UsageError(
            f"{path}: this model has another vocabulary: it knows "
            f"{' '.join(network.vocabulary.input.symbols)}, but it would be asked about "
            f"{' '.join(vocabulary.input.symbols)}. Choose an episode type that fits it "
            f"(it was trained on {episode_type or 'an unknown one'})."
        )


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """What a file of any of the three kinds holds, in the form of our own checkpoints.

    Raises:
        FormatError: the file is truncated, hostile or not a checkpoint.
        BimlError: the file cannot be opened.
    """
    if Path(path).suffix == ".safetensors":
        return own.validate(read_safetensors(path), str(path))
    contents = safe_torch_load(path)
    if released.is_mlc_checkpoint(contents):
        return released.convert_mlc_checkpoint(contents, str(path))
    return own.validate(contents, str(path))
