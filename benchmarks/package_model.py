"""Package a pretrained model: float16 weights and a model card with its metrics.

    python benchmarks/package_model.py CHECKPOINT NAME [--data_dir FOLDER] [--note TEXT]

Writes NAME.safetensors and NAME.json to src/biml/models or to --folder; use the latter to measure
a model of your own, with NAME the pretrained model of the same episode type. The metrics are those
of the rounded weights: exact-match accuracy on 100 gold episodes, 200 validation episodes and 130
episodes with held-out rules, and the log-likelihood of the human responses, averaged over 10
repeats at the best-fitting lapse rate. The card gives the reason for every metric that does not
apply. Takes two minutes.
"""

import argparse
import sys
from pathlib import Path

from biml.cli.main import main as biml
from biml.errors import BimlError, UsageError
from biml.evaluation.evaluate import DEFAULT_REPEATS
from biml.networks.checkpoint import DTYPES, load_checkpoint, write_safetensors
from biml.paths import PRETRAINED, PRETRAINED_FOLDER, DataFolders, card_path
from biml.progress import stage_lines
from release import build_release

FACTS = ("command", "minutes", "hardware", "note", "chosen_by")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="a trained model")
    parser.add_argument("name", help=f"one of {', '.join(PRETRAINED)}")
    parser.add_argument(
        "--folder", type=Path, default=PRETRAINED_FOLDER, help="output folder (%(default)s)"
    )
    parser.add_argument("--data_dir", type=Path, help="folder that contains data_human")
    parser.add_argument(
        "--repeats",
        "--passes",
        type=int,
        default=DEFAULT_REPEATS,
        help="random orders and remappings (%(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing model")
    for fact in FACTS:
        kind, n = float if fact == "minutes" else str, "+" if fact == "chosen_by" else None
        parser.add_argument(f"--{fact}", type=kind, nargs=n, help="value for the card")
    args = parser.parse_args()
    try:
        path = package(args)
    except BimlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"wrote {path} and {card_path(path).name}")
    return biml(["models", args.name]) if path.parent == PRETRAINED_FOLDER else 0


def package(args: argparse.Namespace) -> Path:
    """Write both files and return the path of the weights."""
    if args.name not in PRETRAINED:
        raise UsageError(
            f"{args.name} is no pretrained model; choose one of {', '.join(PRETRAINED)}"
        )
    path = args.folder / f"{args.name}.safetensors"
    if path.exists() and not args.overwrite:
        raise UsageError(f"{path} exists; add --overwrite to replace it")
    trained_on = load_checkpoint(args.checkpoint)["episode_type"]
    if trained_on != PRETRAINED[args.name]:
        raise UsageError(
            f"{args.name} is trained on {PRETRAINED[args.name]}, "
            f"but {args.checkpoint} on {trained_on}"
        )
    contents = build_release(
        args.checkpoint,
        args.name,
        DataFolders(args.data_dir),
        facts={fact: getattr(args, fact) for fact in FACTS if getattr(args, fact) is not None},
        repeats=args.repeats,
        progress=stage_lines(lambda stage: print(f"measuring: {stage}", flush=True)),
    )
    write_safetensors(path, contents, DTYPES["float16"])
    return path


if __name__ == "__main__":
    sys.exit(main())
