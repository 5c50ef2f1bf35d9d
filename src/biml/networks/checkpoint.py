"""Files of networks: native checkpoints, safetensors with a JSON card, and published checkpoints.

A native checkpoint is a `.pt` file with a dictionary of plain values and tensors. For other tools
and for sharing, `NAME.safetensors` holds the weights and `NAME.json`, the card, the rest without
training state. Published checkpoints (MLC) are read only. `.pt` files are pickles, read safely.
"""

import argparse
import io
import json
import math
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.serialization import safe_globals

from biml import plugins
from biml.errors import BimlError, FormatError, UsageError
from biml.io import atomic_write, read_bytes, remove_partials
from biml.networks.base import EpisodeNetwork
from biml.networks.devices import pick_device
from biml.networks.pairwise import PairwiseConfig
from biml.networks.registry import architecture, architecture_name, build_network
from biml.networks.seq2seq import Seq2SeqConfig, sinusoidal_positions
from biml.paths import card_path, read_card, upgrade_card, verify_checksum
from biml.vocabulary import EOS, IO, PAD, SOS, Token, Vocabulary

FORMAT = "biml checkpoint"

VERSION = 2
"""2 gave the parameters of the staged network their present names; 1 is read as well."""

REQUIRED_KEYS = ("architecture", "config", "vocabulary", "episode_type", "weights")


DTYPES = {"float32": torch.float32, "float16": torch.float16}


@dataclass
class LoadedModel:
    """A trained network, in evaluation mode, and what its file says about it."""

    network: EpisodeNetwork
    episode_type: str  # that it was trained on; empty if not stated
    metadata: dict[str, Any]  # such as `step`, `best_val_loss`; `args` of a released checkpoint
    card: dict[str, Any] = field(default_factory=dict)  # of a pretrained model

    @property
    def n_queries(self) -> int:
        return queries_per_study_set(self.metadata)


def queries_per_study_set(metadata: Mapping[str, Any]) -> int:
    """Novel queries that shared a study set in a model's training; 1 where unknown."""
    options = metadata.get("options") or {}
    return int(metadata.get("n_queries") or options.get("n_queries") or 1)


def load_model(
    path: str | Path, device: str | torch.device = "cpu", *, vocabulary: Vocabulary | None = None
) -> LoadedModel:
    """Load a file of any of the three kinds; require that the network knows `vocabulary`.

    `device` is a name in `devices.DEVICE_NAMES`; a UsageError if this machine lacks it.
    """
    device = pick_device(device)
    contents = load_checkpoint(path)
    network = network_from_checkpoint(contents, str(path))
    if vocabulary is not None:
        network.vocabulary.require(vocabulary, str(path))
    return LoadedModel(
        network.to(device),
        contents["episode_type"],
        dict(contents.get("info") or {}),
        upgrade_card(contents.get("card")),
    )


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file of any of the three kinds, in the form of `checkpoint_dict`.

    Raises:
        FormatError: the file is truncated, hostile or not a checkpoint.
        BimlError: the file cannot be opened.
    """
    if Path(path).suffix == ".safetensors":
        return validate(read_safetensors(path), str(path))
    contents = safe_torch_load(path)
    if "nets_state_dict" in contents:
        return convert_mlc_checkpoint(contents, str(path))
    return validate(contents, str(path))


# --- native checkpoints


def checkpoint_dict(
    architecture: str,
    config: Any,
    vocabulary: Vocabulary,
    episode_type: str,
    weights: Mapping[str, Tensor],
    info: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a checkpoint's contents; `info` is for users, `training` for resuming a run."""
    contents = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": architecture,
        "config": asdict(config),
        "vocabulary": {"input": vocabulary.input.names, "output": vocabulary.output.names},
        "episode_type": episode_type,
        "weights": dict(weights),
        "info": dict(info or {}),
    }
    if needed := plugins.origins({"architecture": architecture, "episode type": episode_type}):
        contents["plugins"] = needed
    return contents if training is None else contents | {"training": dict(training)}


