"""Recipes by name: the published one, and one for a laptop."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from biml.episodes.types import episode_type
from biml.errors import UsageError
from biml.networks.table import architecture
from biml.training.config import TrainingConfig, cli_name

PRESETS: dict[str, dict[str, Any]] = {
    # The defaults of `TrainingConfig` are the published recipe to the letter.
    "paper": {},
    "fast": {
        "arch": "staged",
        "nlayers_encoder": 5,
        "nlayers_decoder": 4,
        "ff_mult": 2,
        "dropout": 0.0,
        "batch_size": 32,
        "batch_growth": 2.0,
        "nepochs": 3,
        "optimizer": "muon",
        "lr_shape": "square",
        "curriculum": True,
        "guide": 0.3,
    },
}
"""What differs from the defaults of `TrainingConfig`, by the name that `--preset` takes."""


def preset_architecture(preset: str) -> str:
    """The architecture that a preset is a recipe for.

    >>> preset_architecture("paper"), preset_architecture("fast")
    ('paper', 'staged')
    """
    return str(PRESETS[preset].get("arch", TrainingConfig.arch))


def preset_supports(preset: str, arch: str) -> bool:
    """Whether a preset can train an architecture.

    Depth and rates of a recipe are for networks of one kind: those that can be guided, or the
    published one.

    >>> preset_supports("fast", "staged"), preset_supports("paper", "staged")
    (True, False)
    """
    return (
        architecture(arch).supports_aux_loss
        == architecture(preset_architecture(preset)).supports_aux_loss
    )


def resolve_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run: those that were given, and those of its preset for the others.

    Raises:
        UsageError: the preset is unknown, two options contradict each other, or one has no effect
            beside the others.
    """
    name = given.get("preset", "paper")
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}; choose {' or '.join(PRESETS)}")
    lengths = [cli_name(length) for length in ("nsteps", "nepochs") if length in given]
    if "minutes" in given and lengths:
        raise UsageError(f"--minutes and {lengths[0]} both say how long the run is; give only one")
    options = {**PRESETS[name], **given}
    # A recipe's depth and rates are for its network; other options may well be varied in it.
    arch = preset_architecture(name)
    if "preset" in given and not preset_supports(name, options.get("arch", arch)):
        raise UsageError(
            f"--preset {name} is a recipe for the {arch} network, not for --arch {given['arch']}; "
            "leave out one of them"
        )
    sizes = {field.name for field in fields(architecture(str(options.get("arch", arch))).config)}
    if "nlayers_query" in given and "nlayers_query" not in sizes and "init" not in given:
        raise UsageError(f"the {options.get('arch', arch)} network takes no --nlayers_query")
    if "equal_projections" in given and "init" in given:
        raise UsageError("--equal_projections is for new weights, which --init has none of")
    _reject_unused_options(given, options)
    return options


def _reject_unused_options(given: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Refuse what has no effect beside the other options; a preset may well bring such along."""
    kind = episode_type(options.get("episode_type", TrainingConfig.episode_type))
    if "save_best_skip" in given and not options.get("save_best"):
        raise UsageError("--save_best_skip says when --save_best begins; add --save_best")
    if "clean_share" in given and not options.get("curriculum"):
        raise UsageError("--clean_share is a share of a curriculum's run; add --curriculum")
    for idle, why in (
        (
            "guide",
            "" if kind.supports_grammar_labels or not given.get("guide") else "teaches no rules",
        ),
        ("curriculum", "" if kind.algebraic_training else "draws no grammars"),
        (
            "clean_share",
            "" if kind.has_late_corruption else "has no biases and noise to bring in late",
        ),
    ):
        if idle in given and why:
            raise UsageError(
                f"{cli_name(idle)} has no effect with --episode_type {kind.name}, which {why}; "
                "leave it out"
            )
    if options.get("lr_shape") == "square":
        for idle in ("lr_end_factor", "lr_warmup"):
            if idle in given:
                of_preset = "" if "lr_shape" in given else f" of --preset {given['preset']}"
                raise UsageError(
                    f"{cli_name(idle)} has no effect with --lr_shape square{of_preset}; leave it out"
                )
