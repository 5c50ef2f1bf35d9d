"""A checkpoint as the published code writes it: a pickle with a class of its own modules."""

import argparse
import sys
import types
from pathlib import Path
from typing import Any

import torch

from biml.episodes.registry import CANONICAL_VOCAB
from biml.networks.checkpoint import POSITIONS_KEY, Lang
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer, sinusoidal_positions

OPTIONS = {
    "episode_type": "few_shot_vanilla",
    "batch_size": 25,
    "nepochs": 40,
    "nlayers_encoder": 2,
    "nlayers_decoder": 1,
    "emb_size": 32,
    "ff_mult": 4,
    "dropout": 0.1,
}


def write_released_checkpoint(path: Path) -> None:
    """Write a small basic seq2seq network with random weights, as after 320 training steps."""
    vocabulary = CANONICAL_VOCAB
    config = Seq2SeqConfig(nlayers_encoder=2, nlayers_decoder=1, emb_size=32)
    network = Seq2SeqTransformer(config, vocabulary, seed=0)
    tracker = [
        {"epoch": 1, "step": 1, "lr": 1e-7, "avg_train_loss": 2.1, "val_loss": 2.3},
        {"epoch": 40, "step": 320, "lr": 5e-5, "avg_train_loss": 0.9, "val_loss": 2.6},
    ]
    sizes = {name: OPTIONS[name] for name in OPTIONS if name != "episode_type"}
    write_pickle(
        {
            "step": 320,
            "epoch": 40,
            "nets_state_dict": network.state_dict()
            | {POSITIONS_KEY: sinusoidal_positions(100, config.emb_size)},
            "optimizer_state_dict": torch.optim.AdamW(network.parameters()).state_dict(),
            "scheduler_epoch_state_dict": {"last_epoch": 39},
            "train_tracker": tracker,
            "best_val_loss": float("inf"),
            "langs": {
                "input": _lang(sorted({*vocabulary.input.symbols, "IO"})),
                "output": _lang(vocabulary.output.symbols),
            },
            "episode_type": OPTIONS["episode_type"],
            "input_size": len(vocabulary.input),
            "output_size": len(vocabulary.output),
            "activation": "gelu",
            "args": argparse.Namespace(**OPTIONS, act="gelu", lr=0.001, lr_end_factor=0.05),
            **sizes,
        },
        path,
    )


def write_pickle(contents: dict[str, Any], path: Path) -> None:
    """Save as the published code does: the class is then found in a module `datasets`."""
    module = types.ModuleType("datasets")
    module.Lang = Lang  # type: ignore[attr-defined]
    before = sys.modules.get("datasets")
    sys.modules["datasets"] = module
    try:
        torch.save(contents, path)
    finally:
        del sys.modules["datasets"]
        if before is not None:
            sys.modules["datasets"] = before


def _lang(symbols: Any) -> Lang:
    every = [*symbols, "SOS", "EOS", "PAD"]
    lang = Lang.__new__(Lang)
    lang.__dict__ |= {
        "symbols": list(symbols),
        "index2symbol": dict(enumerate(every)),
        "symbol2index": {symbol: number for number, symbol in enumerate(every)},
    }
    return lang
