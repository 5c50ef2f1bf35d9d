"""A training run from its options to its model."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from biml.errors import UsageError
from biml.networks.base import EpisodeNetwork
from biml.networks.table import architecture
from biml.training.beginning import ancestry, network_from, sizes_of
from biml.training.config import Conduct, TrainingConfig
from biml.training.course import check_course, course_of
from biml.training.hardware import (
    MOST_WORKERS,
    cores,
    has_amx,
    pick_device,
    pick_precision,
    prepare_cpu,
)
from biml.training.history import Line
from biml.training.keeper import Keeper
from biml.training.learner import Learner
from biml.training.material import Material, open_material
from biml.training.outputs import Outputs
from biml.training.pace import seconds_a_step
from biml.training.presets import settle
from biml.training.schedule import VALIDATE_EVERY, turn, validates
from biml.training.state import Record, Resumed, load_run
from biml.training.stopping import StopRequest, stop_on_signals
from biml.training.validation import Validation
from biml.training.watch import Start, Watch
from biml.training.workers import Team, assemble_team, rank_of_this_process, under_torchrun

CUDA_TOKENS = 131_072
"""Tokens computed together on a GPU: a whole batch of 25 episodes."""

OpenMaterial = Callable[[TrainingConfig, Path | None], Material]


def max_tokens(arch: str, device: torch.device, precision: str) -> int:
    """Tokens that a network computes together, where nobody says."""
    if device.type != "cpu":
        return CUDA_TOKENS
    row = architecture(arch)
    return row.amx_tokens if precision == "bf16" and has_amx() else row.cpu_tokens


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        outputs: its files.
        config: its options.
        step: steps done, of `total`.
        line: the latest validated line of its history, or None.
        seconds: of training, in all sessions.
        stopped_by: number of the signal that stopped it early, or None.
    """

    outputs: Outputs
    config: TrainingConfig
    step: int
    total: int
    line: Line | None
    seconds: float
    stopped_by: int | None = None


def train(
    model: Path,
    given: Mapping[str, Any],
    *,
    conduct: Conduct | None = None,
    data_dir: Path | None = None,
    resume: bool = False,
    watch: Watch | None = None,
    open_material: OpenMaterial = open_material,
) -> Outcome:
    """Train a model, or go on with one.

    Args:
        model: the checkpoint file; history and other outputs go beside it.
        given: fields of `TrainingConfig` that are chosen; the others have their defaults or, in a
            resumed run, the values that it had.
        conduct: how to carry it out.
        data_dir: where data folders are looked for first.
        resume: go on from `model` instead of beginning; else what stood there is replaced.
        watch: is told how it goes (in the first process only).
        open_material: makes network and data from the options.

    Raises:
        UsageError: an option cannot work, or `resume` does not fit.
        BimlError: data are missing, a file cannot be written, a process was lost, or the loss is no
            longer finite.
    """
    conduct, watch = conduct or Conduct(), watch or Watch()
    outputs = Outputs(model)
    before = load_run(model, given) if resume else None
    device = pick_device(conduct.device)
    if device.type == "cpu":
        prepare_cpu()
    config = before.config if before else _begin(given, model, watch)
    precision = config.precision or pick_precision(device)
    config = replace(
        config,
        precision=precision,
        max_tokens=config.max_tokens or max_tokens(config.arch, device, precision),
    )
    job = _Job(config, data_dir, model if resume else None, open_material)
    material = job.material(config)
    if before is not None:
        check_course(before.course, course_of(config, material.source), model, material.origin)
    if rank_of_this_process() == 0:
        outputs.prepare()
    with (
        stop_on_signals(watch.said) as request,
        assemble_team(job, device, _workers(conduct, device)) as team,
    ):
        # Processes of torchrun have each chosen by their own machine; the first one's choice holds.
        config = team.share(config)
        seconds = None
        if before is None:
            config, material, seconds = _paced(config, material, team, job, request)
        learner = _learner(config, material, team, before)
        record = before.record if before else Record(ancestors=_ancestors(config))
        stopped = False
        if team.rank == 0:
            watch.started(_start(config, material, team, learner, seconds))
            course = course_of(config, material.source)
            keeper = Keeper(learner, record, config, conduct, outputs, course, watch)
            with keeper.keeping():
                stopped = _loop(learner, material, config, team, request, keeper)
        else:
            stopped = _loop(learner, material, config, team, request, None)
    return Outcome(
        outputs,
        config,
        learner.done,
        learner.total,
        next((line for line in reversed(record.history) if "val_loss" in line), None),
        record.seconds,
        (request.signal_number or signal.SIGTERM) if stopped else None,
    )


