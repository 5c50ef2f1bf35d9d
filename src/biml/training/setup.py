"""What a run is made of: a fresh network, training episodes and validation episodes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from biml.episodes.datasets import EpisodeDataset, training_episodes, with_grammar_labels
from biml.episodes.episode import Episode
from biml.episodes.registry import episode_type
from biml.errors import FormatError, UsageError
from biml.networks import checkpoint
from biml.networks.base import EpisodeNetwork
from biml.networks.checkpoint import load_checkpoint
from biml.networks.registry import architecture, build_network
from biml.networks.seq2seq import Seq2SeqTransformer, mimetic_init
from biml.paths import DataFolders
from biml.progress import stage_lines
from biml.rng import derive_seed
from biml.training.config import TrainingConfig, cli_name, preset_supports
from biml.vocabulary import Vocabulary

SIZE_OPTIONS = {
    "nlayers_encoder": "nlayers_encoder",
    "nlayers_query": "nlayers_query",
    "nlayers_decoder": "nlayers_decoder",
    "emb_size": "emb_size",
    "ff_mult": "ff_mult",
    "act": "activation",
}
"""Options that are fixed by a network's weights, and what its architecture's config calls them."""


def load_initial_network(path: Path, vocabulary: Vocabulary, dropout: float) -> EpisodeNetwork:
    """The network of a model, with the dropout of the run.

    Raises:
        UsageError: the model knows other symbols.
        FormatError: its file is damaged.
    """
    contents = load_checkpoint(path)
    sizes = {**contents["config"], "dropout": dropout}
    network = checkpoint.network_from_checkpoint({**contents, "config": sizes}, str(path))
    network.vocabulary.require(vocabulary, str(path))
    return network


def options_from_checkpoint(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture and sizes of a model, as options of a run.

    Args:
        path: the model's file.
        given: the options that were asked for explicitly.

    Raises:
        UsageError: an option asks for another network than this one; the message names it.
        FormatError: the file is damaged.
    """
    contents = load_checkpoint(path)
    try:
        had = {"arch": contents["architecture"]} | {
            name: contents["config"][field]
            for name, field in SIZE_OPTIONS.items()
            if field in {one.name for one in fields(architecture(contents["architecture"]).config)}
        }
    except (KeyError, TypeError) as error:
        raise FormatError(f"its sizes cannot be read ({error})", source=str(path)) from None
    what = None
    if given.get("arch", had["arch"]) != had["arch"]:
        what = f"--arch {given['arch']}"
    elif "preset" in given and not preset_supports(given["preset"], had["arch"]):
        what = f"--preset {given['preset']}"
    if what is not None:
        raise UsageError(
            f"{what} trains another network than {path} is, whose architecture is {had['arch']}; "
            f"leave out --init or {what.split()[0]}"
        )
    idle = [cli_name(name) for name in SIZE_OPTIONS if name in given and name not in had]
    if idle:
        raise UsageError(f"the {had['arch']} network takes no {idle[0]}; leave it out")
    differing = [
        f"{cli_name(name)} {given[name]} (it has {value})"
        for name, value in had.items()
        if given.get(name, value) != value
    ]
    if differing:
        raise UsageError(
            f"{path} is a network of other sizes than {', '.join(differing)}; "
            "its sizes are taken where these options are left out"
        )
    return had


def provenance(path: Path) -> list[dict[str, Any]]:
    """What is known of a model that a run starts from, and of those that it started from itself.

    Returns:
        plain facts, the oldest model first: its file's name, checksum and episode type, and where
        it says so its options or command and how many steps, episodes and seconds it was trained.
    """
    contents = load_checkpoint(path)
    info, card = contents.get("info") or {}, contents.get("card") or {}
    before = info.get("ancestors") or [
        _facts_from_parent(one) for one in card.get("started_from") or ()
    ]
    kept = ("options", "step", "episodes", "seconds", "hardware", "torch")
    facts = {
        "file": path.name,
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "episode_type": contents["episode_type"],
        **_facts_from_card(card, before),
        **{name: info[name] for name in kept if name in info},
    }
    return [*before, facts]


def _facts_from_card(
    card: Mapping[str, Any], parents: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What a card, whose sums count the models before, tells of its own model's run."""
    known = {name: card[name] for name in ("command", "hardware", "torch") if card.get(name)}
    if card.get("minutes") is not None and all("seconds" in one for one in parents):
        known["seconds"] = 60 * card["minutes"] - sum(one["seconds"] for one in parents)
    return known


def _facts_from_parent(parent: Mapping[str, Any]) -> dict[str, Any]:
    """One of a card's models before, as checkpoints have it."""
    facts = {name: value for name, value in parent.items() if name != "minutes"}
    if parent.get("minutes") is not None:
        facts["seconds"] = 60 * parent["minutes"]
    return facts


# === What a run is made of: a fresh network, training episodes and validation episodes.


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
    source: EpisodeDataset
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
        training_episodes(DataFolders(data_dir, progress=stage_lines(report)), seed=0)


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
        steps = config.total_steps(len(source))
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
    return TrainingData(network, source, validation, source.description)


def network_config(config: TrainingConfig) -> dict[str, Any]:
    """The options of a run that the config of its architecture has, under its names."""
    options = {field: getattr(config, name) for name, field in SIZE_OPTIONS.items()}
    options["dropout"] = config.dropout
    known = {field.name: field.default for field in fields(architecture(config.arch).config)}
    if isinstance(default := known.get("max_positions"), int):
        kind = episode_type(config.episode_type)
        options["max_positions"] = max(default, kind.max_input, kind.max_output + 1)
    return {name: value for name, value in options.items() if name in known}
