"""The models under evaluation: network files, their cross-validation folds, symbolic models."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from inspect import getfile
from itertools import product
from pathlib import Path
from secrets import token_hex
from typing import Any

from biml.analysis.responses import PEOPLE
from biml.episodes.cogs import COGS_TYPES
from biml.episodes.data_use import DataUse
from biml.episodes.episode_type import FOLDS, PUBLISHED_VOCAB, EpisodeType
from biml.episodes.parts import OPEN
from biml.episodes.registry import EPISODE_TYPES, evaluation_type
from biml.episodes.scan import SCAN_TYPES
from biml.errors import UsageError
from biml.evaluation.network import NetworkResponder
from biml.evaluation.registry import SYMBOLIC, is_language_model, symbolic_model
from biml.evaluation.responder import Responder
from biml.networks.checkpoint import load_model
from biml.networks.registry import architecture_name
from biml.paths import (
    FETCH_HINTS,
    MODEL_SUFFIXES,
    PRETRAINED,
    DataFolders,
    card_path,
    is_pretrained,
    list_pretrained,
    model_file,
    read_card,
    resolve_model,
    strip_suffix,
)
from biml.reproduce.language import LANGUAGE_MODEL, LanguageModelSource
from biml.vocabulary import Vocabulary

_FOLD_NAME = re.compile(r"^(?P<stem>.*?)[-_]?cross(?P<fold>[1-5])(?P<rest>[-_].*)?$")


@dataclass(frozen=True)
class NetworkFile:
    """A network's file, the digest of its contents, and what is known of its training."""

    path: Path
    digest: str
    trained_on: str  # the episode type
    vocabulary: Vocabulary
    architecture: str
    data_use: DataUse
    seed: int | None = None
    n_queries: int = 1  # novel queries that shared a study set in training

    def responder(self) -> Responder:
        return NetworkResponder(load_model(self.path).network)


