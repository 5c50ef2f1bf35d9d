"""The trained models that come with biml: weights and a card each in the folder `models`."""

from pathlib import Path

PRETRAINED_FOLDER = Path(__file__).parents[1] / "models"
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
