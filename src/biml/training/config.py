"""Everything that decides what a training run learns, with the published defaults."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from biml.episodes.registry import episode_type
from biml.errors import UsageError
from biml.networks.registry import architecture

ACTIVATIONS = ("gelu", "relu")

OPTIMIZERS = ("adamw", "muon")

LR_SCHEDULES = ("epochs", "square")

PRECISIONS = ("fp32", "bf16")

MAX_BATCH_SIZE = 1_000_000
"""In one step; their words alone take some gigabytes."""

MAX_MINUTES = 5_256_000
"""Ten years."""


@dataclass(frozen=True)
class TrainingConfig:
    """The options of a run that its result depends on; the same config gives the same model.

    How a run is carried out (device, number of processes, how often it saves, what it shows) is in
    `Conduct`: that may differ when a run is resumed, this may not.

    Attributes:
        preset: the recipe that the other options come from where they were not given.
        episode_type: a name of the table of episode types.
        batch_size: episodes a step.
        batch_growth: the last step has this many times as many; each has a few more than the one
            before.
        nepochs: passes over the data of the episode type.
        nsteps: steps in total, where not `nepochs` times the data; the schedule is fitted to it.
        minutes: time budget of the training; `nsteps` is set by a measurement when it begins.
        init: file of a trained model to start the weights from, instead of at random.
        curriculum: begin with easier episodes, and with targets free of biases and noise;
            only the latter with `init`, since a trained model has passed its first lessons.
        clean_share: the share of training before biases and noise come in, with a curriculum.
        guide: weight of the losses that tell inner layers what the grammar knows: which word an
            output symbol stands for, and what each word means; 0 for none.
        optimizer: `adamw`, or `muon` for the matrices of the layers and AdamW for the rest.
        lr_shape: `epochs` (the published schedule) or `square` (see `schedule.learning_rate`).
        lr: the highest learning rate.
        lr_end_factor: the learning rate of the last epoch, as a share of `lr`.
        lr_warmup: whether the rate rises over the first epoch.
        save_best: whether the model with the lowest validation loss is kept too.
        save_best_skip: the share of training after which `save_best` begins; with a curriculum,
            of what follows after biases and noise have come in.
        seed: of initial weights, episodes and dropout.
        precision: `fp32` or `bf16`; None chooses by the machine when the run begins.
        max_tokens: size of the pieces in which a step is computed; None leaves it to the machine.
        arch: a name of the table of architectures.
        equal_projections: start key projections equal to query projections, in an architecture
            where they do not always.
        nlayers_encoder, nlayers_query, nlayers_decoder, emb_size, ff_mult, dropout, act: sizes of
            the network; an architecture takes those that it knows.

    Raises:
        UsageError: a value that cannot work; the message names the option.
    """

    preset: str = "paper"
    episode_type: str = "retrieve"
    batch_size: int = 25
    batch_growth: float = 1.0
    nepochs: int = 50
    nsteps: int | None = None
    minutes: float | None = None
    init: str | None = None
    curriculum: bool = False
    clean_share: float = 0.75
    guide: float = 0.0
    optimizer: str = "adamw"
    lr_shape: str = "epochs"
    lr: float = 0.001
    lr_end_factor: float = 0.05
    lr_warmup: bool = True
    save_best: bool = False
    save_best_skip: float = 0.2
    seed: int = 0
    precision: str | None = None
    max_tokens: int | None = None
    arch: str = "paper"
    equal_projections: bool = False
    nlayers_encoder: int = 3
    nlayers_query: int = 4
    nlayers_decoder: int = 3
    emb_size: int = 128
    ff_mult: int = 4
    dropout: float = 0.1
    act: str = "gelu"

    def __post_init__(self) -> None:
        for name in ("nepochs", "emb_size", "ff_mult"):
            _require(getattr(self, name) >= 1, name, self, "at least 1")
        _require(
            1 <= self.batch_size <= MAX_BATCH_SIZE, "batch_size", self, f"1 to {MAX_BATCH_SIZE}"
        )
        for name in ("nlayers_encoder", "nlayers_query", "nlayers_decoder"):
            _require(getattr(self, name) >= 1, name, self, "at least 1")
        most = MAX_BATCH_SIZE / self.batch_size
        _require(1 <= self.batch_growth <= most, "batch_growth", self, f"1 to {most:g}")
        _require(self.nsteps is None or self.nsteps >= 1, "nsteps", self, "at least 1")
        _require(self.max_tokens is None or self.max_tokens >= 1, "max_tokens", self, "at least 1")
        fine = self.minutes is None or 0 < self.minutes <= MAX_MINUTES
        _require(fine, "minutes", self, f"a number above 0, {MAX_MINUTES} at most")
        _require(0 <= self.clean_share <= 1, "clean_share", self, "between 0 and 1")
        _require(math.isfinite(self.guide) and self.guide >= 0, "guide", self, "at least 0")
        _require(self.optimizer in OPTIMIZERS, "optimizer", self, " or ".join(OPTIMIZERS))
        _require(self.lr_shape in LR_SCHEDULES, "lr_shape", self, " or ".join(LR_SCHEDULES))
        _require(math.isfinite(self.lr) and self.lr > 0, "lr", self, "a number above 0")
        _require(0 <= self.lr_end_factor <= 1, "lr_end_factor", self, "between 0 and 1")
        _require(0 <= self.save_best_skip <= 1, "save_best_skip", self, "between 0 and 1")
        _require(0 <= self.dropout < 1, "dropout", self, "at least 0 and below 1")
        _require(self.act in ACTIVATIONS, "act", self, " or ".join(ACTIVATIONS))
        known = self.precision is None or self.precision in PRECISIONS
        _require(known, "precision", self, "auto, " + " or ".join(PRECISIONS))

    def total_steps(self, episodes_per_epoch: int) -> int:
        """Steps of the whole run; the last one may go a little beyond the last epoch.

        >>> TrainingConfig().total_steps(100_000)
        200000
        """
        if self.nsteps is not None:
            return self.nsteps
        on_average = self.batch_size * (1 + self.batch_growth) / 2
        return max(1, math.ceil(self.nepochs * episodes_per_epoch / on_average))

    def episodes_seen(self, steps: int, total: int) -> int:
        """Episodes that are shown in the first steps of a run of `total` steps.

        >>> TrainingConfig(batch_size=10).episodes_seen(3, 8)
        30
        >>> growing = TrainingConfig(batch_size=10, batch_growth=3)
        >>> [growing.episodes_seen(steps, 4) for steps in range(5)]
        [0, 12, 30, 52, 80]
        """
        growth = (self.batch_growth - 1) * steps / (2 * total)
        return round(self.batch_size * steps * (1 + growth))


@dataclass(frozen=True)
class RuntimeConfig:
    """How a run is carried out; none of it changes what is learned, so a resumed run may differ.

    Attributes:
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        workers: processes on the CPU; None takes one for each core.
        save_every: minutes between checkpoints.
        dashboard: draw the learning curves while training.
    """

    device: str = "auto"
    workers: int | None = None
    save_every: float = 5.0
    dashboard: bool = False

    def __post_init__(self) -> None:
        fine = self.workers is None or self.workers >= 1
        _require(fine, "workers", self, "at least 1")
        _require(self.save_every >= 0, "save_every", self, "at least 0 (minutes)")


def cli_name(name: str) -> str:
    """The command-line spelling of a field."""
    return "--no_lr_warmup" if name == "lr_warmup" else f"--{name}"


def check_resume_options(previous: TrainingConfig, given: Mapping[str, Any]) -> None:
    """Compare the options that were asked for with those of the run that is to be resumed.

    Raises:
        UsageError: some differ; the message names each with both values.
    """
    differing = [
        f"{cli_name(name)}: the run had {_format_value(name, getattr(previous, name))}, "
        f"now {_format_value(name, value)} was asked for"
        for name, value in given.items()
        if getattr(previous, name) != value
    ]
    if differing:
        raise UsageError(
            "cannot resume with other options than the run had:\n  "
            + "\n  ".join(differing)
            + "\nLeave them out to continue as the run was, or train a new model."
        )


def _format_value(name: str, value: object) -> str:
    if name == "lr_warmup":
        return "no" if value else "yes"  # shown as the option --no_lr_warmup
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "its default" if value is None else str(value)


def _require(condition: bool, name: str, config: object, expected: str) -> None:
    if not condition:
        value = getattr(config, name)
        raise UsageError(f"{cli_name(name)} must be {expected}, not {value!r}")


# === Recipes by name: the published one, and one for a laptop.


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