@dataclass(frozen=True)
class EvaluatedModel:
    """A model under evaluation, with its name in tables and its label for readers.

    `network` is None for symbolic and language models and where there are fold models only;
    `fold_models` are none or five networks, each trained without one fold of participants.
    """

    name: str
    label: str
    symbolic: bool = False
    network: NetworkFile | None = None
    fold_models: tuple[NetworkFile, ...] = ()
    language: LanguageModelSource | None = None

    @property
    def kind(self) -> str:
        if self.language:
            return LANGUAGE_MODEL
        return "symbolic" if self.symbolic else "network"

    @property
    def has_any_words(self) -> bool:
        """Whether it takes other words and symbols than the published ones."""
        return self.symbolic or self.language is not None

    @property
    def trained_on(self) -> str:
        """The name of its episode type; empty if unknown."""
        return self._networks[0].trained_on if self._networks else ""

    @property
    def episode_type(self) -> EpisodeType | None:
        """What it was trained on; None for the model of a single fold."""
        row = EPISODE_TYPES.get(self.trained_on)
        return None if row is None or (row.fold and self.network is not None) else row

    @property
    def held_out_fold(self) -> int:
        """The participants that the network was trained without; 0 for none."""
        row = EPISODE_TYPES.get(self.trained_on)
        return row.fold if row is not None and self.network is not None else 0

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of its networks; a symbolic model takes any."""
        return self._networks[0].vocabulary if self._networks else PUBLISHED_VOCAB

    @property
    def _networks(self) -> tuple[NetworkFile, ...]:
        return (*([self.network] if self.network else []), *self.fold_models)

    def evaluation_type(self, task: str, *, fold: int = 0, has_targets: bool = True) -> str:
        """The name of the episode type that presents a task to it; empty where there is none."""
        row = evaluation_type(
            task, self.vocabulary, fold=fold, has_targets=has_targets, trained_on=self.trained_on
        )
        return row.name if row is not None else ""

    @property
    def architecture(self) -> str:
        """The architecture of its networks; empty for a symbolic model."""
        return self._networks[0].architecture if self._networks else ""

    @property
    def data_use(self) -> DataUse:
        """What it was trained on, fitted to and chosen by; of fold models, that of the first."""
        if self.symbolic:
            return DataUse.of_responder(self.responder())
        return self._networks[0].data_use if self._networks else DataUse()

    def uses(self, task: str, *, is_custom: bool = False) -> tuple[str, ...]:
        """How the data of a task went into it (`data_use.USES`); nothing for fold models alone."""
        if not (self.network or self.symbolic):
            return ()
        return self.data_use.uses_of_task(task, is_imported=is_custom)

    @property
    def identity(self) -> tuple[str, ...]:
        """Everything that its responses depend on."""
        if self.symbolic:
            return ("symbolic", self.name, *_plugin_digest(symbolic_model(self.name).build))
        if self.language:
            return self.language.identity
        return tuple(network.digest for network in self._networks)

    @property
    def benchmark(self) -> str:
        """`SCAN` or `COGS` for a network that was trained on it; else empty."""
        sources = self.episode_type.data_sources if self.episode_type else ()
        return next((name for name in ("SCAN", "COGS") if name in sources), "")

    def test_type(self, test: str) -> str:
        """The episode type with the items of a benchmark's test for it; empty if there are none.

        The test of SCAN is that of the split that it was trained on; one of COGS has study sets as
        in training, such as those of `cogs_train+phrases`.
        """
        row = self.episode_type
        if row is None or test.partition("_")[0] != self.benchmark.lower():
            return ""
        return next(name for name in row.test_types if test == "scan" or name.startswith(test))

    @property
    def table_name(self) -> str:
        """Its name in tables; networks of a benchmark that differ in seeds share one."""
        if not (self.network and self.episode_type and self.benchmark):
            return self.name
        by_parts = OPEN in self.network.vocabulary.output.index
        variant = "answers by parts" if by_parts else self.trained_on.partition("+")[2]
        about = ", ".join(filter(None, (self.network.architecture, variant)))
        return f"{self.episode_type.label} ({about})"

    def lacks_corpus(self, data: DataFolders) -> str:
        """Why a network of a benchmark cannot be tested with these data; empty if it can.

        Without files the simple split of SCAN would be drawn anew, with test items that the network
        may have been trained on; the other splits need none.
        """
        folder = "scan" if self.trained_on.startswith("simple_actions") else "cogs"
        if folder != self.benchmark.lower() or data.get(folder) is not None:
            return ""
        return f"is tested on {self.benchmark}, of which there are no files; {FETCH_HINTS[folder]}"

    def with_language(self, **changes: Any) -> "EvaluatedModel":
        """The model itself; a language model with changes of its `LanguageModelSource`."""
        return replace(self, language=self.language and replace(self.language, **changes))

    def responder(self, symbols: tuple[str, ...] = (), task: str = "") -> Responder:
        """Load the model, or build the symbolic one, with other symbols than the published.

        The task, an episode type, stands in the log of a language model.
        """
        if self.language:
            model = replace(self.language.open(), task=task, progress=self.language.progress)
            return replace(model, symbols=symbols) if symbols else model
        if self.symbolic:
            return symbolic_model(self.name).build(**({"symbols": symbols} if symbols else {}))
        if self.network is None:
            raise UsageError(f"{self.name}: there are models for its folds only")
        return self.network.responder()


def installed_models(folder: str | Path, data: DataFolders) -> list[str]:
    """The paper's models of people that are on this machine, and all symbolic ones."""
    installed = []
    for name in (name for name, kind in PRETRAINED.items() if not EPISODE_TYPES[kind].is_corpus):
        with suppress(UsageError):
            resolve_model(name, folder, data)
            installed.append(name)
    return [*installed, *SYMBOLIC]


def installed_benchmark_models() -> list[str]:
    """The files for SCAN and COGS that come with biml, in the order of their episode types."""
    order = [row.name for row in (*SCAN_TYPES, *COGS_TYPES)]
    kinds = {path: str(read_card(path).get("episode_type")) for path in list_pretrained()}
    found = [path for path, kind in kinds.items() if kind in order]
    if not found:
        raise UsageError(
            "no model for SCAN or COGS comes with this biml; name yours with --models, trained for "
            "example with `biml train --preset fast --episode_type addprim_jump_actions`"
        )
    return [str(path) for path in sorted(found, key=lambda path: order.index(kinds[path]))]


def find_models(
    names: Sequence[str],
    folder: str | Path,
    data: DataFolders,
    language: LanguageModelSource | None = None,
) -> tuple[EvaluatedModel, ...]:
    """The named models, each once; files that differ in their fold only are one model.

    Args:
        names: files or symbolic models.
        folder: searched for models first, before a folder of released models in `data`.
        language: how language models are measured.
    Raises:
        UsageError: there is no such model, or a fold model was trained on another fold.
    """
    paths = dict.fromkeys(
        resolve_model(name, folder, data, SYMBOLIC).resolve()
        for name in names
        if name not in SYMBOLIC and not is_language_model(name)
    )
    networks = [
        _attach_fold_models(name, network, folds, Path(folder))
        for name, (network, folds) in _group_by_name(map(_open_network, paths)).items()
    ]
    symbolic = [
        EvaluatedModel(name, symbolic_model(name).title, symbolic=True)
        for name in dict.fromkeys(name for name in names if name in SYMBOLIC)
    ]
    source = language or LanguageModelSource()
    answering = [
        # For readers, the last part of a path or address.
        EvaluatedModel(name, re.split(r"[/#]", name)[-1], language=replace(source, name=name))
        for name in dict.fromkeys(filter(is_language_model, names))
    ]
    models = [*networks, *symbolic, *answering]
    labels = [_label(model) for model in models]
    return tuple(
        replace(
            model,
            label=label
            if labels.count(label) == 1 or model.benchmark
            else f"{label}: {model.name}",
        )
        for model, label in zip(models, labels, strict=True)
    )


