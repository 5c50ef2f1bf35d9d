"""Search paths of data folders and models; pretrained models and their cards."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import platformdirs

from biml.errors import BimlError, FormatError, UsageError, did_you_mean
from biml.facts import CHECKPOINT, check_facts
from biml.io import read_json
from biml.progress import Progress, no_progress

FETCH_HINTS = {
    "data_human": "fetch it with `biml data download human`",
    "data_algebraic": "make it with `biml generate` or fetch it with `biml data download episodes`",
    "scan": "fetch it with `biml data download scan`",
    "cogs": "fetch it with `biml data download cogs`",
    "out_models": "fetch the released ones with `biml data download models`",
    "out_models_benchmarks": "fetch them with `biml data download benchmark-models`",
}
"""The command that provides a data folder, by the folder's name."""


def user_data_folder() -> Path:
    """Return the default folder of downloads."""
    return _user_folder(platformdirs.user_data_dir, ".biml/data")


def user_cache_folder() -> Path:
    """Return the folder of files that can be made again at any time."""
    return _user_folder(platformdirs.user_cache_dir, ".biml/cache")


def _user_folder(find: Callable[..., str], without_home: str) -> Path:
    """A folder of the user, in the current directory for one without a home (some containers)."""
    try:
        folder = Path(find("biml", appauthor=False))
    except RuntimeError:
        return Path.cwd() / without_home
    return folder if folder.is_absolute() else Path.cwd() / without_home


@dataclass(frozen=True)
class SearchPath:
    """One folder that is searched, and where it comes from."""

    folder: Path
    origin: str

    def find(self, name: str) -> Path | None:
        """Return the subfolder `name`, or this folder if that is its own name."""
        if (self.folder / name).is_dir():
            return self.folder / name
        return self.folder if self.folder.name == name and self.folder.is_dir() else None


def default_search_paths(environment: Mapping[str, str] | None = None) -> tuple[SearchPath, ...]:
    """Return `BIML_DATA` where set, the current directory and the user's data folder."""
    named = (os.environ if environment is None else environment).get("BIML_DATA")
    chosen = (SearchPath(Path(named), "BIML_DATA"),) if named else ()
    return (
        *chosen,
        SearchPath(Path.cwd(), "current directory"),
        SearchPath(user_data_folder(), "user's data folder"),
    )


@dataclass(frozen=True)
class DataFolders:
    """Finds the data folders, which are the keys of `FETCH_HINTS`."""

    data_dir: Path | None = None
    """The folder of `--data_dir`, searched first; it may be the data folder itself."""
    defaults: tuple[SearchPath, ...] = field(default_factory=default_search_paths)
    """Searched next; fixed on creation, whatever directory becomes current later."""
    progress: Progress = field(default=no_progress, compare=False, repr=False)

    def __post_init__(self) -> None:
        for path in self.search_paths:
            if path.origin in ("--data_dir", "BIML_DATA") and not path.folder.is_dir():
                raise UsageError(f"{path.origin}: {path.folder} is not a folder")

    @property
    def search_paths(self) -> tuple[SearchPath, ...]:
        """All folders that are searched, in order."""
        first = () if self.data_dir is None else (SearchPath(Path(self.data_dir), "--data_dir"),)
        return (*first, *self.defaults)

    def get(self, name: str) -> Path | None:
        """Return the first folder called `name`, or None."""
        candidates = (path.find(name) for path in self.search_paths)
        return next((folder for folder in candidates if folder is not None), None)

    def fallback_note(self, name: str) -> str:
        """Return a note that `data_dir` lacks `name`; empty if it does not."""
        if self.data_dir is None or self.search_paths[0].find(name) is not None:
            return ""
        return f"there is no {name} in {self.data_dir}"

    def require(self, name: str) -> Path:
        """Return the first folder called `name`; a BimlError names the command that makes one."""
        if folder := self.get(name):
            return folder
        searched = ", ".join(f"{path.folder} ({path.origin})" for path in self.search_paths)
        hint = FETCH_HINTS.get(name, "put it in one of these")
        raise BimlError(f"no folder {name} in {searched}; {hint}, or pass its parent by --data_dir")


PRETRAINED_FOLDER = Path(__file__).parent / "models"
DEFAULT_MODEL_FOLDER = Path("out_models")
MODEL_SUFFIXES = (".pt", ".safetensors")

PRETRAINED = {
    "net-BIML-top": "algebraic+slips+strings",
    "net-BIML-biases-top": "algebraic+biases",
    "net-BIML-algebraic-top": "algebraic_noise",
    "net-BIML-copy-top": "retrieve",
    "net-BIML-joint-top": "joint",
    "net-BIML-open-ended-top": "open_end_human_all",
    "net-basic-seq2seq-top": "few_shot_vanilla",
    "net-SCAN-simple": "simple_actions",
    **{f"net-SCAN-jump-{seed}": "addprim_jump_actions" for seed in range(3)},
    **{f"net-SCAN-around-right-{seed}": "around_right_actions" for seed in range(3)},
    **{f"net-SCAN-opposite-right-{seed}": "opposite_right_actions" for seed in range(3)},
    "net-SCAN-length": "length_actions+parts",
    "net-COGS": "cogs_train+phrases",
}
"""Pretrained models and the episode type each is trained on.

Those of people are named as the released ones, those of SCAN numbered by their seeds.
"""


def pretrained_path(name: str) -> Path | None:
    """Return the file of a pretrained model, by its name with or without a suffix, or None."""
    if Path(name).name != name:
        return None
    path = PRETRAINED_FOLDER / f"{strip_suffix(name)}.safetensors"
    return path if path.is_file() else None


