"""The published command `python eval.py …`; the same parser as `biml eval`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from biml.cli.main import run_single_command

if __name__ == "__main__":
    sys.exit(run_single_command("eval"))
