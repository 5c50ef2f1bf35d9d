"""Checkpoints of the published code (MLC): read as native ones, and written."""

import argparse
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from biml.errors import FormatError, UsageError
from biml.io import write_file
from biml.networks.pairwise import PairwiseConfig
from biml.networks.seq2seq import Seq2SeqConfig, sinusoidal_positions
from biml.networks.torch_file import Lang
from biml.networks.weights import cast_weights, float_weights, strip_prefixes
from biml.vocabulary import EOS, IO, PAD, SOS, Token, Vocabulary

POSITIONS_KEY = "positional_encoding.pos_embedding"

MAX_POSITIONS = 5000
"""Positions in a published checkpoint."""

EXAMPLE_NUMBERS = "study_example_embedding.weight"  # only in networks for SCAN and COGS

PAIRWISE_MODULES = {
    "pair_encoder": "transformer.encoder",
    "decoder": "transformer.decoder",
    "study_example_embedding": "transformer.example_embedding",
}

NHEADS = 8  # the published code always has 8 heads; its checkpoints do not state it

METADATA_KEYS = ("epoch", "step", "nepochs", "batch_size", "best_val_loss", "train_tracker")


def convert_mlc_checkpoint(contents: dict[str, Any], source: str) -> dict[str, Any]:
    """The arguments of `checkpoint.checkpoint_dict` for a published checkpoint, without training
    state."""
    try:
        nets = contents["nets_state_dict"]
        weights = float_weights(strip_prefixes(nets.get("net", nets)), source)
        convert = _convert_pairwise if EXAMPLE_NUMBERS in weights else _convert_seq2seq
        langs = [contents["langs"][key] for key in ("input", "output")]
        sizes = {name: contents[name] for name in asdict(Seq2SeqConfig()) if name != "nheads"}
        name, config, vocabulary = convert(weights, langs, {"nheads": NHEADS, **sizes})
        args = dict(vars(contents["args"])) if "args" in contents else {}
        info = {key: _plain(contents[key]) for key in METADATA_KEYS if key in contents}
        return {
            "architecture": name,
            "config": config,
            "vocabulary": vocabulary,
            "episode_type": contents.get("episode_type") or args.get("episode_type") or "",
            "weights": _without_positions(weights, config.emb_size),
            "info": info | {"args": _plain(args)},
        }
    except KeyError as error:
        raise FormatError(f"the checkpoint lacks {error}", source=source) from None
    except (TypeError, AttributeError, ValueError, IndexError, RecursionError, UsageError) as error:
        raise FormatError(f"not what the published code writes ({error})", source=source) from None


def _plain(value: Any) -> Any:
    """The same with numbers for tensors of one number."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


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
        # As exact as bfloat16, in which they may have been saved.
        if not torch.allclose(table, sinusoidal_positions(len(table), width), atol=5e-3):
            raise ValueError("its positions are not sinusoids")
    return weights


# --- writing


def write_released(path: str | Path, contents: Mapping[str, Any]) -> None:
    """Write a native checkpoint's contents so that the published `eval.py` reads them.

    Without the state of the optimiser, so that the published `train.py` cannot resume it. A
    UsageError if the network is not the published one for the human experiments.
    """
    archive = io.BytesIO()
    with lang_in_datasets():
        torch.save(_released_dict(contents), archive)
    write_file(path, archive.getvalue())


def _released_dict(contents: Mapping[str, Any]) -> dict[str, Any]:
    if contents["architecture"] != "paper":
        raise UsageError(
            f"the published code has no {contents['architecture']} network, only that of "
            "--arch paper; leave out --to released"
        )
    sizes = dict(contents["config"])
    if (nheads := sizes.pop("nheads")) != NHEADS:
        raise UsageError(f"the published network has {NHEADS} attention heads, this one {nheads}")
    langs = {side: _lang(contents["vocabulary"][side]) for side in ("input", "output")}
    weights = cast_weights(contents["weights"], torch.float32)
    width = sizes["emb_size"]
    weights[POSITIONS_KEY] = sinusoidal_positions(MAX_POSITIONS, width)[:, None]
    info = contents.get("info") or {}
    options = {**(info.get("options") or {}), **(info.get("args") or {})}
    run = {
        "step": info.get("step") or 0,
        "epoch": info.get("epoch") or 0,
        "nepochs": info.get("nepochs") or options.get("nepochs") or 0,
        "batch_size": info.get("batch_size") or options.get("batch_size") or 25,
        "episode_type": contents["episode_type"],
    }
    best = info.get("best_val_loss")
    log = ((contents.get("training") or {}).get("record") or {}).get("history") or ()
    tracker = [
        {key: entry[key] for key in ("step", "lr", "val_loss")}
        | {"avg_train_loss": entry["train_loss"]}
        for entry in log
        if entry.get("val_loss") is not None
    ]
    return {
        **run,
        **sizes,
        "nets_state_dict": weights,
        "langs": langs,
        "input_size": len(langs["input"].symbol2index),
        "output_size": len(langs["output"].symbol2index),
        "train_tracker": info.get("train_tracker") or tracker,
        "best_val_loss": float("inf") if best is None else best,
        "args": argparse.Namespace(**(options | run | sizes | {"act": sizes["activation"]})),
    }


def _lang(symbols: Sequence[str]) -> Lang:
    """A vocabulary with the attributes of the published class."""
    every = [*symbols, "SOS", "EOS", "PAD"]
    lang = Lang()
    lang.__dict__ |= {
        "symbols": list(symbols),
        "index2symbol": dict(enumerate(every)),
        "symbol2index": {symbol: number for number, symbol in enumerate(every)},
        "n_symbols": len(every),
        "PAD_idx": len(every) - 1,
        "PAD_token": "PAD",
    }
    return lang


@contextmanager
def lang_in_datasets() -> Iterator[None]:
    """Pickle `Lang` as a class of the published module `datasets`, where another may be."""
    module, before = ModuleType("datasets"), sys.modules.get("datasets")
    module.Lang = Lang  # type: ignore[attr-defined]
    sys.modules["datasets"] = module
    try:
        yield
    finally:
        del sys.modules["datasets"]
        if before is not None:
            sys.modules["datasets"] = before