def list_pretrained() -> list[Path]:
    """Return the files of the installed pretrained models, in the order of `PRETRAINED`."""
    order = list(PRETRAINED)
    files = sorted(PRETRAINED_FOLDER.glob("*.safetensors"))
    return sorted(files, key=lambda p: order.index(p.stem) if p.stem in order else len(order))


def is_pretrained(path: Path) -> bool:
    """Whether a model file belongs to the package."""
    return path.resolve().parent == PRETRAINED_FOLDER.resolve()


def strip_suffix(name: str) -> str:
    """Return a model's name without the suffix of model files.

    >>> strip_suffix("net-BIML-top.pt"), strip_suffix("net-1.5")
    ('net-BIML-top', 'net-1.5')
    """
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix in MODEL_SUFFIXES else name


HUB_WEIGHTS, HUB_CONFIG = "model.safetensors", "config.json"
"""A model's files in a folder of the Hugging Face Hub (`biml export --to hf`)."""


def card_path(path: str | Path) -> Path:
    """Return the file of an exported model's card; in a folder of the Hub, its `config.json`.

    >>> card_path("models/net.safetensors").as_posix()
    'models/net.json'
    """
    card, config = Path(path).with_suffix(".json"), Path(path).with_name(HUB_CONFIG)
    in_hub_folder = Path(path).name == HUB_WEIGHTS and config.is_file() and not card.is_file()
    return config if in_hub_folder else card


def model_file(path: Path) -> str:
    """The name of a model's file; in a folder of the Hub, that of the folder."""
    return path.parent.name if card_path(path).name == HUB_CONFIG else path.name


def read_card(path: str | Path) -> dict[str, Any]:
    """Return the card of the model in the file `path`."""
    card = card_path(path)
    if not card.is_file():
        raise BimlError(f"{path}: its card {card.name} is missing; it belongs beside this file")
    contents = read_json(card)
    check_facts(contents, CHECKPOINT, str(card))
    return contents


_NEW_CARD_KEYS = {"started_from": "parents", "skipped": "not_measured", "figures": "metrics"}
_NEW_METRIC_KEYS = {"copied": "study", "copied_sd": "study_sd", "passes": "repeats"}


def upgrade_card(card: Any) -> dict[str, Any]:
    """Return the entry `card` of a checkpoint or card file under today's keys, or {}."""
    card = _rename_keys(card, _NEW_CARD_KEYS)
    if "metrics" in card:
        metrics = _rename_keys(card["metrics"], {})
        card["metrics"] = {k: _rename_keys(v, _NEW_METRIC_KEYS) for k, v in metrics.items()}
    return card


def _rename_keys(entries: Any, names: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(entries, Mapping):
        return {}
    return {names.get(key, str(key)): value for key, value in entries.items()}


def verify_checksum(weights: bytes, card: Mapping[str, Any], path: str | Path) -> None:
    """Check weights against the checksum of their card, which pretrained models must have."""
    if "sha256" not in card and not is_pretrained(Path(path)):
        return
    if card.get("sha256") != sha256(weights).hexdigest():
        raise FormatError(
            f"is damaged: its checksum is not that of its card {card_path(path).name}; "
            "copy both files again, or install biml again if they came with it",
            source=str(path),
        )


def resolve_model(
    name: str,
    folder: str | Path = DEFAULT_MODEL_FOLDER,
    data: DataFolders | None = None,
    without_file: Iterable[str] = (),
) -> Path:
    """Return the file of a model, given its name or path, with or without a suffix.

    A file in `folder` (or a folder as on the Hugging Face Hub) comes first, then one in a data
    folder of released models, then a path as it is, then a pretrained model. `without_file` are
    other models, for the message of an error.
    """
    data = data or DataFolders()
    released = [data.get(folder) for folder in ("out_models", "out_models_benchmarks")]
    folders = [Path(folder), *filter(None, released)]
    for parent in (*folders, Path()):
        for suffix in ("", *MODEL_SUFFIXES):
            path = parent / f"{name}{suffix}"
            if path.is_file():
                return path
        if (parent / name / HUB_WEIGHTS).is_file():
            return parent / name / HUB_WEIGHTS
    if pretrained := pretrained_path(name):
        return pretrained
    searched = dict.fromkeys(str(parent.resolve()) for parent in (*folders, Path()))
    different = {parent.resolve(): parent for parent in reversed(folders)}
    available = ". ".join(_describe_models_in(parent) for parent in reversed(different.values()))
    installed = [path.stem for path in list_pretrained()]
    files = [file.stem for parent in different.values() for file in _models_in(parent)]
    known = dict.fromkeys([*files, *installed, *without_file])
    hint = did_you_mean(strip_suffix(name), known, 2)
    problem = f"no model {name!r} in {' or '.join(searched)}" + (f"; {hint}" if hint else ".")
    others = f" Symbolic models are {', '.join(without_file)}." if without_file else ""
    raise UsageError(
        f"{problem} {available}. With biml comes "
        f"{', '.join(installed) or 'no model'}.{others} "
        "Train one with `biml train`, fetch the released ones with `biml data download models` "
        "(SCAN, COGS: benchmark-models), "
        "or name a folder with --dir_model."
    )


def _describe_models_in(folder: Path) -> str:
    if not folder.is_dir():
        return f"There is no folder {folder}"
    models = [path.name for path in _models_in(folder)]
    return f"In {folder} there is {', '.join(models) if models else 'no model'}"


def _models_in(folder: Path) -> list[Path]:
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in files if path.suffix in MODEL_SUFFIXES)
