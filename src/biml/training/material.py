"""What a run is made of: a fresh network, training episodes and validation episodes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from biml.episodes.episode import Episode
from biml.episodes.explain import with_grammar_labels
from biml.episodes.locate import DataFolders
from biml.episodes.sources import training_episodes
from biml.episodes.types import episode_type
from biml.errors import UsageError
from biml.networks.base import EpisodeNetwork
from biml.networks.paper import Seq2SeqTransformer, mimetic_init
from biml.networks.table import architecture, build_network
from biml.rng import derive_seed
from biml.training.batches import Source
from biml.training.beginning import SIZE_OPTIONS
from biml.training.config import TrainingConfig


@dataclass(frozen=True)
class TrainingData:
    """What every process of a run holds a copy of.

    Attributes:
        network: with its initial weights.
        source: the training episodes.
        validation: the validation episodes, always the same.
        origin: where the training episodes come from, in words.
    """

    network: EpisodeNetwork
    source: Source
    validation: Sequence[Episode]
    data_description: str


def warm_episode_cache(name: str, data_dir: Path | None, report: Callable[[str], None]) -> None:
    """Read a folder of training episodes that was not read before, telling so.

    That takes half a minute once. Without this it would happen in `open_material`, which every
    process of a run calls, without a word.

    Raises:
        UsageError: there is no episode type of that name.
        FormatError: a file of the folder is malformed.
    """
    if episode_type(name).algebraic_training is not None:
        training_episodes(DataFolders(data_dir, report=report), seed=0)


def open_training_data(config: TrainingConfig, data_dir: Path | None) -> TrainingData:
    """Find the data and make the network.

    Raises:
        UsageError: a name or size does not fit.
        BimlError: data are missing or damaged; the message names the remedy.
    """
    kind = episode_type(config.episode_type)
    network = build_network(
        config.arch,
        network_config(config),
        kind.vocabulary,
        seed=derive_seed(config.seed, "weights"),
    )
    if config.equal_projections:
        if not isinstance(network, Seq2SeqTransformer):
            raise UsageError(
                f"projections of the {config.arch} network always start equal; "
                "leave out --equal_projections"
            )
        mimetic_init(network)
    folders = DataFolders(data_dir)
    source = kind.open_training(folders, config.seed)
    if config.curriculum:
        steps = config.total_steps(source.per_epoch)
        presentations = config.episodes_seen(steps, steps)
        clean = config.episodes_seen(round(steps * config.clean_share), steps)
        source = kind.open_curriculum(
            folders, config.seed, clean, presentations, with_stages=not config.init
        )
    if config.guide:
        if not architecture(config.arch).supports_aux_loss:
            raise UsageError(f"the {config.arch} network takes no --guide; leave it out")
        if kind.supports_grammar_labels:
            source = with_grammar_labels(source)
    validation = kind.open_evaluation(folders, config.seed).repeat(0)
    return TrainingData(network, source, validation, source.origin)


def network_config(config: TrainingConfig) -> dict[str, Any]:
    """The options of a run that the config of its architecture has, under its names."""
    options = {field: getattr(config, name) for name, field in SIZE_OPTIONS.items()}
    options["dropout"] = config.dropout
    known = {field.name for field in fields(architecture(config.arch).config)}
    return {name: value for name, value in options.items() if name in known}
