"""Which file a model's name means."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from biml.errors import BimlError, UsageError

FETCH_HINTS = {
    "data_human": "fetch it with `biml data download human`",
    "data_algebraic": "make it with `biml generate` or fetch it with `biml data download episodes`",
    "out_models": "fetch the released ones with `biml data download models`",
}
"""The one command that puts a folder in place, by the folder's name."""

StatusCallback = Callable[[str], None]
"""Told of work that takes a while, in one sentence."""


def ignore_status(line: str) -> None:
    """Report to nobody."""


def user_data_folder() -> Path:
    """Where downloads land unless another folder is named."""
    return Path(platformdirs.user_data_dir("biml", appauthor=False))


def user_cache_folder() -> Path:
    """Where files are kept that can be made again at any time."""
    return Path(platformdirs.user_cache_dir("biml", appauthor=False))


@dataclass(frozen=True)
class SearchPath:
    """One folder that is searched, and why."""

    folder: Path
    origin: str

    def find(self, name: str) -> Path | None:
        """The folder called `name` in this one, or this one where it is called so itself."""
        if (self.folder / name).is_dir():
            return self.folder / name
        return self.folder if self.folder.name == name and self.folder.is_dir() else None


def default_search_paths(environment: Mapping[str, str] | None = None) -> tuple[SearchPath, ...]:
    """`BIML_DATA` where set, the current directory, the user's data folder."""
    named = (os.environ if environment is None else environment).get("BIML_DATA")
    chosen = (SearchPath(Path(named), "BIML_DATA"),) if named else ()
    return (
        *chosen,
        SearchPath(Path.cwd(), "current directory"),
        SearchPath(user_data_folder(), "user's data folder"),
    )


@dataclass(frozen=True)
class DataFolders:
    """Finds `data_human`, `data_algebraic` and `out_models`.

    Attributes:
        data_dir: the folder named by `--data_dir`, searched before all others; it may also be the
            sought folder itself.
        usual: the places searched after it; fixed when this is made, so that a later change of
            directory has no effect.
        report: told when reading what was found is going to take a while.

    Raises:
        UsageError: `data_dir` or `BIML_DATA` names something that is not a folder.
    """

    data_dir: Path | None = None
    defaults: tuple[SearchPath, ...] = field(default_factory=default_search_paths)
    report: StatusCallback = field(default=ignore_status, compare=False, repr=False)

    def __post_init__(self) -> None:
        for place in self.search_paths:
            if place.origin in ("--data_dir", "BIML_DATA") and not place.folder.is_dir():
                raise UsageError(f"{place.origin}: {place.folder} is not a folder")

    @property
    def search_paths(self) -> tuple[SearchPath, ...]:
        """Every folder that is searched, in order."""
        if self.data_dir is None:
            return self.defaults
        return (SearchPath(Path(self.data_dir), "--data_dir"), *self.defaults)

    def get(self, name: str) -> Path | None:
        """The first folder called `name`, or None.

        A place that is itself called `name` counts too, so `--data_dir somewhere/data_human` works.
        """
        found = (place.find(name) for place in self.search_paths)
        return next((folder for folder in found if folder is not None), None)

    def fallback_note(self, name: str) -> str:
        """That `--data_dir` names a folder without `name`, in words; empty unless it does."""
        if self.data_dir is None or self.search_paths[0].find(name) is not None:
            return ""
        return f"there is no {name} in {self.data_dir}"

    def require(self, name: str) -> Path:
        """The first folder called `name`.

        Raises:
            BimlError: there is none; the message names the command that puts it in place.
        """
        found = self.get(name)
        if found is None:
            searched = ", ".join(f"{place.folder} ({place.origin})" for place in self.search_paths)
            raise BimlError(
                f"no folder {name} in {searched}; "
                f"{FETCH_HINTS.get(name, 'put it in one of these')}, or name its parent in --data_dir"
            )
        return found


