"""Which file a model's name means."""

from pathlib import Path

from biml.checkpoints.shipped import MODEL_SUFFIXES, list_pretrained, pretrained_path
from biml.episodes.locate import DataFolders
from biml.errors import UsageError

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
