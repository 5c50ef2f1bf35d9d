"""Train the models for SCAN and COGS that come with biml, one after another, and test them.

    python benchmarks/train_corpora.py                          # as released; hours on a laptop
    python benchmarks/train_corpora.py --only net-COGS --seeds 0 1 2
    python benchmarks/train_corpora.py --recipe published       # wants a CUDA GPU for days
    python benchmarks/train_corpora.py --vanilla                # the basic seq2seq baselines

A CUDA GPU is used where there is one. The same command goes on where it was stopped, and ends with
`biml reproduce benchmarks` of all that it trained.
"""

import argparse
import re
import sys
from pathlib import Path

from biml.cli.main import main as biml
from biml.episodes.registry import EPISODE_TYPES
from biml.paths import PRETRAINED

NAMES = [name for name, kind in PRETRAINED.items() if EPISODE_TYPES[kind].is_corpus]

VANILLA = {
    "vanilla-SCAN-simple": "simple_actions_vanilla",
    "vanilla-SCAN-jump": "addprim_jump_actions_vanilla",
    "vanilla-SCAN-around-right": "around_right_actions_vanilla",
    "vanilla-SCAN-opposite-right": "opposite_right_actions_vanilla",
    "vanilla-SCAN-length": "length_actions_vanilla",
    "vanilla-COGS": "cogs_train_vanilla",
}
"""Basic seq2seq networks: no study examples, nothing permuted."""

PUBLISHED = {"length_actions+parts": "length_actions", "cogs_train+phrases": "cogs_train_targeted"}
"""The published episode types in the place of those that biml adds."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=("fast", "published"), default="fast")
    help = "the baselines without study examples instead"
    parser.add_argument("--vanilla", action="store_true", help=help)
    parser.add_argument("--only", nargs="+", choices=[*NAMES, *VANILLA], metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, help="instead of the released ones")
    parser.add_argument("--folder", default="out_models", help="of the models (%(default)s)")
    parser.add_argument("rest", nargs="*", help="after --: further options of `biml train`")
    args = parser.parse_args()
    trained = []
    for name in args.only or (VANILLA if args.vanilla else NAMES):
        base, _, number = re.fullmatch(r"(.*?)(-(\d))?", name).groups()  # type: ignore[union-attr]
        for seed in args.seeds or [int(number or 0)]:
            kind = VANILLA.get(name) or PRETRAINED[name]
            options = ["--preset", "fast", "--episode_type", kind]
            if args.recipe == "published":
                options = ["--episode_type", PUBLISHED.get(kind, kind)]
            model = f"{base}-{args.recipe}-seed{seed}.pt"
            if model in trained:
                continue
            trained.append(model)
            place = ["--fn_out_model", model, "--dir_model", args.folder]
            exists = (Path(args.folder) / model).is_file()
            run = [*options, "--seed", str(seed), *args.rest]
            if code := biml(["train", *place, *(["--resume"] if exists else run)]):
                return code
    return biml(["reproduce", "benchmarks", "--dir_model", args.folder, "--models", *trained])


if __name__ == "__main__":
    sys.exit(main())
