"""Make a model that comes with biml: float16 weights and a card with measured figures.

    python benchmarks/make_model.py CHECKPOINT NAME [--data_dir FOLDER] [--note TEXT]

The files NAME.safetensors and NAME.json go to src/biml/models, or to another --folder, which is how
to measure a model of one's own: NAME is then the shipped one of the same episode type. The figures
are those of the rounded weights: exact answers to 100 gold episodes, 200 validation episodes and
130 episodes of rules never met in training, and the log-likelihood of people's answers over 10
passes at the lapse rate that fits best. What cannot be asked of a model is left out, and the card
says why. It takes two minutes.
"""

import argparse
import sys
from pathlib import Path

from biml.cli.main import main as biml
from biml.errors import BimlError, UsageError
from biml.evaluation.accuracy import DEFAULT_REPEATS
from biml.evaluation.cards import build_release
from biml.networks.checkpoint import load_checkpoint
from biml.networks.pretrained import DTYPES, write_safetensors
from biml.paths import PRETRAINED, PRETRAINED_FOLDER, DataFolders, card_path

FACTS = ("command", "minutes", "hardware", "note")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("name", help=f"one of {', '.join(PRETRAINED)}")
    parser.add_argument(
        "--folder", type=Path, default=PRETRAINED_FOLDER, help="where to write (%(default)s)"
    )
    parser.add_argument("--data_dir", type=Path, help="where data_human lies")
    parser.add_argument("--passes", type=int, default=DEFAULT_REPEATS, help="(%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace the model")
    for fact in FACTS:
        kind = float if fact == "minutes" else str
        parser.add_argument(f"--{fact}", type=kind, help="for the card, instead of what it knows")
    args = parser.parse_args()
    try:
        path = make(args)
    except BimlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"wrote {path} and {card_path(path).name}")
    return biml(["models", args.name]) if path.parent == PRETRAINED_FOLDER else 0


def make(args: argparse.Namespace) -> Path:
    """Write the two files; the name of the first."""
    if args.name not in PRETRAINED:
        raise UsageError(f"no model {args.name!r} comes with biml, but {', '.join(PRETRAINED)}")
    path = args.folder / f"{args.name}.safetensors"
    if path.exists() and not args.overwrite:
        raise UsageError(f"{path} exists; add --overwrite to replace it")
    trained_on = load_checkpoint(args.checkpoint)["episode_type"]
    if trained_on != PRETRAINED[args.name]:
        raise UsageError(
            f"{args.name} is trained on {PRETRAINED[args.name]}, but {args.checkpoint} on {trained_on}"
        )
    contents = build_release(
        args.checkpoint,
        args.name,
        DataFolders(args.data_dir),
        facts={fact: getattr(args, fact) for fact in FACTS if getattr(args, fact) is not None},
        repeats=args.passes,
        progress=lambda text: print(f"measuring: {text}", flush=True),
    )
    write_safetensors(path, contents, DTYPES["float16"])
    return path


if __name__ == "__main__":
    sys.exit(main())
