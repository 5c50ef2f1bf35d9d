"""Checkpoints for the published code (MLC): written here, read by `biml.networks.checkpoint`."""

import argparse
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from biml.errors import UsageError
from biml.io import atomic_write
from biml.networks.checkpoint import NHEADS, POSITIONS_KEY, Lang, cast_weights
from biml.networks.seq2seq import sinusoidal_positions

MAX_POSITIONS = 5000
"""Positions in a published checkpoint."""


def write_released(path: str | Path, contents: Mapping[str, Any]) -> None:
    """Write a native checkpoint's contents so that the published `eval.py` reads them.

    Without the state of the optimiser, so that the published `train.py` cannot resume it. A
    UsageError if the network is not the published one for the human experiments.
    """
    archive = io.BytesIO()
    with lang_in_datasets():
        torch.save(_released_dict(contents), archive)
    with atomic_write(path) as file:
        file.write(archive.getbuffer())


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