# === The trained models that come with biml: weights and a card each in the folder `models`.


PRETRAINED_FOLDER = Path(__file__).parent / "models"

MODEL_SUFFIXES = (".pt", ".safetensors")

PRETRAINED = {
    "net-BIML-top": "algebraic+slips",
    "net-BIML-biases-top": "algebraic+biases",
    "net-BIML-algebraic-top": "algebraic_noise",
    "net-BIML-copy-top": "retrieve",
    "net-BIML-joint-top": "joint",
    "net-BIML-open-ended-top": "open_end_human_all",
    "net-basic-seq2seq-top": "few_shot_vanilla",
}
"""Their names, as those of the released models, and what each is trained on."""


def pretrained_path(name: str) -> Path | None:
    """The file of a shipped model, or None where none of that name is installed.

    Args:
        name: with or without its ending, `.pt` too, and without a folder.
    """
    if Path(name).name != name:
        return None
    path = PRETRAINED_FOLDER / f"{strip_suffix(name)}.safetensors"
    return path if path.is_file() else None


def list_pretrained() -> list[Path]:
    """The files of the shipped models that are installed, in the order of `SHIPPED`."""
    order = list(PRETRAINED)
    found = sorted(PRETRAINED_FOLDER.glob("*.safetensors"))
    return sorted(found, key=lambda p: order.index(p.stem) if p.stem in order else len(order))


def is_pretrained(path: Path) -> bool:
    """Whether a model's file is one of the package."""
    return path.resolve().parent == PRETRAINED_FOLDER.resolve()


def strip_suffix(name: str) -> str:
    """A model's name without ending.

    >>> strip_suffix("net-BIML-top.pt"), strip_suffix("net-1.5")
    ('net-BIML-top', 'net-1.5')
    """
    ending = Path(name).suffix
    return name.removesuffix(ending) if ending in MODEL_SUFFIXES else name


# === Which file a model's name means.


DEFAULT_MODEL_FOLDER = Path("out_models")


def resolve_model(
    name: str, folder: str | Path = DEFAULT_MODEL_FOLDER, data: DataFolders | None = None
) -> Path:
    """The file of a model.

    A file in `folder` is found first, then a released model among the data folders, then a path as
    it stands, and at last a model that comes with biml.

    Args:
        name: a file name in `folder`, with or without its ending, or a path.
        folder: where trained models are kept.
        data: also searched for a folder of released models.
    Raises:
        UsageError: there is none; the message says where was looked, and what is there.
    """
    released = (data or DataFolders()).get("out_models")
    folders = [Path(folder), *([released] if released else [])]
    for place in (*folders, Path()):
        for ending in ("", *MODEL_SUFFIXES):
            path = place / f"{name}{ending}"
            if path.is_file():
                return path
    shipped = pretrained_path(name)
    if shipped is not None:
        return shipped
    searched = dict.fromkeys(str(place.resolve()) for place in (*folders, Path()))
    with_biml = ", ".join(path.stem for path in list_pretrained()) or "no model"
    raise UsageError(
        f"no model {name!r} in {' or '.join(searched)}. "
        f"{'. '.join(dict.fromkeys(map(_describe_models_in, folders)))}. With biml comes {with_biml}. "
        "Train one with `biml train`, fetch the released ones with `biml data download models`, "
        "or name a folder with --dir_model."
    )


def _describe_models_in(folder: Path) -> str:
    if not folder.is_dir():
        return f"There is no folder {folder}"
    models = sorted(path.name for path in folder.iterdir() if path.suffix in MODEL_SUFFIXES)
    return f"In {folder} there is {', '.join(models) if models else 'no model'}"


# === biml.networks.pretrained


def card_path(path: str | Path) -> Path:
    """Where the card of an exported network stands.

    >>> card_path("models/net.safetensors").as_posix()
    'models/net.json'
    """
    return Path(path).with_suffix(".json")
