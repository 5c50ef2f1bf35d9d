"""Short training runs: a narrow network and a few sampled episodes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from biml.episodes.episode import Episode, Example
from biml.episodes.sampling import sample_episode
from biml.episodes.text_format import write_episode
from biml.grammar import MetaGrammar
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer
from biml.rng import generator
from biml.training.config import TrainingConfig
from biml.training.setup import TrainingData
from biml.vocabulary import Vocabulary

OPTIONS: dict[str, Any] = {
    "batch_size": 2,
    "nsteps": 6,
    "nepochs": 3,
    "emb_size": 16,
    "nlayers_encoder": 1,
    "nlayers_decoder": 1,
    "ff_mult": 1,
    "precision": "fp32",
    "micro_batch_tokens": 1000,
}


@dataclass(frozen=True)
class SmallDataset:
    """Sampled episodes, each with one study-example query."""

    seed: int
    episodes_per_epoch: int = 10
    description: str = "toys"

    def __len__(self) -> int:
        return self.episodes_per_epoch

    def __getitem__(self, index: int) -> Episode:
        return training_episode(self.seed, "train", index)


def training_episode(*path: Any) -> Episode:
    seed, *rest = path
    episode = sample_episode(MetaGrammar(n_study=6), generator(seed, *rest))
    words, symbols, *_ = episode.study[0]
    return replace(episode, queries=(Example(words, symbols, True), *episode.queries[:3]))


def write_episodes(folder: Path) -> Path:
    """Write a few small training and validation episodes in the published layout."""
    small = MetaGrammar(n_study=6, n_query=3)
    for part, count in (("train", 20), ("val", 2)):
        for number in range(count):
            episode = sample_episode(small, generator(1, part, number))
            write_episode(folder / "data_algebraic" / part / f"{number:06d}.txt", episode)
    return folder


def open_data(config: TrainingConfig, data_dir: Path | None) -> TrainingData:
    """Open data and network of a small run, as `open_training_data` does."""
    sizes = Seq2SeqConfig(
        config.nlayers_encoder,
        config.nlayers_decoder,
        emb_size=config.emb_size,
        ff_mult=config.ff_mult,
        dropout=config.dropout,
    )
    network = Seq2SeqTransformer(
        sizes, Vocabulary.from_words_and_symbols(WORDS, COLOURS), config.seed
    )
    validation = [training_episode(0, "validation", index) for index in range(3)]
    return TrainingData(network, SmallDataset(config.seed), validation)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["weights"]


def same_weights(a: Path, b: Path) -> bool:
    one, other = weights_of(a), weights_of(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
