"""The models that are asked: by name, with what decides in which experiments they take part."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from biml.behaviour.people import FOLDS
from biml.behaviour.responses import PEOPLE
from biml.checkpoints.cards import card_path
from biml.checkpoints.model import load_model
from biml.checkpoints.shipped import ENDINGS, SHIPPED, is_shipped
from biml.episodes.locate import DataFolders
from biml.errors import UsageError
from biml.evaluation.find import find_model
from biml.evaluation.network_responder import NetworkResponder
from biml.evaluation.responder import Responder
from biml.reproduce.experiments import ALL, EXPERIMENTS
from biml.symbolic import SYMBOLIC, symbolic
from biml.vocabulary import Vocabulary

LABELS = {
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

_FOLD = re.compile(r"^(?P<stem>.*?)[-_]?cross(?P<fold>[1-5])(?P<rest>[-_].*)?$")


@dataclass(frozen=True)
class Network:
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
class Subject:
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
    network: Network | None = None
    folds: tuple[Network, ...] = ()

    @property
    def kind(self) -> str:
        return "symbolic" if self.symbolic else "network"

    @property
    def trained_on(self) -> str:
        """The episode type; that of the folds, without their number, where there is no other."""
        if self.network is not None:
            return self.network.trained_on
        return self.folds[0].trained_on.rstrip("12345") if self.folds else ""

    @property
    def identity(self) -> tuple[str, ...]:
        """What its answers depend on."""
        if self.symbolic:
            return ("symbolic", self.name)
        networks = (*([self.network] if self.network else []), *self.folds)
        return tuple(network.digest for network in networks)

    def responder(self, symbols: tuple[str, ...] = ()) -> Responder:
        """The model, ready to answer.

        Args:
            symbols: what a symbolic model answers in, if not in the published colours.
        Raises:
            FormatError: its file is damaged.
        """
        if self.symbolic:
            return symbolic(self.name).make(**({"symbols": symbols} if symbols else {}))
        if self.network is None:
            raise UsageError(f"{self.name}: there are models for its folds only")
        return self.network.responder()


def find_subjects(
    names: Sequence[str] | None, folder: str | Path, data: DataFolders
) -> tuple[Subject, ...]:
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
        names = [*(name for name in SHIPPED if _there(name, folder, data)), *SYMBOLIC]
    symbols = [name for name in names if name in SYMBOLIC]
    paths = {
        path: None
        for name in names
        if name not in SYMBOLIC
        for path in [_find(name, folder, data).resolve()]
    }
    networks = _grouped(_open(path) for path in paths)
    subjects = [
        _with_siblings(name, network, folds, Path(folder))
        for name, (network, folds) in networks.items()
    ]
    made = [Subject(name, symbolic(name).title, symbolic=True) for name in dict.fromkeys(symbols)]
    return _labelled([*subjects, *made])


def _find(name: str, folder: str | Path, data: DataFolders) -> Path:
    try:
        return find_model(name, folder, data)
    except UsageError as error:
        if name in (*EXPERIMENTS, ALL):
            raise UsageError(
                f"there is no model {name!r}, but an experiment; name experiments before --models: "
                f"biml reproduce {name} --models …"
            ) from None
        raise UsageError(f"{error} Symbolic models are {', '.join(SYMBOLIC)}.") from None


def _there(name: str, folder: str | Path, data: DataFolders) -> bool:
    try:
        find_model(name, folder, data)
    except UsageError:
        return False
    return True


def _open(path: Path) -> Network:
    loaded = load_model(path)
    digest = blake2b(path.read_bytes(), digest_size=16)
    if path.suffix == ".safetensors":
        digest.update(card_path(path).read_bytes())
    return Network(path, digest.hexdigest(), loaded.episode_type, loaded.network.vocabulary)


Found = dict[str, tuple[Network | None, dict[int, Network]]]
"""By name a model for everybody, and models for folds."""


def _grouped(networks: Iterable[Network]) -> Found:
    """Networks by name, models for folds together.

    Raises:
        UsageError: two have the same name, it is taken, or a fold's model was trained on another.
    """
    found: Found = {}
    for network in networks:
        name = network.path.stem
        fold = _FOLD.match(name)
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


def _with_siblings(
    name: str, network: Network | None, folds: dict[int, Network], folder: Path
) -> Subject:
    """The subject; models for folds that lie beside its file belong to it too.

    Args:
        folder: where those of a model that comes with biml lie.
    Raises:
        UsageError: models for some of the five folds were named, and others are missing.
    """
    named = bool(folds)
    if network is not None:
        place = folder if is_shipped(network.path) else network.path.parent
        beside = {k: _sibling(place, network.path.stem, k) for k in FOLDS if k not in folds}
        folds = folds | {k: sibling for k, sibling in beside.items() if sibling is not None}
    if len(folds) < len(FOLDS):
        if named:
            missing = ", ".join(str(k) for k in FOLDS if k not in folds)
            raise UsageError(
                f"of the five models {name}-cross1 to {name}-cross5 there is none for {missing}; "
                "name all five"
            )
        folds = {}
    return Subject(name, "", network=network, folds=tuple(folds[k] for k in sorted(folds)))


def _sibling(folder: Path, name: str, fold: int) -> Network | None:
    stems = dict.fromkeys((name, name.removesuffix("-top")))
    for stem in stems:
        for mark in ("-", "_"):
            for ending in ENDINGS:
                sibling = folder / f"{stem}{mark}cross{fold}{ending}"
                if sibling.is_file():
                    network = _open(sibling)
                    _check_fold(network, fold)
                    return network
    return None


def _check_fold(network: Network, fold: int) -> None:
    """Else people would be held out that it has seen."""
    if not network.trained_on.endswith(f"cross{fold}"):
        raise UsageError(
            f"{network.path}: by its name a model for fold {fold}, but it was trained on "
            f"{network.trained_on or 'what it does not say'}; name it otherwise"
        )


def _labelled(subjects: Sequence[Subject]) -> tuple[Subject, ...]:
    """With labels that differ."""
    labels = [_label(subject) for subject in subjects]
    return tuple(
        replace(subject, label=label if labels.count(label) == 1 else f"{label}: {subject.name}")
        for subject, label in zip(subjects, labels, strict=True)
    )


def _label(subject: Subject) -> str:
    if subject.symbolic:
        return subject.label
    kind = subject.trained_on.removesuffix("_cross")
    return LABELS.get("open_end_human_all" if kind == "open_end_human" else kind, subject.name)


def knows(subject: Subject, vocabulary: Vocabulary) -> bool:
    """Whether a network knows exactly these symbols; a symbolic model takes any."""
    network = subject.network or (subject.folds[0] if subject.folds else None)
    return network is None or network.vocabulary == vocabulary
