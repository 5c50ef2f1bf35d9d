"""The names through which golden tests reach the code: only this file follows a rename."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from biml.cli import main as commands
from biml.cli.train import TRAINING_OPTIONS
from biml.episodes.datasets import with_grammar_labels
from biml.episodes.episode import Episode
from biml.episodes.episode_type import PUBLISHED_VOCAB, gold_episode
from biml.episodes.registry import EPISODE_TYPES, episode_type
from biml.episodes.sampling import sample_episode
from biml.episodes.text_format import write_episode
from biml.episodes.transforms import add_study_queries, drop_study
from biml.evaluation.network import NetworkResponder
from biml.grammar import MetaGrammar
from biml.networks.base import EpisodeNetwork
from biml.networks.checkpoint import load_model
from biml.networks.registry import build_network
from biml.paths import DataFolders, list_pretrained, read_card
from biml.report.results import read_results
from biml.rng import generator
from biml.training.config import TrainingConfig
from biml.training.setup import resolve_options

DEST_RENAMES: dict[str, str] = {
    "apart": "holdout_grammar",
    "by": "ll_by",
    "guide": "aux_loss_weight",
    "clean_share": "clean_fraction",
    "lr_shape": "lr_schedule",
    "equal_projections": "mimetic_init",
    "init": "init_from",
    "max_tokens": "micro_batch_tokens",
    "minutes": "time_budget",
    "accuracy_copied": "accuracy_study",
}
"""Names of parsed options and of fields of a run's configuration: old to new."""

VALUE_RENAMES: dict[tuple[str, Any], Any] = {
    ("lr_shape", "epochs"): "linear",
    ("lr_shape", "square"): "quadratic",
}
"""(Old name of an option, its old value) to the value that it is read as."""

COLUMN_RENAMES: dict[str, str] = {
    "figure": "statistic",
    "ours": "reproduced",
    "group": "complexity",
    "lapse": "p_lapse",
    "unit": "bootstrap_unit",
    "part": "segment",
    "six_long": "long_output",
    "pool": "allowed_outputs",
}
"""Columns of the tables of results: old to new."""

TABLE_RENAMES: dict[str, str] = {
    "figures": "statistics",
    "agreement": "item_correlation",
    "groups": "accuracy_by_complexity",
    "patterns": "response_patterns",
}
"""Tables of results: old to new."""

CELL_RENAMES: dict[tuple[str, str], str] = {
    ("kind", "copied"): "study",
    ("group", "six_long"): "long_output",
    ("figure", "samples, six-long items (%)"): "samples, long-output items (%)",
    ("figure", "sheets that are perfect (%)"): "response sets, perfect (%)",
    ("figure", "sheets that are one-to-one (%)"): "response sets, one-to-one (%)",
    ("figure", "sheets with iconic concatenation (%)"): ("response sets, iconic concatenation (%)"),
    ("figure", "sheets with mutual exclusivity (%)"): "response sets, mutual exclusivity (%)",
    ("figure", "errors that are one-to-one (%)"): "one-to-one errors (%)",
    ("figure", "errors that are iconic, where a rule reverses (%)"): (
        "iconic errors, of queries with a reversing rule (%)"
    ),
    ("figure", "its permutation p"): "item correlation, permutation p",
    ("figure", "greedy, rules never met in training (%)"): "greedy, held-out rules (%)",
    ("figure", "log-likelihood of open-ended responses seen in training"): (
        "log-likelihood of open-ended responses, fitted to them"
    ),
}
"""(Old column, a text in it) to the text that is there now."""

STATE_RENAMES: dict[str, str] = {
    "token_embedding": "symbols",
    "position_embedding": "places",
    "local_conv": "neighbours",
    "lexicon_proj": "told",
    "lexicon_norm": "norm_entry",
    "query_encoder": "reader",
    "query_norm": "norm_words",
    "study_norm": "norm_memory",
    "out_norm": "norm_out",
    "meaning_proj": "meaning",
    "self_attn_norm": "norm_own",
    "cross_attn_norm": "norm_study",
    "cross_attn": "study",
    "mlp_norm": "norm_feed",
    "mlp": "feed",
    "pool_logits": "weigh",
    "uses_norm": "norm_uses",
    "broadcast_proj": "told",
    "broadcast_norm": "norm_told",
}
"""Parts of the names of weights (between dots): new to old."""

SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {
        "default": {},
        "small": {"nlayers_encoder": 1, "nlayers_decoder": 2, "emb_size": 16, "ff_mult": 2},
    },
    "staged": {
        "default": {},
        "small": {
            "nlayers_encoder": 2,
            "nlayers_query": 1,
            "nlayers_decoder": 1,
            "emb_size": 16,
            "ff_mult": 2,
            "dropout": 0.1,
        },
    },
}
"""Architectures by their names in checkpoints, and two sizes of each."""


# Command line


def main(argv: Sequence[str]) -> int:
    """Run `biml …`."""
    return commands.main(list(argv))


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, such as `data import`, by its words."""
    found = {"": commands._parser()}
    for name in commands.COMMANDS:
        words = _parsers(commands._parser([name]), ())
        found |= {key: parser for key, parser in words if key.split()[:1] == [name]}
    return found


def _parsers(
    parser: argparse.ArgumentParser, words: tuple[str, ...]
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield " ".join(words), parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from _parsers(command, (*words, name))


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """The parsed options of `biml …`, without functions."""
    args = vars(commands._parser(argv).parse_args(list(argv)))
    return {name: value for name, value in args.items() if not callable(value)}


def parse_published(name: str, argv: Sequence[str]) -> dict[str, Any]:
    """The parsed options of `python train.py …` or `python eval.py …`, without functions."""
    args = vars(commands._single_command_parser(name).parse_args(list(argv)))
    return {name: value for name, value in args.items() if not callable(value)}


def run_configuration(options: dict[str, Any]) -> dict[str, Any]:
    """What a training run is determined by, from the parsed options of `biml train`."""
    given = {name: options[name] for name in TRAINING_OPTIONS if options[name] is not None}
    given.pop("init_from", None)  # its model is not there
    return asdict(TrainingConfig(**resolve_options(given)))


# Episodes


def trainable() -> list[str]:
    return [name for name in episode_types() if EPISODE_TYPES[name].training is not None]


def episode_types() -> list[str]:
    """Those of the human experiments, which 0.1.0 had."""
    later = {"algebraic+slips+strings"}
    return [n for n, row in EPISODE_TYPES.items() if not row.is_corpus and n not in later]


def _folders(data: Path | None) -> DataFolders:
    return DataFolders(data, defaults=())


def training(name: str, data: Path | None, seed: int, numbers: range) -> list[Episode]:
    """Training episodes of a type, by their numbers from the start of a run."""
    source = episode_type(name).open_training(_folders(data), seed)
    return [source[number] for number in numbers]


def curriculum(name: str, data: Path | None, seed: int, numbers: range) -> list[Episode]:
    """The same of a run of 200 episodes with a curriculum that ends after 120, with labels."""
    source = episode_type(name).open_curriculum(_folders(data), seed, 120, 200)
    if episode_type(name).supports_grammar_labels:
        source = with_grammar_labels(source)
    return [source[number] for number in numbers]


def evaluation(name: str, data: Path | None, seed: int, passes: int = 1) -> list[Episode]:
    """The episodes of the first passes of an evaluation."""
    opened = episode_type(name).open_evaluation(_folders(data), seed)
    return [episode for number in range(passes) for episode in opened.repeat(number)]


def gold_without_study() -> list[Episode]:
    """The gold episode without study examples, which are queried as well, as 0.1.0 presented it."""
    return [drop_study(add_study_queries(gold_episode()))]


def text(episode: Episode) -> str:
    """All that a network could learn of an episode."""
    lines = [f"study {_example(example)}" for example in episode.study]
    lines += [f"query {_example(example)}" for example in episode.queries]
    lines += [f"pool {' '.join(episode.pool)}"] if episode.pool is not None else []
    if (labels := episode.grammar_labels) is not None:
        lines += [f"origins {list(labels.study)} {list(labels.queries)}"]
        lines += [f"rule {word}: {rule}" for word, rule in sorted(labels.rules.items())]
    return "\n".join(lines)


def _example(example: Any) -> str:
    copied = " (copied)" if example.in_study else ""
    return f"{' '.join(example.input)} -> {' '.join(example.output)}{copied}"


def write_drawn(folder: Path, counts: dict[str, int]) -> None:
    """Write drawn episodes in the published layout."""
    for kind, count in counts.items():
        for number in range(count):
            episode = sample_episode(MetaGrammar(), generator(1, kind, number))
            write_episode(folder / "data_algebraic" / kind / f"{number:06d}.txt", episode)


# Networks


def network(arch: str, size: str) -> EpisodeNetwork:
    return build_network(arch, SIZES[arch][size], PUBLISHED_VOCAB, 0)


def weights(network: EpisodeNetwork) -> dict[str, torch.Tensor]:
    """The weights of a network by their names in checkpoints."""
    return old_names(network, network.state_dict())


def old_names(network: EpisodeNetwork, values: dict[str, Any]) -> dict[str, Any]:
    """Values by the names that weights had at first."""
    renames = STATE_RENAMES | ({"self_attn": "own"} if hasattr(network, "lexicon") else {})
    return {
        ".".join(renames.get(part, part) for part in name.split(".")): value
        for name, value in values.items()
    }


@torch.no_grad()
def logits(network: EpisodeNetwork, episodes: Sequence[Episode]) -> np.ndarray:
    """Teacher-forced logits [symbols of all targets and their ends, output vocabulary]."""
    batch = network.eval().collate(episodes)
    return _in_order(network, batch, network.eval()(batch))


@torch.no_grad()
def logits_step_by_step(network: EpisodeNetwork, episodes: Sequence[Episode]) -> np.ndarray:
    """The same as `logits`, decoded one symbol after another."""
    batch = network.eval().collate(episodes)
    memory = network.encode(batch)
    steps = [network.decode_step(memory, tokens) for tokens in batch.decoder_input.T]
    return _in_order(network, batch, torch.stack(steps, dim=1))


def training_pass(
    network: EpisodeNetwork, episodes: Sequence[Episode]
) -> tuple[np.ndarray, float, dict[str, float]]:
    """Logits with dropout, the auxiliary loss (0 without) and the size of each gradient."""
    network.train()
    batch = network.collate(episodes)
    found = network(batch, torch.Generator().manual_seed(0))
    output = network.vocabulary.output
    loss = torch.nn.functional.cross_entropy(
        found.flatten(0, 1), batch.target.flatten(), ignore_index=output.pad
    )
    auxiliary = network.auxiliary_loss
    (loss if auxiliary is None else loss + auxiliary).backward()
    gradients = {
        name: float(weight.grad.norm())
        for name, weight in old_names(network, dict(network.named_parameters())).items()
        if weight.grad is not None
    }
    extra = 0.0 if auxiliary is None else float(auxiliary.detach())
    return _in_order(network, batch, found.detach()), extra, gradients


def _in_order(network: EpisodeNetwork, batch: Any, found: torch.Tensor) -> np.ndarray:
    """The logits before each symbol of each target and its end, in the order of the queries."""
    rows = sorted(range(len(batch.indices)), key=batch.indices.__getitem__)
    lengths = (batch.target != network.vocabulary.output.pad).sum(dim=1).tolist()
    return np.concatenate([found[row, : lengths[row]].numpy() for row in rows])


# Trained models and runs


def shipped() -> dict[str, Path]:
    """The files of the models that come with biml."""
    return {path.stem: path for path in list_pretrained()}


def card(path: Path) -> dict[str, Any]:
    return read_card(path)


def loaded(path: Path) -> EpisodeNetwork:
    return load_model(path).network


def responder(network: EpisodeNetwork) -> NetworkResponder:
    return NetworkResponder(network)


def checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds: among others `weights`, by name, and under `training` the `step`."""
    contents = torch.load(path, weights_only=True)
    return contents | {"weights": old_names(loaded(path), contents["weights"])}


def results(folder: Path) -> Any:
    """A results folder as it is read back; `tables` has its tables by name."""
    return read_results(folder)


def write_page(folder: Path) -> None:
    """Make the page of a results folder again."""
    assert main(["report", str(folder)]) == 0