def checkpoint_of(
    network: EpisodeNetwork,
    episode_type: str,
    *,
    info: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the contents for a network; its weights are not copied."""
    weights = {name: value.detach() for name, value in network.state_dict().items()}
    return checkpoint_dict(
        architecture_name(network),
        network.config,
        network.vocabulary,
        episode_type,
        weights,
        info,
        training,
    )


def save_checkpoint(path: str | Path, contents: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically."""
    remove_partials(path)
    # PyTorch's archive writer fails obscurely on a full disk, so it writes to memory.
    archive = io.BytesIO()
    torch.save(dict(contents), archive)
    with atomic_write(path) as file:
        file.write(archive.getbuffer())


def validate(contents: dict[str, Any], source: str) -> dict[str, Any]:
    """Check the format and architecture of native contents; upgrade them to this version."""
    if contents.get("format") != FORMAT:
        raise FormatError("is neither a biml nor a released checkpoint", source=source)
    version = contents.get("version")
    if version not in (1, VERSION):
        problem = f"has format version {version}, this biml reads up to {VERSION}; update biml"
        raise FormatError(problem, source=source)
    missing = [key for key in REQUIRED_KEYS if key not in contents]
    if missing:
        raise FormatError(f"the checkpoint lacks {', '.join(missing)}", source=source)
    kinds = {"architecture": "architecture", "episode type": "episode_type"}
    names = {kind: str(contents[key]) for kind, key in kinds.items()}
    plugins.remember(names, contents.get("plugins"))
    try:
        architecture(names["architecture"])
    except UsageError as error:
        raise FormatError(str(error), source=source) from None
    return _upgrade_version_1(contents) if version == 1 else contents


_STAGED_STAGES = {
    "symbols": "token_embedding",
    "places": "position_embedding",
    "neighbours": "local_conv",
    "told": "lexicon_proj",
    "norm_entry": "lexicon_norm",
    "reader": "query_encoder",
    "norm_words": "query_norm",
    "norm_memory": "study_norm",
    "norm_out": "out_norm",
    "meaning": "meaning_proj",
}
_STAGED_LAYERS = {
    "own": "self_attn",
    "norm_own": "self_attn_norm",
    "study": "cross_attn",
    "norm_study": "cross_attn_norm",
    "feed": "mlp",
    "norm_feed": "mlp_norm",
    "weigh": "pool_logits",
    "norm_uses": "uses_norm",
    "told": "broadcast_proj",
    "norm_told": "broadcast_norm",
}


def _upgrade_version_1(contents: dict[str, Any]) -> dict[str, Any]:
    """Give the staged network's parameters their present names, in the same order."""
    contents = contents | {"version": VERSION}
    if contents["architecture"] == "staged":
        if isinstance(contents["config"], dict):
            sizes = {"max_positions": 20, "rotary_base": 100.0}  # which were not options then
            contents["config"] = sizes | contents["config"]
        if isinstance(contents["weights"], dict):
            named = contents["weights"].items()
            contents["weights"] = {_present_name(*str(name).split(".")): w for name, w in named}
    return contents


def _present_name(stage: str, *layer: str) -> str:
    return ".".join([_STAGED_STAGES.get(stage, stage), *(_STAGED_LAYERS.get(x, x) for x in layer)])


def network_from_checkpoint(
    contents: Mapping[str, Any], source: str = "<checkpoint>"
) -> EpisodeNetwork:
    """Build the network of a checkpoint, on the CPU, in evaluation mode."""
    try:
        words, outputs = (contents["vocabulary"][side] for side in ("input", "output"))
        vocabulary = Vocabulary.from_names(words, outputs)
        network = build_network(contents["architecture"], contents["config"], vocabulary)
        network.load_state_dict(contents["weights"])
    except UsageError as error:
        raise FormatError(str(error), source=source) from None
    except (RuntimeError, KeyError, TypeError, AttributeError, ValueError, BimlError) as error:
        problem = "the weights do not fit the sizes and the vocabulary that it states"
        raise FormatError(f"{problem} ({error})", source=source) from None
    return network.eval()


# --- safetensors and cards


def write_safetensors(
    path: str | Path, contents: Mapping[str, Any], dtype: torch.dtype = torch.float32
) -> None:
    """Write a checkpoint's contents as `path` and, with a checksum of `path`, its card."""
    weights = safetensors.torch.save(
        cast_weights(contents["weights"], dtype), metadata={"format": "pt"}
    )
    card = {key: value for key, value in contents.items() if key not in ("weights", "training")}
    card["sha256"] = sha256(weights).hexdigest()
    with atomic_write(path) as file:
        file.write(weights)
    with atomic_write(card_path(path)) as file:
        file.write((json.dumps(_to_json(card), indent=2, allow_nan=False) + "\n").encode())


def read_safetensors(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint's contents from weights and card; weights become float32."""
    data, contents = read_bytes(path), read_card(path)
    verify_checksum(data, contents, path)
    try:
        weights = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        problem = f"is damaged, truncated or not in safetensors format ({error})"
        raise FormatError(problem, source=str(path)) from None
    contents.pop("sha256", None)
    return contents | {"weights": cast_weights(weights, torch.float32)}


def cast_weights(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: value.to(dtype).contiguous() for name, value in weights.items()}


def _to_json(value: Any) -> Any:
    """Convert to JSON values: infinities and NaN become null, other unknown values text."""
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


# --- pickles


class Lang:
    """Stands in for the class in which published checkpoints keep their vocabularies."""

    symbols: list[str]
    symbol2index: dict[str, int]


Lang.__module__ = "datasets"  # the name in the pickles

_DAMAGED = "is damaged, truncated or not a checkpoint; copy or download it again"


def safe_torch_load(path: str | Path) -> dict[str, Any]:
    """Read the dictionary in a `.pt` file, with its tensors on the CPU.

    A pickle may name any function to be called when it is read. PyTorch's restricted reader accepts
    tensors and plain containers only; the two plain classes of published checkpoints are added.
    A file that names anything else is refused.
    """
    path = Path(path)
    if not path.exists():
        raise BimlError(f"{path}: there is no such checkpoint")
    archive = io.BytesIO(read_bytes(path))
    try:
        with safe_globals([Lang, argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about a hostile file are of no interest
            contents = torch.load(archive, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FormatError(_refusal_message(str(error)), source=str(path)) from None
    except Exception as error:
        # Damaged files fail anywhere in the unpickler, with any exception.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise FormatError(f"{_DAMAGED} ({reason})", source=str(path)) from None
    if not isinstance(contents, dict):
        raise FormatError("is not a checkpoint of a model", source=str(path))
    return contents


def _refusal_message(reason: str) -> str:
    if (named := re.search(r"GLOBAL ([\w.]+)", reason)) is None:
        return f"{_DAMAGED}; nothing of it was run"
    return (
        f"refused: the file names {named[1]!r} to be called while it is read, which no "
        "checkpoint of a model needs; nothing of it was run"
    )


# --- checkpoints of the published code (MLC)

POSITIONS_KEY = "positional_encoding.pos_embedding"

EXAMPLE_NUMBERS = "study_example_embedding.weight"  # only in networks for SCAN and COGS

PAIRWISE_MODULES = {
    "pair_encoder": "transformer.encoder",
    "decoder": "transformer.decoder",
    "study_example_embedding": "transformer.example_embedding",
}

NHEADS = 8  # the published code always has 8 heads; its checkpoints do not state it

METADATA_KEYS = ("epoch", "step", "nepochs", "batch_size", "best_val_loss", "train_tracker")


def convert_mlc_checkpoint(contents: dict[str, Any], source: str) -> dict[str, Any]:
    """Convert a published checkpoint to the native format, without training state."""
    try:
        weights = dict(contents["nets_state_dict"].get("net", contents["nets_state_dict"]))
        convert = _convert_pairwise if EXAMPLE_NUMBERS in weights else _convert_seq2seq
        langs = [contents["langs"][key] for key in ("input", "output")]
        sizes = {name: contents[name] for name in asdict(Seq2SeqConfig()) if name != "nheads"}
        name, config, vocabulary = convert(weights, langs, {"nheads": NHEADS, **sizes})
        args = dict(vars(contents["args"])) if "args" in contents else {}
        return checkpoint_dict(
            name,
            config,
            vocabulary,
            contents.get("episode_type") or args.get("episode_type", ""),
            _without_positions(weights, config.emb_size),
            info={key: contents[key] for key in METADATA_KEYS if key in contents} | {"args": args},
        )
    except KeyError as error:
        raise FormatError(f"the checkpoint lacks {error}", source=source) from None
    except (TypeError, AttributeError, ValueError, IndexError, UsageError) as error:
        raise FormatError(f"not what the published code writes ({error})", source=source) from None


def _convert_seq2seq(
    weights: dict[str, Any], langs: Sequence[Lang], sizes: dict[str, Any]
) -> tuple[str, Seq2SeqConfig, Vocabulary]:
    _check_numbering(langs, ("SOS", "EOS", "PAD"))
    vocabulary = Vocabulary.from_names(*(lang.symbols for lang in langs))
    return "paper", Seq2SeqConfig(**sizes), vocabulary


def _convert_pairwise(
    weights: dict[str, Any], langs: Sequence[Lang], sizes: dict[str, Any]
) -> tuple[str, PairwiseConfig, Vocabulary]:
    """Rename the weights, and sort the rows of the input embedding as in other vocabularies."""
    _check_numbering(langs, ("<SOS>", "<EOS>", "<PAD>"))
    names: dict[Token, str] = {IO: "->", SOS: "|", EOS: "<EOS>", PAD: "<PAD>"}
    words, symbols = (lang.symbols for lang in langs)
    words = [word for word in words if word not in names.values()]
    vocabulary = Vocabulary.from_words_and_symbols(words, symbols)
    index = langs[0].symbol2index
    # The basic seq2seq model has no input embeddings of output symbols, since it never reads them.
    rows = [index.get(names.get(t, str(t)), index["<PAD>"]) for t in vocabulary.input.index]
    for name in list(weights):
        prefix, _, rest = name.partition(".")
        weights[f"{PAIRWISE_MODULES.get(prefix, prefix)}.{rest}"] = weights.pop(name)
    weights["input_embedding.weight"] = weights["input_embedding.weight"][rows]
    max_study = len(weights["transformer.example_embedding.weight"])
    return "pairwise", PairwiseConfig(**sizes, max_study=max_study), vocabulary


def _check_numbering(langs: Sequence[Lang], reserved: tuple[str, ...]) -> None:
    for lang in langs:
        if lang.symbol2index != {name: i for i, name in enumerate((*lang.symbols, *reserved))}:
            end = ", ".join(reserved)
            raise ValueError(f"its symbols are not numbered in order with {end} behind")


def _without_positions(weights: dict[str, Any], width: int) -> dict[str, Tensor]:
    positions = weights.pop(POSITIONS_KEY, None)
    if positions is not None:
        table = positions.reshape(-1, width)
        if not torch.allclose(table, sinusoidal_positions(len(table), width), atol=1e-4):
            raise ValueError("its positions are not sinusoids")
    return weights
