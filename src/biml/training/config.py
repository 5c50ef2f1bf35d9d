"""Options of a training run: defaults, allowed values, help texts, and presets.

Each field's metadata gives its help, its allowed values and its spelling on the command line; the
options of `biml train` are made from it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from biml.arguments import check_type
from biml.errors import UsageError, check_extra

PRESETS: dict[str, dict[str, Any]] = {
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
        "lr_schedule": "quadratic",
        "curriculum": True,
        "aux_loss_weight": 0.3,
    },
}
"""What differs from the defaults of `TrainingConfig`, which are the published options."""

_PRESET_HELP = (
    "paper (the published options, which are the defaults below) or "
    "fast (the staged network with a faster training recipe, for a laptop)"
)

OPTIMIZERS = ("adamw", "muon")
LR_SCHEDULES = ("linear", "quadratic")
PRECISIONS = ("fp32", "bf16")
ACTIVATIONS = ("gelu", "relu")

MAX_BATCH_SIZE = 10_000
"""Episodes per step: some minutes on a CPU, during which a signal to stop waits for the step."""

MAX_MINUTES = 5_256_000
"""Ten years."""


@dataclass(frozen=True)
class Interval:
    """Allowed numbers; infinity and NaN never are.

    >>> 0.5 in Interval(0, 1, open_high=True), str(Interval(0, 1, open_high=True))
    (True, 'at least 0 and below 1')
    """

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        text = f"{'above' if self.open_low else 'at least'} {self.low:g}"
        if self.high < math.inf:
            text += f" and {'below' if self.open_high else 'at most'} {self.high:.7g}"
        return text


FRACTION = Interval(0, 1)
POSITIVE = Interval(1)


@dataclass(frozen=True)
class Option:
    """How a field of a config appears on the command line."""

    help: str
    allowed: Interval | tuple[str, ...] = ()
    group: str = "training"
    metavar: str | None = None
    flag: str | None = None  # the spelling, where it is not the field's name
    formerly: str | None = None  # the field's name in earlier versions, still accepted
    old_values: Mapping[str, str] = field(default_factory=dict)  # of choices, still accepted
    network_field: str | None = None  # the field of a network's config that the option sets


def option(
    default: Any, help: str, allowed: Interval | tuple[str, ...] = (), **details: Any
) -> Any:
    """A dataclass field with a default that is also an option."""
    return field(default=default, metadata={"option": Option(help, allowed, **details)})


def options_of(config: Any) -> dict[str, Option]:
    """The options of a config (class or instance) by the names of its fields."""
    return {one.name: one.metadata["option"] for one in fields(config)}


def _size(
    default: Any, help: str, network_field: str, allowed: Interval | tuple[str, ...] = POSITIVE
) -> Any:
    return option(default, help, allowed, group="network", network_field=network_field)


@dataclass(frozen=True)
class TrainingConfig:
    """The options that the result of a run depends on: equal configs give equal models."""

    preset: str = option("paper", f"options to start from: {_PRESET_HELP}", metavar="NAME")
    episode_type: str = option("retrieve", "type of the training episodes", metavar="TYPE")
    corpus: str | None = option(
        None,
        "train on a corpus of your own, which this file describes (see the documentation)",
        metavar="FILE.toml",
    )
    allow_overlap: bool = option(False, "accept test inputs of --corpus that are trained on")
    batch_size: int = option(25, "episodes per step", Interval(1, MAX_BATCH_SIZE))
    batch_growth: float = option(
        1.0, "batch size of the last step relative to the first; it grows linearly", POSITIVE
    )
    batch_hold_update: int = option(
        1, "batches whose gradients make one step", Interval(1, MAX_BATCH_SIZE)
    )
    n_queries: int = option(
        1,
        "novel queries per episode that share its study examples (SCAN, COGS, --corpus)",
        POSITIVE,
    )
    p_permute: float | None = option(
        None,
        "probability that an episode's words and symbols are permuted (SCAN, COGS, --corpus; by "
        "default that of the corpus)",
        FRACTION,
    )
    merge_symbols: int = option(
        0,
        "frequent sequences of output symbols that become one token each (SCAN, COGS, --corpus)",
        Interval(0),
        group="network",
        metavar="N",
    )
    nepochs: int = option(50, "epochs: passes over the training data", POSITIVE)
    nsteps: int | None = option(None, "optimisation steps, instead of epochs", POSITIVE)
    time_budget: float | None = option(
        None,
        "length of the run in minutes, with start-up; the number of steps follows from the time "
        "per step measured at the start",
        Interval(0, MAX_MINUTES, open_low=True),
        metavar="MINUTES",
        formerly="minutes",
    )
    init_from: str | None = option(
        None,
        "initialise the weights from a trained model, by name or path; its architecture and sizes "
        "are used, and a curriculum skips the easier grammars",
        group="network",
        metavar="MODEL",
        formerly="init",
    )
    curriculum: bool = option(
        False, "begin with easier grammars, and add biases and noise to the targets late"
    )
    clean_fraction: float = option(
        0.75,
        "fraction of a curriculum's run before biases and noise are added",
        FRACTION,
        formerly="clean_share",
    )
    aux_loss_weight: float = option(
        0.0,
        "weight of the auxiliary losses on inner layers: the meaning of each word, and the source "
        "of each output symbol; not for --arch paper",
        Interval(0),
        formerly="guide",
    )
    optimizer: str = option(
        "adamw", "adamw, or muon for weight matrices and AdamW for the rest", OPTIMIZERS
    )
    lr_schedule: str = option(
        "linear",
        "learning-rate schedule: linear (published, a step down per epoch) or quadratic decay; "
        "with a curriculum, a second cycle from 0.4 of --lr",
        LR_SCHEDULES,
        formerly="lr_shape",
        old_values={"epochs": "linear", "square": "quadratic"},
    )
    lr: float = option(
        0.001,
        "peak learning rate; muon uses 12 times this for matrices",
        Interval(0, open_low=True),
    )
    lr_end_factor: float = option(
        0.05, "learning rate of the last epoch, relative to --lr", FRACTION
    )
    lr_warmup: bool = option(
        True, "start at --lr instead of a warm-up over the first epoch", flag="no_lr_warmup"
    )
    save_best: bool = option(
        False, "also save the model with the lowest validation loss, as NAME_best.pt"
    )
    save_best_skip: float = option(
        0.2,
        "fraction of the run before --save_best begins (with a curriculum: of the part after "
        "biases and noise are added)",
        FRACTION,
    )
    seed: int = option(0, "seed of weights, episodes and dropout")
    precision: str | None = option(
        None,
        "precision of matrix products: fp32, bf16 or auto (the default: bf16 where that is faster)",
        (*PRECISIONS, "auto"),
        group="run",
    )
    micro_batch_tokens: int | None = option(
        None,
        "tokens per micro-batch; fewer need less memory (default: by processor)",
        POSITIVE,
        group="run",
        formerly="max_tokens",
    )
    arch: str = option(
        "paper",
        "architecture: paper (the published MLC sequence-to-sequence transformer), pairwise (the "
        "published one for SCAN and COGS, which reads each study example beside the query) or "
        "staged (encodes the study examples once per episode, with a lexicon)",
        group="network",
        metavar="NAME",
    )
    mimetic_init: bool = option(
        False,
        "initialise key projections equal to query projections; staged always does",
        group="network",
        formerly="equal_projections",
    )
    nlayers_encoder: int = _size(3, "layers of the encoder", "nlayers_encoder")
    nlayers_query: int = _size(4, "layers that encode a query (--arch staged)", "nlayers_query")
    nlayers_decoder: int = _size(3, "layers of the decoder", "nlayers_decoder")
    emb_size: int = _size(128, "embedding size", "emb_size")
    ff_mult: int = _size(4, "feed-forward size, relative to --emb_size", "ff_mult")
    dropout: float = option(
        0.1, "dropout probability", Interval(0, 1, open_high=True), group="network"
    )
    act: str = _size("gelu", "activation function", "activation", ACTIVATIONS)

    def __post_init__(self) -> None:
        check_values(self)
        most = MAX_BATCH_SIZE / self.batch_size
        if self.batch_growth > most:
            raise UsageError(f"--batch_growth must be at most {most:g}, not {self.batch_growth!r}")

    def total_steps(self, episodes_per_epoch: int) -> int:
        """Steps of the whole run; the last one may go a little beyond the last epoch.

        >>> TrainingConfig().total_steps(100_000)
        200000
        """
        if self.nsteps is not None:
            return self.nsteps
        mean_batch_size = self.batch_size * self.batch_hold_update * (1 + self.batch_growth) / 2
        return max(1, math.ceil(self.nepochs * episodes_per_epoch / mean_batch_size))

    def episodes_seen(self, steps: int, total: int) -> int:
        """Episodes seen after the first `steps` of `total` steps.

        >>> growing = TrainingConfig(batch_size=10, batch_growth=3)
        >>> [growing.episodes_seen(steps, 4) for steps in range(5)]
        [0, 12, 30, 52, 80]
        """
        growth = (self.batch_growth - 1) * steps / (2 * total)
        return round(self.batch_size * self.batch_hold_update * steps * (1 + growth))


@dataclass(frozen=True)
class RuntimeConfig:
    """Options that do not change what is learned, so that they may differ when a run resumes."""

    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", group="run", metavar="NAME")
    workers: int | None = option(
        None,
        "processes on a CPU (default: one per core); the result is equal up to rounding",
        POSITIVE,
        group="run",
    )
    save_every: float = option(
        5.0, "minutes between checkpoints", Interval(0), group="run", metavar="MINUTES"
    )
    dashboard: bool = option(False, "plot learning curves to NAME.png", group="run")
    log_to: str = option(
        "tensorboard",
        "where metrics are logged: TensorBoard files, or also Weights & Biases or trackio",
        ("tensorboard", "wandb", "trackio"),
        group="run",
    )

    def __post_init__(self) -> None:
        check_values(self)
        if self.log_to != "tensorboard":
            check_extra(self.log_to, f"--log_to {self.log_to} needs", self.log_to)


_OPTIONS = options_of(TrainingConfig) | options_of(RuntimeConfig)
_FORMER_NAMES = {one.formerly: name for name, one in _OPTIONS.items() if one.formerly}

SIZE_OPTIONS = {name: one.network_field for name, one in _OPTIONS.items() if one.network_field}
"""Options that a network's weights fix, and their names in the config of its architecture."""


