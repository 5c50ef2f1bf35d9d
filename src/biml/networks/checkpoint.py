"""Files of networks: native checkpoints, safetensors with a JSON card, and published checkpoints.

A native checkpoint is a `.pt` file with a dictionary of plain values and tensors. For other tools
and for sharing, `NAME.safetensors` holds the weights and `NAME.json`, the card, the rest without
training state. Published checkpoints (MLC) are read only. `.pt` files are pickles, read safely.
"""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from biml import plugins
from biml.errors import BimlError, FormatError, UsageError
from biml.facts import CHECKPOINT, FLAG, NUMBER, SCALAR, TEXT, WHOLE, check_facts
from biml.io import atomic_write, read_bytes, remove_partials, write_file
from biml.networks.base import EpisodeNetwork
from biml.networks.devices import pick_device
from biml.networks.registry import architecture, architecture_name
from biml.networks.released import convert_mlc_checkpoint
from biml.networks.torch_file import safe_torch_load
from biml.networks.weights import (
    cast_weights,
    family,
    float_weights,
    network_of_weights,
    weights_digest,
)
from biml.paths import card_path, read_card, upgrade_card, verify_checksum
from biml.vocabulary import Vocabulary

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


def load_model(path: str | Path, device: str | torch.device = "cpu") -> LoadedModel:
    """Load a file of any of the three kinds.

    `device` is a name in `devices.DEVICE_NAMES`; a UsageError if this machine lacks it.
    """
    device = pick_device(device)
    contents = load_checkpoint(path)
    network = network_from_checkpoint(contents, str(path))
    return LoadedModel(
        network.to(device),
        contents["episode_type"],
        dict(contents.get("info") or {}),
        upgrade_card(contents.get("card")),
    )


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file of any of the three kinds, in the form of `checkpoint_dict`.

    Here everything is checked once: checksums, the weights' types and values, the kinds of all
    facts. Weights become float32.

    Raises:
        FormatError: the file is damaged, hostile or not a checkpoint.
        BimlError: the file cannot be opened.
    """
    if Path(path).suffix == ".safetensors":
        return validate(read_safetensors(path), str(path))
    contents = safe_torch_load(path)
    if "nets_state_dict" in contents:
        contents = checkpoint_dict(**convert_mlc_checkpoint(contents, str(path)))
    facts = {key: value for key, value in contents.items() if key != "weights"}
    check_facts(facts, CHECKPOINT, str(path))
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
    """Write a checkpoint atomically, with a digest of its weights."""
    remove_partials(path)
    # PyTorch's archive writer fails obscurely on a full disk, so it writes to memory.
    archive = io.BytesIO()
    torch.save({**contents, "digest": weights_digest(contents["weights"])}, archive)
    write_file(path, archive.getvalue())


def validate(contents: dict[str, Any], source: str) -> dict[str, Any]:
    """Check native contents beside the kinds of their facts; upgrade them to this version."""
    if contents.get("format") != FORMAT:
        raise FormatError(_foreign_message(contents), source=source)
    version = contents.get("version")
    if version not in (1, VERSION):
        problem = f"has format version {version}, this biml reads up to {VERSION}; update biml"
        raise FormatError(problem, source=source)
    missing = [key for key in REQUIRED_KEYS if key not in contents]
    if missing:
        raise FormatError(f"the checkpoint lacks {', '.join(missing)}", source=source)
    weights = contents["weights"]
    if not isinstance(weights, Mapping):
        raise FormatError("its weights are not a dictionary of tensors", source=source)
    cast = float_weights(weights, source)
    if "digest" in contents and contents["digest"] != weights_digest(weights):
        problem = "is damaged: the digest of its weights is wrong; copy or download it again"
        raise FormatError(problem, source=source)
    contents = {key: value for key, value in contents.items() if key != "digest"}
    contents["weights"] = cast
    kinds = {"architecture": "architecture", "episode type": "episode_type"}
    names = {kind: str(contents[key]) for kind, key in kinds.items()}
    plugins.remember(names, contents.get("plugins"))
    try:
        row = architecture(names["architecture"])
    except UsageError as error:
        raise FormatError(str(error), source=source) from None
    kinds_of = {int: WHOLE, float: NUMBER, str: TEXT, bool: FLAG}
    sizes = {f.name: kinds_of.get(type(f.default), SCALAR) for f in fields(row.config)}
    check_facts(contents["config"], sizes, source)
    return _upgrade_version_1(contents) if version == 1 else contents


def _foreign_message(contents: Mapping[str, Any]) -> str:
    """What a file is that neither biml nor the published code wrote, as far as one can tell."""
    tables = (contents, *(v for v in contents.values() if isinstance(v, Mapping)))
    names = [name for table in tables for name, v in table.items() if isinstance(v, Tensor)]
    problem = "is neither a biml nor a released checkpoint"
    if not names:
        return problem
    kind = family(names) or "another network"
    return f"{problem}: it holds {len(names)} tensors, such as {names[0]!r}, of {kind}"


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
        network = network_of_weights(
            contents["architecture"], contents["config"], vocabulary, contents["weights"]
        )
    except UsageError as error:
        raise FormatError(str(error), source=source) from None
    except (ValueError, KeyError, TypeError, BimlError) as error:
        problem = "the weights do not fit the sizes and the vocabulary that it states"
        raise FormatError(f"{problem}: {error}", source=source) from None
    return network.eval()


# --- safetensors and cards


def write_safetensors(
    path: str | Path,
    contents: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
    *,
    card_file: Path | None = None,
) -> None:
    """Write a checkpoint's contents as `path` and, with a checksum of `path`, its card.

    Both are replaced once both are complete. The card is by default `card_path(path)`.
    """
    weights = safetensors.torch.save(
        cast_weights(contents["weights"], dtype), metadata={"format": "pt"}
    )
    card = {key: value for key, value in contents.items() if key not in ("weights", "training")}
    card["sha256"] = sha256(weights).hexdigest()
    text = json.dumps(_to_json(card), indent=2, allow_nan=False) + "\n"
    with atomic_write(path) as file, atomic_write(card_file or card_path(path)) as beside:
        file.write(weights)
        file.flush()
        beside.write(text.encode())


def read_safetensors(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint's contents from weights and card."""
    data, contents = read_bytes(path), read_card(path)
    verify_checksum(data, contents, path)
    try:
        weights = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        problem = f"is damaged, truncated or not in safetensors format ({error})"
        raise FormatError(problem, source=str(path)) from None
    contents.pop("sha256", None)
    return contents | {"weights": weights}


def _to_json(value: Any) -> Any:
    """Convert to JSON values: infinities and NaN become null, other unknown values text."""
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
