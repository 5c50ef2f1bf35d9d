"""The registry of architectures, for the command line, checkpoints and reports."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from biml import plugins
from biml.errors import UsageError, unknown_name
from biml.networks.base import EpisodeNetwork
from biml.networks.pairwise import PairwiseConfig, PairwiseTransformer
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer
from biml.networks.staged import StagedNetwork
from biml.networks.staged_layers import StagedConfig
from biml.vocabulary import Vocabulary


@dataclass(frozen=True)
class Architecture:
    """One kind of network (see `EpisodeNetwork` for how to write one)."""

    name: str  # in checkpoints and on the command line
    config: type  # frozen dataclass of its sizes, all with defaults
    network: Callable[[Any, Vocabulary, int], EpisodeNetwork]  # from (config, vocabulary, seed)
    summary: str  # one line
    # Tokens of a micro-batch on a CPU: what fits a core's cache. With AMX larger ones are better,
    # because compiling code for each new shape costs much beside the fast products.
    cpu_micro_batch_tokens: int = 4096
    amx_micro_batch_tokens: int = 4096
    supports_aux_loss: bool = False  # sets `auxiliary_loss` from an episode's grammar labels


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
            "pairwise",
            PairwiseConfig,
            PairwiseTransformer,
            "the published transformer for SCAN and COGS: each study example read beside the query",
            cpu_micro_batch_tokens=16384,
            amx_micro_batch_tokens=16384,
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


def register_architecture(row: Architecture) -> Architecture:
    """Add an architecture to the registry; raise UsageError if the name is taken."""
    plugins.register(ARCHITECTURES, "architecture", row.name, row)
    return row


def architecture(name: str) -> Architecture:
    """Look up an architecture; raise UsageError if it is unknown."""
    if name not in ARCHITECTURES and name not in REMOVED:
        plugins.load_installed()
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if name in REMOVED:
        problem = f"this version of biml no longer has the network {name!r}"
        raise UsageError(f"{problem}; {REMOVED[name]}")
    if hint := plugins.hint("architecture", name):
        raise UsageError(hint)
    raise unknown_name("architecture", name, ARCHITECTURES, "--arch")


def architecture_name(network: EpisodeNetwork) -> str:
    """Return the name of a network's architecture, by its class, else by that of its config."""
    rows = ARCHITECTURES.values()
    names = [row.name for row in rows if type(network) is row.network]
    names += [row.name for row in rows if type(network.config) is row.config]
    if names:
        return names[0]
    kind = type(network).__name__
    raise UsageError(f"{kind} is not a registered architecture; see register_architecture")


def build_network(
    name: str, config: Any | Mapping[str, Any], vocabulary: Vocabulary, seed: int = 0
) -> EpisodeNetwork:
    """Initialise a network, from a config or its fields (as in checkpoints).

    >>> from biml.grammar.meta_grammar import COLOURS, WORDS
    >>> vocabulary = Vocabulary.from_words_and_symbols(WORDS, COLOURS)
    >>> network = build_network("paper", {"dropout": 0.1}, vocabulary)
    >>> sum(weights.numel() for weights in network.parameters())
    1393801
    """
    return architecture(name).network(config_of(name, config), vocabulary, seed)


def config_of(name: str, config: Any | Mapping[str, Any]) -> Any:
    """The config of an architecture, which may be given by its fields."""
    if not isinstance(config, Mapping):
        return config
    kind = architecture(name).config
    unknown = set(config) - {field.name for field in fields(kind)}
    if unknown:
        raise UsageError(f"architecture {name!r} has no {', '.join(sorted(unknown))}")
    return kind(**config)
