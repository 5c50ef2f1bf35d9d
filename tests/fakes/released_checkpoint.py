"""Checkpoints as the published code writes them: pickles with a class of its own modules."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from biml.episodes.episode import Example
from biml.episodes.registry import CANONICAL_VOCAB
from biml.networks.released import POSITIONS_KEY, lang_in_datasets
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer, sinusoidal_positions
from biml.networks.torch_file import Lang

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
WIDTH = 32


def write_released_checkpoint(path: Path) -> None:
    """Write a small basic seq2seq network with random weights, as after 320 training steps."""
    vocabulary = CANONICAL_VOCAB
    config = Seq2SeqConfig(nlayers_encoder=2, nlayers_decoder=1, emb_size=WIDTH)
    network = Seq2SeqTransformer(config, vocabulary, seed=0)
    words = _lang(sorted({*vocabulary.input.symbols, "IO"}), "SOS EOS PAD")
    _write(network, words, _lang(vocabulary.output.symbols, "SOS EOS PAD"), OPTIONS, path)


class ReleasedSeq2Seq(nn.Module):
    """The published network for the human experiments, one query at a time."""

    def __init__(self, contents: dict[str, Any]) -> None:
        """Build from a released checkpoint as the published code does, with all of its weights."""
        super().__init__()
        width, self.langs = contents["emb_size"], contents["langs"]
        self.transformer = nn.Transformer(
            width,
            nhead=8,
            num_encoder_layers=contents["nlayers_encoder"],
            num_decoder_layers=contents["nlayers_decoder"],
            dim_feedforward=width * contents["ff_mult"],
            dropout=contents["dropout"],
            activation=contents["activation"],
            batch_first=True,
        )
        self.positional_encoding = nn.Module()
        self.positional_encoding.register_buffer("pos_embedding", torch.zeros(5000, 1, width))
        self.input_embedding = nn.Embedding(self.langs["input"].n_symbols, width)
        self.output_embedding = nn.Embedding(self.langs["output"].n_symbols, width)
        self.out = nn.Linear(width, self.langs["output"].n_symbols)
        self.load_state_dict(contents["nets_state_dict"])
        self.eval()

    def forward(self, source: Sequence[str], output: Sequence[str]) -> Tensor:
        x, y = (
            embedding(torch.tensor([lang.symbol2index[token] for token in tokens]))
            + self.positional_encoding.pos_embedding[: len(tokens), 0]
            for embedding, lang, tokens in (
                (self.input_embedding, self.langs["input"], source),
                (self.output_embedding, self.langs["output"], ["SOS", *output]),
            )
        )
        mask = nn.Transformer.generate_square_subsequent_mask(len(y))
        return self.out(self.transformer(x[None], y[None], tgt_mask=mask)[0])


class ReleasedPairwise(nn.Module):
    """The published network for SCAN and COGS, one query at a time, by PyTorch's own layers."""

    def __init__(self, words: Sequence[str], symbols: Sequence[str]) -> None:
        super().__init__()
        options: dict[str, Any] = {"dim_feedforward": 4 * WIDTH, "activation": "gelu"}
        encoder_layer = nn.TransformerEncoderLayer(WIDTH, 8, batch_first=True, **options)
        decoder_layer = nn.TransformerDecoderLayer(WIDTH, 8, batch_first=True, **options)
        self.words, self.symbols = (
            _lang(listed, "<SOS> <EOS> <PAD>") for listed in (sorted({*words, "->", "|"}), symbols)
        )
        self.pair_encoder = nn.TransformerEncoder(encoder_layer, 2)
        self.decoder = nn.TransformerDecoder(decoder_layer, 1)
        self.input_embedding = nn.Embedding(len(self.words.symbol2index), WIDTH)
        self.output_embedding = nn.Embedding(len(self.symbols.symbol2index), WIDTH)
        self.study_example_embedding = nn.Embedding(50, WIDTH)
        self.out = nn.Linear(WIDTH, len(self.symbols.symbol2index))

    def forward(self, query: Example, study: Sequence[Example]) -> Tensor:
        memory = []
        for number, example in enumerate(study):
            pair = [*query.input, "|", *example.input, "->", *example.output]
            x = self.pair_encoder(_embed(self.input_embedding, self.words, pair))
            memory.append(x + self.study_example_embedding.weight[number])
        y = _embed(self.output_embedding, self.symbols, ["<SOS>", *query.output])
        mask = nn.Transformer.generate_square_subsequent_mask(len(y))
        return self.out(self.decoder(y, torch.cat(memory), tgt_mask=mask))

    def write(self, path: Path) -> None:
        """Write this network as after 320 training steps."""
        options = OPTIONS | {"episode_type": "addprim_jump_actions"}
        _write(self, self.words, self.symbols, options, path)


def _embed(embedding: nn.Embedding, lang: Lang, tokens: Sequence[str]) -> Tensor:
    numbers = torch.tensor([lang.symbol2index[token] for token in tokens])
    return embedding(numbers) + sinusoidal_positions(len(tokens), WIDTH)


def _write(
    network: nn.Module, words: Lang, symbols: Lang, options: dict[str, Any], path: Path
) -> None:
    tracker = [
        {"epoch": 1, "step": 1, "lr": 1e-7, "avg_train_loss": 2.1, "val_loss": 2.3},
        {"epoch": 40, "step": 320, "lr": 5e-5, "avg_train_loss": 0.9, "val_loss": 2.6},
    ]
    sizes = {name: options[name] for name in options if name != "episode_type"}
    write_pickle(
        {
            "step": 320,
            "epoch": 40,
            "nets_state_dict": network.state_dict()
            | {POSITIONS_KEY: sinusoidal_positions(100, WIDTH)[:, None]},
            "optimizer_state_dict": torch.optim.AdamW(network.parameters()).state_dict(),
            "scheduler_epoch_state_dict": {"last_epoch": 39},
            "train_tracker": tracker,
            "best_val_loss": float("inf"),
            "langs": {"input": words, "output": symbols},
            "episode_type": options["episode_type"],
            "input_size": len(words.symbol2index),
            "output_size": len(symbols.symbol2index),
            "activation": "gelu",
            "args": argparse.Namespace(**options, act="gelu", lr=0.001, lr_end_factor=0.05),
            **sizes,
        },
        path,
    )


def write_pickle(contents: dict[str, Any], path: Path) -> None:
    """Save as the published code does: the class is then found in a module `datasets`."""
    with lang_in_datasets():
        torch.save(contents, path)


def _lang(symbols: Sequence[str], reserved: str) -> Lang:
    every = [*symbols, *reserved.split()]
    lang = Lang.__new__(Lang)
    lang.__dict__ |= {
        "symbols": list(symbols),
        "index2symbol": dict(enumerate(every)),
        "symbol2index": {symbol: number for number, symbol in enumerate(every)},
    }
    return lang
