"""From the given options of a run to its configuration, data and network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from biml.episodes.corpus import CorpusDataset
from biml.episodes.corpus_file import register_corpus
from biml.episodes.datasets import EpisodeDataset, training_episodes, with_grammar_labels
from biml.episodes.episode import Episode
from biml.episodes.registry import episode_type
from biml.errors import FormatError, UsageError
from biml.networks.base import EpisodeNetwork
from biml.networks.registry import architecture, build_network
from biml.networks.seq2seq import PostNormTransformer, mimetic_init
from biml.paths import DataFolders
from biml.progress import stage_lines
from biml.rng import derive_seed
from biml.training.config import PRESETS, SIZE_OPTIONS, TrainingConfig, cli_name, current_options


def preset_architecture(preset: str) -> str:
    """The architecture that a preset is for.

    >>> preset_architecture("paper"), preset_architecture("fast")
    ('paper', 'staged')
    """
    return str(PRESETS[preset].get("arch", TrainingConfig.arch))


def preset_supports(preset: str, arch: str) -> bool:
    """Whether a preset can train an architecture: both with auxiliary losses, or both without.

    >>> preset_supports("fast", "staged"), preset_supports("paper", "staged")
    (True, False)
    """
    own = architecture(preset_architecture(preset))
    return architecture(arch).supports_aux_loss == own.supports_aux_loss


def with_corpus_type(given: Mapping[str, Any]) -> dict[str, Any]:
    """Register the corpus of some options, if they have one, and add its episode type."""
    if given.get("corpus") is None:
        if given.get("allow_overlap"):
            raise UsageError("--allow_overlap has no effect without --corpus; leave it out")
        return dict(given)
    path = Path(given["corpus"]).resolve()
    name = register_corpus(path, allow_overlap=bool(given.get("allow_overlap"))).name
    if given.get("episode_type", name) != name:
        raise UsageError(
            f"--corpus {path} is the episode type {name}, not {given['episode_type']}; leave out "
            "--episode_type"
        )
    return {**given, "corpus": str(path), "episode_type": name}


def preset_options(preset: str, kind: str | None) -> dict[str, Any]:
    """The options that a preset gives an episode type, where they are not the usual defaults.

    >>> preset_options("paper", "length_actions")["nepochs"]
    200
    """
    row = episode_type(kind or TrainingConfig.episode_type)
    return {**PRESETS[preset], **row.training_defaults.get(preset, {})}


def resolve_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete the given options with those of their preset, and check that they fit together."""
    given = with_corpus_type(current_options(given))
    preset = given.get("preset", TrainingConfig.preset)
    if preset not in PRESETS:
        raise UsageError(f"--preset must be {' or '.join(PRESETS)}, not {preset!r}")
    lengths = [cli_name(length) for length in ("nsteps", "nepochs") if length in given]
    if "time_budget" in given and lengths:
        raise UsageError(f"--time_budget and {lengths[0]} both set the length; leave out one")
    options = {**preset_options(preset, given.get("episode_type")), **given}
    arch = str(options.get("arch", TrainingConfig.arch))
    if "preset" in given and not preset_supports(preset, arch):
        raise UsageError(
            f"--preset {preset} is for --arch {preset_architecture(preset)}, not {arch}; "
            "leave out --preset or --arch"
        )
    if "nlayers_query" in given and "init_from" not in given:
        _reject_unknown_sizes(arch, ["nlayers_query"])
    if "mimetic_init" in given and "init_from" in given:
        raise UsageError("--mimetic_init has no effect with --init_from; leave out one of them")
    _reject_unused_options(given, options)
    return options


