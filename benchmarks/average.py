"""The mean of the weights of several checkpoints of one network, a model and what it began from.

    python benchmarks/average.py FIRST [OTHER …] LAST --out MEAN.pt

A checkpoint named twice counts twice; exported models (.safetensors) are taken as well.
All else that the file says is of the last one: its options, and the models that it started from.
It is a model to evaluate, export or start from (`--init`), not a run to resume.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from biml.errors import BimlError, UsageError
from biml.networks import checkpoint
from biml.networks.checkpoint import load_checkpoint


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        checkpoint.save_checkpoint(args.out, averaged(args.checkpoints))
    except BimlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def averaged(paths: list[Path]) -> dict[str, Any]:
    """Contents of the checkpoint with the mean weights.

    Raises:
        UsageError: the checkpoints are of different networks.
        BimlError: one cannot be read.
    """
    every = [load_checkpoint(path) for path in paths]
    last = every[-1]
    for path, contents in zip(paths, every, strict=True):
        for kind in ("architecture", "config", "vocabulary"):
            if contents[kind] != last[kind]:
                raise UsageError(f"{path} is of another network than {paths[-1]} ({kind})")
    weights = {
        name: torch.stack([contents["weights"][name].float() for contents in every]).mean(0)
        for name in last["weights"]
    }
    kept = {name: value for name, value in last.items() if name != "training"}
    run = last.get("training", {}).get("record", {})
    history = run.get("history") or last.get("history", [])
    return {**kept, "weights": weights, "history": history}


if __name__ == "__main__":
    raise SystemExit(main())
