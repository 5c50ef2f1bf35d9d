"""`biml export`: a trained network to and from safetensors."""

import argparse
from pathlib import Path

from biml.errors import UsageError

SUMMARY = "Convert a trained network to or from safetensors."


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="SRC", help="a .pt (ours or released) or .safetensors file"
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


def run(args: argparse.Namespace) -> None:
    from biml.checkpoints import own
    from biml.checkpoints.export import DTYPES, card_path, converted, write_safetensors
    from biml.checkpoints.model import read_contents

    destination = Path(args.destination)
    if destination.suffix not in (".pt", ".safetensors"):
        raise UsageError(f"{destination}: the name must end in .safetensors or .pt")
    written = [destination]
    if destination.suffix == ".safetensors":
        written.append(card_path(destination))
    for path in written:
        if path.exists() and not args.overwrite:
            raise UsageError(f"{path} exists; add --overwrite to replace it")
    contents = read_contents(args.source)
    own.network_from(contents, args.source)  # an export of what cannot be loaded is of no use
    if destination.suffix == ".safetensors":
        write_safetensors(destination, contents, DTYPES[args.dtype])
    else:
        contents.pop("training", None)
        own.save(
            destination,
            contents | {"weights": converted(contents["weights"], DTYPES[args.dtype])},
        )
    print("wrote " + " and ".join(map(str, written)))
