"""The models that are asked: by name, with what decides in which experiments they take part."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from biml.analysis.responses import PEOPLE
from biml.episodes.episode_type import FOLDS
from biml.errors import UsageError
from biml.evaluation.network import NetworkResponder
from biml.evaluation.responder import Responder
from biml.evaluation.symbolic import SYMBOLIC, symbolic_model
from biml.networks.checkpoint import load_model
from biml.paths import (
    MODEL_SUFFIXES,
    PRETRAINED,
    DataFolders,
    card_path,
    is_pretrained,
    resolve_model,
)
from biml.vocabulary import Vocabulary

MODEL_LABELS = {
    "algebraic+biases": "BIML",
    "algebraic+slips": "BIML (slips)",
    "joint": "BIML (joint)",
    "algebraic_noise": "BIML (algebraic only)",
    "algebraic": "BIML (algebraic only)",
    "retrieve": "BIML (copy only)",
    "open_end_human_all": "BIML (open-ended)",
    "probe_human_w_pool": "BIML (probes)",
    "few_shot_vanilla": "Basic seq2seq",
}
"""What models are called by what they were trained on."""

_FOLD_NAME = re.compile(r"^(?P<stem>.*?)[-_]?cross(?P<fold>[1-5])(?P<rest>[-_].*)?$")


@dataclass(frozen=True)
class NetworkFile:
    """A network's file.

    Attributes:
        path: of the file.
        digest: of what it holds.
        trained_on: the episode type; empty where the file does not say.
        vocabulary: what it knows.
    """

    path: Path
    digest: str
    trained_on: str
    vocabulary: Vocabulary

    def responder(self) -> Responder:
        return NetworkResponder(load_model(self.path).network)


@dataclass(frozen=True)
class EvaluatedModel:
    """A model that is asked.

    Attributes:
        name: in tables.
        label: for people.
        symbolic: whether it is a symbolic model.
        network: its file; None for a symbolic model, and where there are only models for folds.
        folds: its five siblings that were each trained without one fold of participants, in
            order; empty where there are none.
    """

    name: str
    label: str
    symbolic: bool = False
    network: NetworkFile | None = None
    fold_models: tuple[NetworkFile, ...] = ()

    @property
    def kind(self) -> str:
        return "symbolic" if self.symbolic else "network"

    @property
    def trained_on(self) -> str:
        """The episode type; that of the folds, without their number, where there is no other."""
        if self.network is not None:
            return self.network.trained_on
        return self.fold_models[0].trained_on.rstrip("12345") if self.fold_models else ""

    @property
    def identity(self) -> tuple[str, ...]:
        """What its answers depend on."""
        if self.symbolic:
            return ("symbolic", self.name)
        networks = (*([self.network] if self.network else []), *self.fold_models)
        return tuple(network.digest for network in networks)

    def responder(self, symbols: tuple[str, ...] = ()) -> Responder:
        """The model, ready to answer.

        Args:
            symbols: what a symbolic model answers in, if not in the published colours.
        Raises:
            FormatError: its file is damaged.
        """
        if self.symbolic:
            return symbolic_model(self.name).build(**({"symbols": symbols} if symbols else {}))
        if self.network is None:
            raise UsageError(f"{self.name}: there are models for its folds only")
        return self.network.responder()


def find_models(
    names: Sequence[str] | None, folder: str | Path, data: DataFolders
) -> tuple[EvaluatedModel, ...]:
    """The models called so, each once; those of one name that differ in their fold are one model.

    Args:
        names: of files or symbolic models; None for the paper's models that are on this machine
            and all symbolic ones.
        folder: where models are looked for first.
        data: also searched for a folder of released models.
    Raises:
        UsageError: there is no such model, or a model for a fold was trained on another.
        FormatError: a file is damaged.
    """
    if names is None:
        names = [*(name for name in PRETRAINED if _is_available(name, folder, data)), *SYMBOLIC]
    symbols = [name for name in names if name in SYMBOLIC]
    paths = {
        path: None
        for name in names
        if name not in SYMBOLIC
        for path in [_model_path(name, folder, data).resolve()]
    }
    networks = _group_by_name(_open_network(path) for path in paths)
    subjects = [
        _attach_fold_models(name, network, folds, Path(folder))
        for name, (network, folds) in networks.items()
    ]
    made = [
        EvaluatedModel(name, symbolic_model(name).title, symbolic=True)
        for name in dict.fromkeys(symbols)
    ]
    return _with_unique_labels([*subjects, *made])


def _model_path(name: str, folder: str | Path, data: DataFolders) -> Path:
    try:
        return resolve_model(name, folder, data)
    except UsageError as error:
        raise UsageError(f"{error} Symbolic models are {', '.join(SYMBOLIC)}.") from None


def _is_available(name: str, folder: str | Path, data: DataFolders) -> bool:
    try:
        resolve_model(name, folder, data)
    except UsageError:
        return False
    return True


def _open_network(path: Path) -> NetworkFile:
    loaded = load_model(path)
    digest = blake2b(path.read_bytes(), digest_size=16)
    if path.suffix == ".safetensors":
        digest.update(card_path(path).read_bytes())
    return NetworkFile(path, digest.hexdigest(), loaded.episode_type, loaded.network.vocabulary)


NetworksByName = dict[str, tuple[NetworkFile | None, dict[int, NetworkFile]]]
"""By name a model for everybody, and models for folds."""


def _group_by_name(networks: Iterable[NetworkFile]) -> NetworksByName:
    """Networks by name, models for folds together.

    Raises:
        UsageError: two have the same name, it is taken, or a fold's model was trained on another.
    """
    found: NetworksByName = {}
    for network in networks:
        name = network.path.stem
        fold = _FOLD_NAME.match(name)
        if fold:
            _check_fold(network, int(fold["fold"]))
            name = f"{fold['stem']}{fold['rest'] or ''}"
        if name in (PEOPLE, *SYMBOLIC):
            whose = "people" if name == PEOPLE else "a symbolic model"
            raise UsageError(
                f"{network.path}: the name {name} is taken by {whose} in every table; "
                "rename the file"
            )
        alone, folds = found.setdefault(name, (None, {}))
        if fold:
            folds[int(fold["fold"])] = network
        elif alone is not None:
            raise UsageError(
                f"{alone.path} and {network.path} have the same name; rename one of the two"
            )
        else:
            found[name] = (network, folds)
    return found


def _attach_fold_models(
    name: str, network: NetworkFile | None, folds: dict[int, NetworkFile], folder: Path
) -> EvaluatedModel:
    """The subject; models for folds that lie beside its file belong to it too.

    Args:
        folder: where those of a model that comes with biml lie.
    Raises:
        UsageError: models for some of the five folds were named, and others are missing.
    """
    named = bool(folds)
    if network is not None:
        place = folder if is_pretrained(network.path) else network.path.parent
        beside = {k: _fold_model(place, network.path.stem, k) for k in FOLDS if k not in folds}
        folds = folds | {k: sibling for k, sibling in beside.items() if sibling is not None}
    if len(folds) < len(FOLDS):
        if named:
            missing = ", ".join(str(k) for k in FOLDS if k not in folds)
            raise UsageError(
                f"of the five models {name}-cross1 to {name}-cross5 there is none for {missing}; "
                "name all five"
            )
        folds = {}
    return EvaluatedModel(
        name, "", network=network, fold_models=tuple(folds[k] for k in sorted(folds))
    )


def _fold_model(folder: Path, name: str, fold: int) -> NetworkFile | None:
    stems = dict.fromkeys((name, name.removesuffix("-top")))
    for stem in stems:
        for mark in ("-", "_"):
            for ending in MODEL_SUFFIXES:
                sibling = folder / f"{stem}{mark}cross{fold}{ending}"
                if sibling.is_file():
                    network = _open_network(sibling)
                    _check_fold(network, fold)
                    return network
    return None


def _check_fold(network: NetworkFile, fold: int) -> None:
    """Else people would be held out that it has seen."""
    if not network.trained_on.endswith(f"cross{fold}"):
        raise UsageError(
            f"{network.path}: by its name a model for fold {fold}, but it was trained on "
            f"{network.trained_on or 'what it does not say'}; name it otherwise"
        )


def _with_unique_labels(models: Sequence[EvaluatedModel]) -> tuple[EvaluatedModel, ...]:
    """With labels that differ."""
    labels = [_model_label(subject) for subject in models]
    return tuple(
        replace(subject, label=label if labels.count(label) == 1 else f"{label}: {subject.name}")
        for subject, label in zip(models, labels, strict=True)
    )


def _model_label(model: EvaluatedModel) -> str:
    if model.symbolic:
        return model.label
    kind = model.trained_on.removesuffix("_cross")
    return MODEL_LABELS.get("open_end_human_all" if kind == "open_end_human" else kind, model.name)


def has_vocabulary(model: EvaluatedModel, vocabulary: Vocabulary) -> bool:
    """Whether a network knows exactly these symbols; a symbolic model takes any."""
    network = model.network or (model.fold_models[0] if model.fold_models else None)
    return network is None or network.vocabulary == vocabulary
