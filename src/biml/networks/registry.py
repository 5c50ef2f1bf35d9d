"""The architectures, one row each; the command line, checkpoints and tests read this table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from biml import plugins
from biml.errors import UsageError
from biml.networks.base import EpisodeNetwork
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer
from biml.networks.staged import StagedNetwork
from biml.networks.staged_layers import StagedConfig
from biml.vocabulary import Vocabulary


@dataclass(frozen=True)
class Architecture:
    """One kind of network.

    Attributes:
        name: what checkpoints and the command line call it.
        config: its frozen dataclass of sizes.
        network: makes it from (config, vocabulary, seed).
        summary: what it is, in a line.
        cpu_tokens: tokens computed together on a CPU: what fits a core's cache, and leaves several
            pieces of a batch for its cores to share.
        amx_tokens: the same in bf16 on a CPU with AMX, whose products are so fast that what each
            new shape of them costs, to compile its code, makes few large ones better.
        guided: whether training can tell its inner layers what the grammar knows
            (`EpisodeNetwork.guidance`).
    """

    name: str
    config: type
    network: Callable[[Any, Vocabulary, int], EpisodeNetwork]
    summary: str
    cpu_micro_batch_tokens: int = 4096
    amx_micro_batch_tokens: int = 4096
    supports_aux_loss: bool = False


ARCHITECTURES: dict[str, Architecture] = {
    row.name: row
    for row in (
        Architecture(
            "paper",
            Seq2SeqConfig,
            Seq2SeqTransformer,
            "the published transformer: query and study examples in one source sequence",
        ),
        Architecture(
            "staged",
            StagedConfig,
            StagedNetwork,
            "study examples read once an episode, with a lexicon; then queries; then answers",
            cpu_micro_batch_tokens=5120,
            amx_micro_batch_tokens=10240,
            supports_aux_loss=True,
        ),
    )
}

REMOVED = {"fast": "train a staged one instead, with --preset fast, or use an older biml"}
"""Architectures that checkpoints of older versions may have, and what to do about them."""


def architecture(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        UsageError: there is none; the message lists those there are, or says that it is gone.
    """
    if name in REMOVED:
        raise UsageError(
            f"this version of biml no longer has the network {name!r}; {REMOVED[name]}"
        )
    if name not in ARCHITECTURES:
        plugins.load_installed()
    if name not in ARCHITECTURES:
        known = f"unknown architecture {name!r}; there are: {', '.join(ARCHITECTURES)}"
        raise UsageError(plugins.hint("architecture", name) or known)
    return ARCHITECTURES[name]


def architecture_name(network: EpisodeNetwork) -> str:
    """The name in the table of a network's architecture."""
    return next(row.name for row in ARCHITECTURES.values() if type(network.config) is row.config)


def build_network(
    name: str, config: Any | Mapping[str, Any], vocabulary: Vocabulary, seed: int = 0
) -> EpisodeNetwork:
    """A freshly initialised network.

    Args:
        name: an architecture of the table.
        config: its config, or the fields of one, as checkpoints hold them.
        vocabulary: the symbols it shall know.
        seed: draws the initial weights.

    Raises:
        UsageError: unknown architecture, unknown field or a value that does not fit.

    >>> from biml.grammar.meta_grammar import COLOURS, WORDS
    >>> network = build_network("paper", {"dropout": 0.1}, Vocabulary.from_words_and_symbols(WORDS, COLOURS))
    >>> sum(weights.numel() for weights in network.parameters())
    1393801
    """
    row = architecture(name)
    if isinstance(config, Mapping):
        unknown = set(config) - {field.name for field in fields(row.config)}
        if unknown:
            raise UsageError(f"architecture {name!r} has no {', '.join(sorted(unknown))}")
        config = row.config(**config)
    return row.network(config, vocabulary, seed)


def register_architecture(row: Architecture) -> Architecture:
    """Add an architecture to those that commands and checkpoints know; see `biml.plugins`.

    Raises:
        UsageError: the name is taken.
    """
    plugins.register(ARCHITECTURES, "architecture", row.name, row)
    return row
