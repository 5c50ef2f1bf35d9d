"""Average the weights of several checkpoints of one network (a "model soup").

    python benchmarks/average_weights.py FIRST [OTHER …] LAST --out MEAN.pt

A checkpoint named twice counts twice; exported models (.safetensors) are accepted. Options and
training provenance are those of the last checkpoint. The result can be evaluated, exported or used
with `--init_from`, but not resumed.
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
        checkpoint.save_checkpoint(args.out, average_weights(args.checkpoints))
    except BimlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def average_weights(paths: list[Path]) -> dict[str, Any]:
    """Return the last checkpoint with the mean of all weights and without training state."""
    checkpoints = [load_checkpoint(path) for path in paths]
    last = checkpoints[-1]
    for path, contents in zip(paths, checkpoints, strict=True):
        for key in ("architecture", "config", "vocabulary"):
            if contents[key] != last[key]:
                raise UsageError(
                    f"{path} and {paths[-1]} differ in {key}; name one kind of network"
                )
    weights = {
        name: torch.stack([contents["weights"][name].float() for contents in checkpoints]).mean(0)
        for name in last["weights"]
    }
    facts = {name: value for name, value in last.items() if name != "training"}
    record = last.get("training", {}).get("record", {})
    history = record.get("history") or last.get("history", [])
    return {**facts, "weights": weights, "history": history}


if __name__ == "__main__":
    raise SystemExit(main())
