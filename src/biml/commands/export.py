"""`biml export`: a trained network to and from safetensors."""

import argparse
from pathlib import Path

from biml.errors import UsageError

EXPORT_SUMMARY = "Convert a trained network to or from safetensors."


def configure_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SRC",
        help="a trained model, .pt (ours or released) or .safetensors, found as `biml eval` finds "
        "it",
    )
    parser.add_argument(
        "destination",
        metavar="DEST",
        help="NAME.safetensors (the card NAME.json is written beside it) or NAME.pt",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", help="default: %(default)s"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace DEST if it exists")
    parser.add_argument(
        "--dir_model",
        default="out_models",
        metavar="FOLDER",
        help="where SRC is looked for first (%(default)s)",
    )
    parser.add_argument(
        "--data_dir", type=Path, metavar="FOLDER", help="where to look for data folders first"
    )


def run_export(args: argparse.Namespace) -> None:
    from biml.checkpoints import own
    from biml.checkpoints.export import DTYPES, card_path, cast_weights, write_safetensors
    from biml.checkpoints.model import load_checkpoint
    from biml.episodes.locate import DataFolders
    from biml.evaluation.find import resolve_model

    destination = Path(args.destination)
    if destination.suffix not in (".pt", ".safetensors"):
        raise UsageError(f"{destination}: the name must end in .safetensors or .pt")
    written = [destination]
    if destination.suffix == ".safetensors":
        written.append(card_path(destination))
    for path in written:
        if path.exists() and not args.overwrite:
            raise UsageError(f"{path} exists; add --overwrite to replace it")
    source = resolve_model(args.source, args.dir_model, DataFolders(args.data_dir))
    if any(path.exists() and path.samefile(source) for path in written):
        raise UsageError(f"{source} would be replaced by its own export; give another name")
    contents = load_checkpoint(source)
    own.network_from_checkpoint(
        contents, str(source)
    )  # an export of what cannot be loaded is of no use
    if destination.suffix == ".safetensors":
        write_safetensors(destination, contents, DTYPES[args.dtype])
    else:
        contents.pop("training", None)
        own.save_checkpoint(
            destination,
            contents | {"weights": cast_weights(contents["weights"], DTYPES[args.dtype])},
        )
    print(f"wrote {' and '.join(map(str, written))} from {source}")
