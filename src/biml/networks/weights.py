"""The named tensors of a network's file: their checks, and the networks that they fit."""

import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from biml import plugins
from biml.errors import FormatError
from biml.networks.base import EpisodeNetwork
from biml.networks.registry import build_network, config_of
from biml.vocabulary import Vocabulary

_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.")
"""What `DistributedDataParallel`, `DataParallel` and `torch.compile` add to names."""

_FAMILIES = {
    r"(rnn|gru|lstm).*weight_ih|weight_ih_l0": "a recurrent network (RNN, GRU or LSTM)",
    r"(^|\.)h\.\d+\.(attn|mlp)\.c_": "GPT-2",
    r"layers\.\d+\.(self_attn\.q_proj|mlp\.gate_proj)": "a decoder such as Llama",
    r"(encoder|decoder)\.block\.\d+\.layer": "T5",
    r"encoder\.layer\.\d+\.attention\.self": "BERT",
    r"blocks\.\d+\.attn\.qkv|cls_token": "a vision transformer",
    r"(^|\.)layer\d\.\d+\.conv|(^|\.)conv\d*\.weight": "a convolutional network",
    r"layers\.\d+\.(self_attn\.in_proj|linear1)": "a transformer of PyTorch's layers",
}
"""Kinds of networks by the names of their weights."""

MAX_NAMED = 3
"""Weights that a message names of each kind of problem."""


def family(names: Iterable[object]) -> str:
    """What network weights of these names seem to be of; empty if unknown.

    >>> family(["embedding.weight", "lstm.weight_ih_l0"])
    'a recurrent network (RNN, GRU or LSTM)'
    """
    text = "\n".join(map(str, names))
    found = (kind for pattern, kind in _FAMILIES.items() if re.search(pattern, text, re.MULTILINE))
    return next(found, "")


def strip_prefixes(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Remove what wrappers add to names.

    >>> list(strip_prefixes({"module._orig_mod.out.weight": 0, "net._orig_mod.bias": 0}))
    ['out.weight', 'net.bias']
    """
    return {_WRAPPERS.sub("", str(name)): value for name, value in weights.items()}


def cast_weights(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous()
        for name, value in weights.items()
    }


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = sha256()
    for name, value in weights.items():
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(data.numpy().data)
    return digest.hexdigest()


def float_weights(weights: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """Weights of any floating type as float32; those of whole numbers as they are.

    Raises:
        FormatError: some are no plain tensors, are not finite, or are views that repeat fewer
            numbers than they have.
    """
    problems = []
    stored: dict[int, int] = {}
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            problems.append(f"{name} is a {type(value).__name__}, not a tensor")
        elif value.is_complex() or value.is_quantized or value.layout != torch.strided:
            problems.append(f"{name} is of type {value.dtype}".replace("torch.", ""))
        else:
            storage = value.untyped_storage()
            stored[storage.data_ptr()] = storage.nbytes()
            if value.numel() * value.itemsize > storage.nbytes():
                problems.append(f"{name} has more numbers than the file")
    if not problems and sum(value.numel() for value in weights.values()) > sum(stored.values()):
        problems.append("they have more numbers than the file")
    cast = {} if problems else cast_weights(weights, torch.float32)
    # A sum is finite if all numbers are, and takes a fifth of the time of looking at each.
    problems += [
        f"{name} has infinite numbers or NaN"
        for name, value in cast.items()
        if not math.isfinite(float(value.sum())) and not value.isfinite().all()
    ]
    if problems:
        raise FormatError(f"its weights cannot be used: {_listed(problems)}", source=source)
    return cast


def network_of_weights(
    name: str, sizes: Mapping[str, Any], vocabulary: Vocabulary, weights: Mapping[str, Tensor]
) -> EpisodeNetwork:
    """Build the network of these sizes with these weights, on the CPU.

    Before anything of the stated sizes is allocated, they are compared with the weights.

    Raises:
        ValueError: they do not fit.
        UsageError: the sizes are invalid.
    """
    if plugins.origins({"architecture": name}):
        # Tensors on this device have shapes, but no memory; some networks cannot be built there.
        network = None
        with suppress(Exception), torch.device("meta"):
            network = build_network(name, sizes, vocabulary)
        if network is not None:
            _matched(network, weights)
    else:
        _check_explained(config_of(name, sizes), weights)
    network = build_network(name, sizes, vocabulary)
    network.load_state_dict(_matched(network, weights))
    return network


def _check_explained(config: Any, weights: Mapping[str, Tensor]) -> None:
    """Raise a ValueError if a built-in network of these sizes has more weights than these.

    Each layer has weights of its own, among them a matrix from its width to `ff_mult` times its
    width, and other sizes are those of matrices beside the width.
    """
    counts = {size: n for size, n in vars(config).items() if isinstance(n, int)}
    layers = sum(n for size, n in counts.items() if size.startswith("nlayers"))
    width, n_numbers = config.emb_size, sum(value.numel() for value in weights.values())
    least = max(layers * width**2 * config.ff_mult, width * max(counts.values()))
    if layers > len(weights) or least > n_numbers:
        stated = ", ".join(f"{size} {n}" for size, n in counts.items())
        raise ValueError(
            f"{stated} need far more than the {n_numbers:,} numbers in {len(weights)} tensors "
            "that the file has"
        )


def _matched(network: EpisodeNetwork, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights under the network's names; a ValueError if names or shapes differ."""
    expected = network.state_dict()
    if weights.keys() != expected.keys():
        stripped = strip_prefixes(weights)
        weights = stripped if stripped.keys() == expected.keys() else weights
    lacking = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    problems = []
    if lacking:
        problems.append(f"{len(lacking)} weights are missing ({_listed(lacking)})")
    if unknown:
        problems.append(f"{len(unknown)} are unknown ({_listed(unknown)})")
        if lacking and (kind := family(unknown)):
            problems.append(f"these names are those of {kind}")
    wrong = [
        f"{name} {list(weights[name].shape)} instead of {list(value.shape)}"
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if wrong:
        problems.append(f"{len(wrong)} have other sizes ({_listed(wrong)})")
    whole = [
        f"{name} {weights[name].dtype}".replace("torch.", "")
        for name, value in expected.items()
        if name in weights and weights[name].is_floating_point() != value.is_floating_point()
    ]
    if whole:
        problems.append(f"{len(whole)} are of another type ({_listed(whole)})")
    if problems:
        raise ValueError("; ".join(problems))
    return weights


def _listed(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")