def _open_network(path: Path) -> NetworkFile:
    loaded = load_model(path)
    digest = blake2b(path.read_bytes(), digest_size=16)
    if path.suffix == ".safetensors":
        digest.update(card_path(path).read_bytes())
    for plugin in _plugin_digest(type(loaded.network)):
        digest.update(plugin.encode())
    seed = loaded.card.get("seed", (loaded.metadata.get("options") or {}).get("seed"))
    return NetworkFile(
        path,
        digest.hexdigest(),
        loaded.episode_type,
        loaded.network.vocabulary,
        architecture_name(loaded.network),
        DataUse.of_network(loaded.episode_type, loaded.metadata, loaded.card),
        seed,
        loaded.n_queries,
    )


def _plugin_digest(code: Any) -> tuple[str, ...]:
    """Identify the file of a class or function from a plugin; nothing for biml's own."""
    if code.__module__.startswith("biml."):
        return ()
    try:
        return (blake2b(Path(getfile(code)).read_bytes(), digest_size=16).hexdigest(),)
    except (OSError, TypeError):  # defined in a notebook: never the same as before
        return (token_hex(),)


NetworksByName = dict[str, tuple[NetworkFile | None, dict[int, NetworkFile]]]
"""By name the network trained on all participants, if any, and those of folds."""


def _group_by_name(networks: Iterable[NetworkFile]) -> NetworksByName:
    groups: NetworksByName = {}
    for network in networks:
        name = strip_suffix(model_file(network.path))
        fold = _FOLD_NAME.match(name)
        if fold:
            _check_fold(network, int(fold["fold"]))
            name = f"{fold['stem']}{fold['rest'] or ''}"
        if name in (PEOPLE, *SYMBOLIC):
            owner = "people" if name == PEOPLE else "a symbolic model"
            raise UsageError(
                f"{network.path}: the name {name} is taken by {owner} in every table; "
                "rename the file"
            )
        whole, folds = groups.setdefault(name, (None, {}))
        if fold:
            folds[int(fold["fold"])] = network
        elif whole is not None:
            raise UsageError(
                f"{whole.path} and {network.path} have the same name; rename one of the two"
            )
        else:
            groups[name] = (network, folds)
    return groups


def _attach_fold_models(
    name: str, network: NetworkFile | None, folds: dict[int, NetworkFile], folder: Path
) -> EvaluatedModel:
    """The model with its fold models: those named, and those beside its file.

    Fold models of a pretrained network are in `folder`.
    """
    named = bool(folds)
    if network is not None:
        beside = folder if is_pretrained(network.path) else network.path.parent
        siblings = {k: _fold_model(beside, network.path.stem, k) for k in FOLDS if k not in folds}
        folds = folds | {k: sibling for k, sibling in siblings.items() if sibling is not None}
    if len(folds) < len(FOLDS):
        if named:
            missing = ", ".join(str(k) for k in FOLDS if k not in folds)
            raise UsageError(
                f"of the five models {name}-cross1 to {name}-cross5 there is none for {missing}; "
                "name all five"
            )
        folds = {}
    fold_models = tuple(folds[k] for k in sorted(folds))
    return EvaluatedModel(name, "", network=network, fold_models=fold_models)


def _fold_model(folder: Path, name: str, fold: int) -> NetworkFile | None:
    stems = dict.fromkeys((name, name.removesuffix("-top")))
    for stem, separator, suffix in product(stems, "-_", MODEL_SUFFIXES):
        path = folder / f"{stem}{separator}cross{fold}{suffix}"
        if path.is_file():
            network = _open_network(path)
            _check_fold(network, fold)
            return network
    return None


def _check_fold(network: NetworkFile, fold: int) -> None:
    """A fold model trained on another fold would have seen the people who are held out."""
    row = EPISODE_TYPES.get(network.trained_on)
    if row is None or row.fold != fold:
        raise UsageError(
            f"{network.path}: named as a model for fold {fold}, but it was trained on "
            f"{network.trained_on or 'an unknown episode type'}; rename it"
        )


def _label(model: EvaluatedModel) -> str:
    if model.has_any_words:
        return model.label
    if model.benchmark:
        return model.table_name
    return (model.episode_type and model.episode_type.label) or model.name