def check_values(config: Any) -> None:
    """Refuse values of a config that are of another type or not allowed."""
    types = {each.name: each.type for each in fields(config)}
    for name, one in options_of(config).items():
        value = getattr(config, name)
        check_type(cli_name(name), value, types[name])
        if one.allowed and value is not None and value not in one.allowed:
            expected = " or ".join(one.allowed) if isinstance(one.allowed, tuple) else one.allowed
            raise UsageError(f"{cli_name(name)} must be {expected}, not {value!r}")


def cli_name(name: str) -> str:
    """The command-line spelling of a field.

    >>> cli_name("lr_warmup"), cli_name("seed")
    ('--no_lr_warmup', '--seed')
    """
    return f"--{_OPTIONS[name].flag or name}"


def current_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Rename options and values that an earlier version of biml wrote.

    >>> current_options({"lr_shape": "square", "max_tokens": 1000, "seed": 1})
    {'lr_schedule': 'quadratic', 'micro_batch_tokens': 1000, 'seed': 1}
    """
    renamed = {_FORMER_NAMES.get(name, name): value for name, value in options.items()}
    if "lr_schedule" in renamed:
        schedule = renamed["lr_schedule"]
        renamed["lr_schedule"] = _OPTIONS["lr_schedule"].old_values.get(schedule, schedule)
    if renamed.get("precision") == "auto":
        del renamed["precision"]
    return renamed
