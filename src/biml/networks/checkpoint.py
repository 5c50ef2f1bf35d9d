"""Loading a trained network, whoever wrote its file."""

import argparse
import io
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals

from biml.errors import BimlError, FormatError, UsageError
from biml.io import atomic_write
from biml.networks.base import EpisodeNetwork
from biml.networks.pretrained import read_safetensors
from biml.networks.registry import architecture, architecture_name, build_network
from biml.networks.seq2seq import Seq2SeqConfig, sinusoidal_positions
from biml.vocabulary import Vocabulary


class Lang:
    """Stands in for the class that released checkpoints keep their vocabularies in."""

    symbols: list[str]
    symbol2index: dict[str, int]


# A pickle names its classes; under this name the released checkpoints have theirs.
Lang.__module__ = "datasets"

_DAMAGED_MESSAGE = "is damaged, truncated or not a checkpoint; copy or download it again"

_ALLOWED_CLASSES: list[Any] = [Lang, argparse.Namespace]


def safe_torch_load(path: str | Path) -> dict[str, Any]:
    """The dictionary in a `.pt` file, ours or a released one, with its tensors on the CPU.

    A `.pt` file is a pickle, and a pickle may name any function to be called when it is read.
    PyTorch's restricted reader knows tensors and plain containers only; the two plain classes of
    released checkpoints are added to it. A file that names anything else is refused.

    Raises:
        FormatError: the file is truncated, not a checkpoint, or names a function to be called.
        BimlError: the file cannot be opened.
    """
    path = Path(path)
    if not path.exists():
        raise BimlError(f"{path}: there is no such checkpoint")
    try:
        archive = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise BimlError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        with safe_globals(_ALLOWED_CLASSES), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd in a hostile file is of no interest
            contents = torch.load(archive, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FormatError(_refusal_message(str(error)), source=str(path)) from None
    except Exception as error:
        # Damaged files fail anywhere in the unpickler, with any exception.
        raise FormatError(f"{_DAMAGED_MESSAGE} ({_first_line(error)})", source=str(path)) from None
    if not isinstance(contents, dict):
        raise FormatError("is not a checkpoint of a model", source=str(path))
    return contents


def _refusal_message(reason: str) -> str:
    named = re.search(r"GLOBAL ([\w.]+)", reason)
    if named:
        return (
            f"refused: the file names {named[1]!r} to be called while it is read, which no "
            "checkpoint of a model needs; nothing of it was run"
        )
    return f"{_DAMAGED_MESSAGE}; nothing of it was run"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


# === Checkpoints that the published code wrote, translated into our own format.


POSITIONS_KEY = "positional_encoding.pos_embedding"

NHEADS = 8
"""Released checkpoints do not say how many heads they have; the published code always has 8."""

METADATA_KEYS = ("epoch", "step", "nepochs", "batch_size", "best_val_loss", "train_tracker")


def is_mlc_checkpoint(contents: dict[str, Any]) -> bool:
    return "nets_state_dict" in contents


def convert_mlc_checkpoint(contents: dict[str, Any], source: str) -> dict[str, Any]:
    """The contents of a released checkpoint as those of one of ours (without training state).

    Args:
        contents: the dictionary in the file.
        source: its name, for messages.

    Raises:
        FormatError: something is missing or does not fit together.
    """
    try:
        langs = [contents["langs"][key] for key in ("input", "output")]
        vocabulary = Vocabulary.from_names(*(lang.symbols for lang in langs))
        for lang, tokens in zip(langs, (vocabulary.input, vocabulary.output), strict=True):
            if lang.symbol2index != {str(token): i for token, i in tokens.index.items()}:
                raise ValueError("its symbols are not numbered in order with SOS, EOS, PAD behind")
        config = Seq2SeqConfig(
            nlayers_encoder=contents["nlayers_encoder"],
            nlayers_decoder=contents["nlayers_decoder"],
            nheads=NHEADS,
            emb_size=contents["emb_size"],
            ff_mult=contents["ff_mult"],
            dropout=contents["dropout"],
            activation=contents["activation"],
        )
        args = dict(vars(contents["args"])) if "args" in contents else {}
        return checkpoint_dict(
            "paper",
            config,
            vocabulary,
            contents.get("episode_type") or args.get("episode_type", ""),
            _convert_weights(contents["nets_state_dict"], config.emb_size),
            info={key: contents[key] for key in METADATA_KEYS if key in contents} | {"args": args},
        )
    except KeyError as error:
        raise FormatError(f"the checkpoint lacks {error}", source=source) from None
    except (TypeError, AttributeError, ValueError, UsageError) as error:
        raise FormatError(f"not what the published code writes ({error})", source=source) from None


def _convert_weights(weights: dict[str, Any], width: int) -> dict[str, Tensor]:
    weights = dict(weights.get("net", weights))
    positions = weights.pop(POSITIONS_KEY, None)
    if positions is not None:
        table = positions.reshape(-1, width)
        if not torch.allclose(table, sinusoidal_positions(len(table), width), atol=1e-4):
            raise ValueError("its positions are not sinusoids")
    return weights


# === Our own checkpoints: one dictionary of plain values and tensors in a `.pt` file.


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
            "input": vocabulary.input.names,
            "output": vocabulary.output.names,
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
        vocabulary = Vocabulary.from_names(words, outputs)
        network = build_network(contents["architecture"], contents["config"], vocabulary)
        network.load_state_dict(contents["weights"])
    except (RuntimeError, KeyError, TypeError, AttributeError, ValueError, BimlError) as error:
        if isinstance(error, UsageError):
            raise FormatError(str(error), source=source) from None
        problem = "the weights do not fit the sizes and the vocabulary that it states"
        raise FormatError(f"{problem} ({error})", source=source) from None
    return network.eval()


# === Loading a trained network, whoever wrote its file.


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
    network = network_from_checkpoint(contents, str(path))
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
        return validate(read_safetensors(path), str(path))
    contents = safe_torch_load(path)
    if is_mlc_checkpoint(contents):
        return convert_mlc_checkpoint(contents, str(path))
    return validate(contents, str(path))
