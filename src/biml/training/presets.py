"""Recipes by name: the published one, and one for a laptop."""

from collections.abc import Mapping
from typing import Any

from biml.errors import UsageError

PRESETS: dict[str, dict[str, Any]] = {
    # The defaults of `TrainingConfig` are the published recipe to the letter.
    "paper": {},
    "fast": {
        "arch": "fast",
        "nlayers_encoder": 2,
        "nlayers_decoder": 5,
        "dropout": 0.0,
        "batch_size": 16,
        "nepochs": 3,
        "optimizer": "muon",
        "lr_shape": "plateau",
        "curriculum": True,
    },
}
"""What differs from the defaults of `TrainingConfig`, by the name that `--preset` takes."""


def settle(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run: those that were given, and those of its preset for the others.

    Raises:
        UsageError: the preset is unknown, or two options each say how long the run is.
    """
    name = given.get("preset", "paper")
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}; choose {' or '.join(PRESETS)}")
    lengths = [f"--{option}" for option in ("nsteps", "nepochs") if option in given]
    if "minutes" in given and lengths:
        raise UsageError(f"--minutes and {lengths[0]} both say how long the run is; give only one")
    return {**PRESETS[name], **given}