def _begin(given: Mapping[str, Any], model: Path, watch: Watch) -> TrainingConfig:
    """The options of a new run; the sizes are those of the model that it starts from, if any."""
    options = settle(given)
    if given.get("init") is not None:
        path = Path(given["init"])
        if path.resolve() == model.resolve():
            raise UsageError(f"--init: {path} would be replaced; choose another --fn_out_model")
        options |= sizes_of(path, given)
        watch.said(f"Weights start from {path}")
    return TrainingConfig(**options)


def _ancestors(config: TrainingConfig) -> list[dict[str, Any]]:
    return ancestry(Path(config.init)) if config.init is not None else []


def _loop(
    learner: Learner,
    material: Material,
    config: TrainingConfig,
    team: Team,
    request: StopRequest,
    keeper: Keeper | None,
) -> bool:
    """The training loop, the same in every process; whether it was stopped early."""
    validation = _validation(learner.network, material, config, team)
    while learner.done < learner.total:
        figures = learner.step(lambda: bool(request))
        validated = None
        if validates(learner.done, learner.total):
            validated = validation.measure(learner.network)
        if keeper is not None:
            keeper.after_step(figures, validated)
        if figures.stop:
            return learner.done < learner.total
    return False


@dataclass(frozen=True)
class _Job:
    """What the processes that we start do."""

    config: TrainingConfig
    data_dir: Path | None
    resume_from: Path | None
    open_material: OpenMaterial

    def material(self, config: TrainingConfig) -> Material:
        """Fresh material, whose network is that of the model that the run goes on from, if any."""
        material = self.open_material(config, self.data_dir)
        path = self.resume_from or (Path(config.init) if config.init is not None else None)
        if path is None:
            return material
        network = network_from(path, material.network.vocabulary, config.dropout)
        return replace(material, network=network)

    def take_part(self, team: Team) -> None:
        config, material = team.share(self.config), self.material(self.config)
        before = load_run(self.resume_from, {}) if self.resume_from else None
        if before is None:
            config, material, _ = _paced(config, material, team, self, StopRequest())
        learner = _learner(config, material, team, before)
        _loop(learner, material, config, team, StopRequest(), None)


def _paced(
    config: TrainingConfig, material: Material, team: Team, job: _Job, request: StopRequest
) -> tuple[TrainingConfig, Material, float]:
    """The options and fresh material of a run whose pace was measured, and that pace (s/step).

    A time budget becomes a number of steps here. So the run itself does not depend on the clock,
    and another with that number of steps, or one that is resumed, learns the same.
    """
    learner = _learner(config, material, team, None)
    # Half a measurement would give a run of another length than asked for, when it is resumed.
    whole = config.minutes is not None
    measured = seconds_a_step(learner, lambda: not whole and bool(request), turn(config))
    seconds = float(team.share(measured))
    # Validation goes forward only, which is a third of the work of an episode.
    on_average = config.presentations(learner.total, learner.total) / learner.total
    validated = len(material.validation) / (3 * VALIDATE_EVERY * on_average)
    seconds *= 1 + validated
    if config.minutes is not None:
        config = replace(config, nsteps=max(1, round(config.minutes * 60 / seconds)))
    return config, job.material(config), seconds


def _validation(
    network: EpisodeNetwork, material: Material, config: TrainingConfig, team: Team
) -> Validation:
    assert config.precision is not None
    assert config.max_tokens is not None
    return Validation(network, material.validation, config.max_tokens, config.precision, team)


def _learner(
    config: TrainingConfig, material: Material, team: Team, before: Resumed | None
) -> Learner:
    learner = Learner(material.network, material.source, config, team)
    if before is not None:
        before.restore(learner)
    return learner


def _workers(conduct: Conduct, device: torch.device) -> int:
    if device.type != "cpu" or under_torchrun():
        return 1
    return conduct.workers or min(cores(), MOST_WORKERS)


def _start(
    config: TrainingConfig,
    material: Material,
    team: Team,
    learner: Learner,
    seconds: float | None,
) -> Start:
    return Start(
        config=config,
        seconds=None if seconds is None else seconds * learner.total,
        device=str(team.device),
        processes=team.size,
        parameters=sum(weights.numel() for weights in learner.network.parameters()),
        done=learner.done,
        total=learner.total,
        data=material.origin,
    )
