"""Which file a model's name means."""

from pathlib import Path

from biml.errors import UsageError

SUFFIXES = ("", ".pt", ".safetensors")


def find_model(name: str, folder: str | Path = "out_models") -> Path:
    """The file of a model.

    Args:
        name: a file name in `folder`, with or without its ending, or a path.
        folder: where trained models are kept.
    Raises:
        UsageError: there is none; the message says where was looked, and what is there.
    """
    places = (Path(folder), Path())
    for place in places:
        for suffix in SUFFIXES:
            path = place / f"{name}{suffix}"
            if path.is_file():
                return path
    there = sorted(
        path.name for path in Path(folder).glob("*") if path.suffix in SUFFIXES and path.is_file()
    )
    holds = f"{folder} holds {', '.join(there)}" if there else f"{folder} holds no model"
    if not Path(folder).is_dir():
        holds = f"there is no folder {folder}"
    raise UsageError(
        f"no model {name!r} in {' or '.join(str(place.resolve()) for place in places)}; {holds}. "
        "Train one with `biml train`, fetch released ones with `biml data download models`, "
        "or name their folder with --dir_model."
    )