def _reject_unused_options(given: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Refuse given options without effect; those of a preset may have none."""
    kind = episode_type(options.get("episode_type", TrainingConfig.episode_type))
    has_labels = kind.has_labels or kind.supports_grammar_labels or not given.get("aux_loss_weight")
    linear = options.get("lr_schedule", TrainingConfig.lr_schedule) == "linear"
    of_preset = "" if "lr_schedule" in given else f", which --preset {given.get('preset')} uses"
    for name, effective, reason in (
        ("save_best_skip", options.get("save_best"), "without --save_best"),
        ("clean_fraction", options.get("curriculum"), "without --curriculum"),
        ("aux_loss_weight", has_labels, f"with --episode_type {kind.name}, which has no rules"),
        ("curriculum", kind.algebraic_training, f"with --episode_type {kind.name}"),
        ("clean_fraction", kind.has_late_corruption, f"with --episode_type {kind.name}"),
        ("lr_end_factor", linear, f"with --lr_schedule quadratic{of_preset}"),
        ("lr_warmup", linear, f"with --lr_schedule quadratic{of_preset}"),
    ):
        if name in given and not effective:
            raise UsageError(f"{cli_name(name)} has no effect {reason}; leave it out")


def _reject_unknown_sizes(arch: str, given: Sequence[str]) -> None:
    known = {field.name for field in fields(architecture(arch).config)}
    for name in given:
        if SIZE_OPTIONS[name] not in known:
            raise UsageError(f"the {arch} network has no {cli_name(name)}; leave it out")


def options_from_checkpoint(
    path: Path, contents: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The architecture and sizes of a trained model, as options; given ones must not differ."""
    try:
        arch = contents["architecture"]
        known = {field.name for field in fields(architecture(arch).config)}
        fields_of = {name: field for name, field in SIZE_OPTIONS.items() if field in known}
        sizes = {name: contents["config"][field] for name, field in fields_of.items()}
    except (KeyError, TypeError) as error:
        raise FormatError(f"its sizes cannot be read ({error})", source=str(path)) from None
    fits = {
        "arch": given.get("arch", arch) == arch,
        "preset": "preset" not in given or preset_supports(given["preset"], arch),
    }
    for name, fit in fits.items():
        if not fit:
            raise UsageError(
                f"--{name} {given[name]} does not fit --init_from {path}, a {arch} network; "
                "leave out one of them"
            )
    _reject_unknown_sizes(arch, [name for name in SIZE_OPTIONS if name in given])
    differing = [
        f"{cli_name(name)} {given[name]} (it has {value})"
        for name, value in sizes.items()
        if given.get(name, value) != value
    ]
    if differing:
        raise UsageError(f"{path} has other sizes: leave out {', '.join(differing)}")
    return {"arch": arch, **sizes}


@dataclass(frozen=True)
class TrainingData:
    """What every process of a run has a copy of: the initial network and the episodes."""

    network: EpisodeNetwork
    dataset: EpisodeDataset
    validation: Sequence[Episode]


def warm_episode_cache(name: str, data_dir: Path | None, report: Callable[[str], None]) -> None:
    """Cache a folder of training episodes, reporting it; the first reading takes half a minute.

    Otherwise every process of a run would do so, silently, in `open_training_data`.
    """
    if episode_type(name).algebraic_training is not None:
        training_episodes(DataFolders(data_dir, progress=stage_lines(report)), seed=0)


def open_training_data(config: TrainingConfig, data_dir: Path | None) -> TrainingData:
    """Open training and validation episodes, and initialise the network."""
    with_corpus_type({"corpus": config.corpus, "allow_overlap": config.allow_overlap})
    kind = episode_type(config.episode_type)
    folders = DataFolders(data_dir)
    seed = derive_seed(config.seed, "weights")
    dataset = kind.open_training(folders, config.seed)
    vocabulary = kind.open_vocabulary(folders)
    if isinstance(dataset, CorpusDataset):
        dataset = replace(dataset, n_queries=config.n_queries)
        if config.p_permute is not None:
            corpus = replace(dataset.corpus, p_permute=config.p_permute)
            dataset = replace(dataset, corpus=corpus)
        if config.merge_symbols:
            sequences = dataset.corpus.frequent_sequences(config.merge_symbols)
            vocabulary = vocabulary.with_sequences(sequences)
    else:
        for name in ("n_queries", "p_permute", "merge_symbols"):
            if getattr(config, name) != getattr(TrainingConfig, name):
                raise UsageError(f"--{name} has no effect with --episode_type {kind.name}")
    network = build_network(config.arch, network_config(config), vocabulary, seed=seed)
    if config.mimetic_init:
        if not isinstance(network, PostNormTransformer):
            raise UsageError(f"--mimetic_init: --arch {config.arch} always does so; leave it out")
        mimetic_init(network)
    if config.curriculum:
        steps = config.total_steps(len(dataset))
        n_episodes = config.episodes_seen(steps, steps)
        clean = config.episodes_seen(round(steps * config.clean_fraction), steps)
        dataset = kind.open_curriculum(
            folders, config.seed, clean, n_episodes, with_stages=not config.init_from
        )
    if config.aux_loss_weight:
        if not architecture(config.arch).supports_aux_loss:
            raise UsageError(
                f"--aux_loss_weight: --arch {config.arch} has no such losses; leave it out"
            )
        if isinstance(dataset, CorpusDataset):
            dataset = replace(dataset, with_labels=True)
        elif kind.supports_grammar_labels:
            dataset = with_grammar_labels(dataset)
    return TrainingData(network, dataset, kind.open_validation(folders, config.seed))


def network_config(config: TrainingConfig) -> dict[str, Any]:
    """The config fields of a run's architecture that its options and episode type set."""
    options = {field: getattr(config, name) for name, field in SIZE_OPTIONS.items()}
    options["dropout"] = config.dropout
    known = {field.name: field.default for field in fields(architecture(config.arch).config)}
    if isinstance(default := known.get("max_positions"), int):
        kind = episode_type(config.episode_type)
        options["max_positions"] = max(default, kind.max_input, kind.max_output + 1)
    return {name: value for name, value in options.items() if name in known}
