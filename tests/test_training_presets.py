"""Presets, contradicting options, and runs with a time budget."""

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from biml.cli.main import main
from biml.errors import UsageError
from biml.training.config import PRESETS, RuntimeConfig, TrainingConfig
from biml.training.console import TrainingConsole
from biml.training.logger import RunInfo, StepInfo, TrainingCallback
from biml.training.schedule import learning_rate
from biml.training.setup import resolve_options
from biml.training.trainer import train
from fakes.training import OPTIONS, open_data


def test_the_paper_preset_is_the_default_and_changes_nothing() -> None:
    assert TrainingConfig(**resolve_options({})) == TrainingConfig(
        **resolve_options({"preset": "paper"})
    )
    assert TrainingConfig(**resolve_options({})) == TrainingConfig()


def test_given_options_override_those_of_the_preset() -> None:
    config = TrainingConfig(**resolve_options({"preset": "fast", "batch_size": 7}))
    assert config.batch_size == 7
    assert config.arch == PRESETS["fast"]["arch"]
    assert config.optimizer == "muon"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--preset", "slow"), "--preset"),
        (("--time_budget", "0"), "--time_budget must be above 0"),
        (("--time_budget", "nan"), "--time_budget is nan, but should be a finite number\n"),
        (("--time_budget", "3", "--nsteps", "5"), "--time_budget and --nsteps"),
        (("--time_budget", "3", "--nepochs", "5"), "--time_budget and --nepochs"),
        (("--arch", "slow"), "'slow'"),
        (("--preset", "fast", "--emb_size", "30"), "multiple of nheads"),
        (
            ("--preset", "fast", "--arch", "paper"),
            "--preset fast",
        ),
        (("--preset", "paper", "--arch", "staged"), "--preset paper"),
        (("--arch", "fast"), "no longer has the network 'fast'; train a staged one instead"),
        (("--preset", "fast", "--arch", "fast"), "train a staged one instead, with --preset fast"),
        (("--nlayers_query", "2"), "--nlayers_query"),
        (("--preset", "fast", "--nlayers_query", "0"), "--nlayers_query must be at least 1"),
        (("--preset", "fast", "--mimetic_init"), "--mimetic_init"),
        (("--mimetic_init", "--init_from", "net-BIML-top.pt"), "--mimetic_init"),
        (("--clean_fraction", "0.5"), "--clean_fraction has no effect without --curriculum"),
        (
            ("--preset", "fast", "--episode_type", "joint", "--clean_fraction", "2"),
            "--clean_fraction must be at least 0 and at most 1",
        ),
        (("--save_best_skip", "0.5"), "--save_best_skip has no effect without --save_best"),
        (
            ("--arch", "staged", "--aux_loss_weight", "0.3"),
            "--aux_loss_weight has no effect with --episode_type retr",
        ),
        (
            ("--curriculum", "--episode_type", "few_shot_vanilla"),
            "--curriculum has no effect with --episode_type few_shot_vanilla",
        ),
        (
            ("--preset", "fast", "--episode_type", "open_end_human_all", "--clean_fraction", "0"),
            "--clean_fraction has no effect with --episode_type open_end_human_all",
        ),
        (("--preset", "fast", "--no_lr_warmup"), "--no_lr_warmup has no effect with --lr_schedule"),
        (("--lr_schedule", "quadratic", "--lr_end_factor", "0.1"), "--lr_end_factor has no effect"),
        (("--preset", "fast", "--episode_type", "few_shot_gold"), "is for evaluation only"),
    ],
)
def test_usage_errors_name_the_option(
    tmp_path: Path, capsys, options: tuple[str, ...], message: str
) -> None:
    where = ["--fn_out_model", "net.pt", "--dir_model", str(tmp_path)]
    assert main(["train", *where, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "net.pt").exists()


@pytest.mark.parametrize("kind", ["retrieve", "few_shot_vanilla", "open_end_human_all"])
def test_preset_options_without_effect_are_accepted(kind: str) -> None:
    assert resolve_options({"preset": "fast", "episode_type": kind})["aux_loss_weight"] == 0.3
    assert (
        resolve_options({"preset": "fast", "episode_type": kind, "aux_loss_weight": 0.0})[
            "aux_loss_weight"
        ]
        == 0
    )


@pytest.mark.parametrize(
    ("seconds", "options", "suggested"),
    [
        (2 * 24 * 3600, {}, True),
        (23 * 3600, {}, False),
        (2 * 24 * 3600, {"preset": "fast"}, False),
        (2 * 24 * 3600, {"init_from": "net.pt"}, False),
        (None, {}, False),
    ],
)
def test_the_fast_preset_is_suggested_if_the_published_one_takes_over_a_day(
    capsys, seconds: float | None, options: dict[str, str], suggested: bool
) -> None:
    config = TrainingConfig(**resolve_options(options))
    console = TrainingConsole(Console())
    console.on_start(RunInfo(config, "cpu", 2, 1000, 0, 200_000, "a stream", seconds))
    output = capsys.readouterr().out
    assert ("--preset fast" in output) == suggested
    assert ("Measured: about" in output) == (seconds is not None)


@pytest.mark.parametrize(
    ("arch", "steps", "said"),
    [("staged", 100, "58% after 10,000"), ("staged", 5000, ""), ("paper", 1000, "5,000,000")],
)
def test_a_run_that_is_too_short_to_generalise_is_announced(
    capsys, arch: str, steps: int, said: str
) -> None:
    config = TrainingConfig(arch=arch, episode_type="algebraic")
    TrainingConsole(Console()).on_start(RunInfo(config, "cpu", 1, 9, 0, steps, "a stream", 1.0))
    output = capsys.readouterr().out
    assert said in output
    assert ("too few" in output) == bool(said)


def test_a_time_budget_becomes_a_fixed_number_of_steps(tmp_path: Path) -> None:
    options = {name: value for name, value in OPTIONS.items() if name not in ("nsteps", "nepochs")}
    model = tmp_path / "net.pt"
    alone = RuntimeConfig(workers=1)
    result = train(
        model, options | {"time_budget": 0.01}, runtime=alone, open_training_data=open_data
    )
    steps = result.config.nsteps
    assert steps is not None
    assert result.step == result.total_steps == steps
    again = tmp_path / "again.pt"
    train(again, options | {"nsteps": steps}, runtime=alone, open_training_data=open_data)
    weights = [torch.load(path, weights_only=True)["weights"] for path in (model, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_time_budget_counts_from_the_start_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biml.training.trainer.measure_step_time", lambda *_: 10.0)
    options = {name: value for name, value in OPTIONS.items() if name not in ("nsteps", "nepochs")}
    result = train(
        tmp_path / "net.pt",
        options | {"time_budget": 60},
        runtime=RuntimeConfig(workers=1),
        open_training_data=open_data,
        started=time.perf_counter() - 3000,
    )
    assert 1 <= result.total_steps < 60


def test_a_signal_while_the_step_time_is_measured_does_not_change_the_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(_learner: object, asked_to_stop: Callable[[], bool], _turn: float) -> float:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.1)  # until the listener has heard it
        assert not asked_to_stop()
        return 0.5

    monkeypatch.setattr("biml.training.trainer.measure_step_time", measured)
    options = {name: value for name, value in OPTIONS.items() if name not in ("nsteps", "nepochs")}
    result = train(
        tmp_path / "net.pt",
        options | {"time_budget": 1},
        runtime=RuntimeConfig(workers=1),
        open_training_data=open_data,
    )
    assert result.stopped_by == signal.SIGTERM
    assert result.step == 1
    assert 60 < result.total_steps <= 120  # a minute of half seconds, less the time until then


def test_a_muon_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    options = OPTIONS | {"optimizer": "muon", "lr_schedule": "quadratic", "nsteps": 8}
    whole, parted = tmp_path / "whole.pt", tmp_path / "parted.pt"
    alone = RuntimeConfig(workers=1, save_every=0)
    train(whole, options, runtime=alone, open_training_data=open_data)

    class EnoughError(Exception):
        pass

    class StopHalfway(TrainingCallback):
        def on_step(self, info: StepInfo) -> None:
            if info.step == 5:
                raise EnoughError

    with pytest.raises(EnoughError):
        train(
            parted,
            options,
            runtime=alone,
            callback=StopHalfway(),
            open_training_data=open_data,
        )
    train(parted, {}, runtime=alone, resume=True, open_training_data=open_data)
    weights = [torch.load(path, weights_only=True)["weights"] for path in (whole, parted)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_quadratic_schedule_warms_up_and_decays() -> None:
    config = TrainingConfig(lr=1.0, lr_schedule="quadratic")
    rates = [learning_rate(progress / 1000, config) for progress in range(1000)]
    assert rates[0] < 0.1
    assert 0.97 < max(rates) < 1
    assert rates[500] == pytest.approx(0.25)
    assert rates[-1] < 1e-5


def test_the_quadratic_schedule_has_a_second_cycle_with_biases_and_noise() -> None:
    config = TrainingConfig(
        lr=1.0, lr_schedule="quadratic", episode_type="joint", curriculum=True, clean_fraction=0.6
    )
    rates = [learning_rate(progress / 1000, config) for progress in range(1000)]
    assert rates[300] == pytest.approx(0.25)
    assert rates[599] < 1e-4
    assert 0.38 < max(rates[600:]) < 0.4
    assert rates[800] == pytest.approx(0.1)
    assert rates[-1] < 1e-5
    for without in ({"clean_fraction": 0.0}, {"episode_type": "algebraic"}, {"curriculum": False}):
        assert learning_rate(0.5, replace(config, **without)) == pytest.approx(0.25)


def test_the_clean_fraction_is_at_most_one() -> None:
    with pytest.raises(UsageError, match="clean_fraction"):
        TrainingConfig(clean_fraction=1.5)
