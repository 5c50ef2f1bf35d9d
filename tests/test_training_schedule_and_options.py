"""Learning-rate schedules, batch sizes and options of training."""

import subprocess
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest

from biml.cli.main import run_single_command
from biml.errors import UsageError
from biml.networks.registry import ARCHITECTURES
from biml.training.config import LR_SCHEDULES, PRESETS, TrainingConfig
from biml.training.optim import MUON_LR_FACTOR
from biml.training.run_files import check_resume_options
from biml.training.schedule import (
    SECOND_CYCLE_LR_FACTOR,
    is_log_step,
    is_validation_step,
    learning_rate,
)
from fakes.training import OPTIONS


def test_the_published_defaults() -> None:
    config = TrainingConfig()
    assert config.episode_type == "retrieve"
    assert (config.batch_size, config.nepochs, config.lr) == (25, 50, 0.001)
    assert (config.lr_end_factor, config.lr_warmup, config.save_best_skip) == (0.05, True, 0.2)
    assert (config.nlayers_encoder, config.nlayers_decoder, config.emb_size) == (3, 3, 128)
    assert (config.ff_mult, config.dropout, config.act) == (4, 0.1, "gelu")
    assert config.total_steps(100_000) == 200_000


def test_warm_up_over_the_first_epoch_then_a_step_down_each_epoch() -> None:
    config, total = TrainingConfig(), 200_000
    rates = [learning_rate(step / total, config) for step in range(0, total, 100)]
    per_epoch = 40
    assert rates[0] == pytest.approx(1e-7)
    rises = [b - a for a, b in pairwise(rates[: per_epoch + 1])]
    assert rises == pytest.approx([rises[0]] * per_epoch)
    epochs = [rates[i : i + per_epoch] for i in range(per_epoch, len(rates), per_epoch)]
    assert all(len(set(epoch)) == 1 for epoch in epochs)
    assert epochs[0][0] == pytest.approx(0.001)
    assert epochs[-1][0] == pytest.approx(0.05 * 0.001)
    steps_down = [a[0] - b[0] for a, b in pairwise(epochs)]
    assert steps_down == pytest.approx([steps_down[0]] * 48)


def test_without_warm_up_the_rate_declines_from_the_start() -> None:
    config = TrainingConfig(lr_warmup=False, nepochs=3, lr=1.0, lr_end_factor=0.5)
    assert [learning_rate(p, config) for p in (0, 0.2, 0.4, 0.9)] == [1, 1, 0.75, 0.5]


@pytest.mark.parametrize("warmup", [True, False])
@pytest.mark.parametrize("nepochs", [1, 2, 3])
def test_short_runs_have_a_schedule(nepochs: int, warmup: bool) -> None:
    config = TrainingConfig(nepochs=nepochs, lr_warmup=warmup)
    for step in range(7):
        assert 0 < learning_rate(step / 7, config) <= config.lr


@pytest.mark.parametrize("growth", [1.0, 1.5, 4.0])
def test_batches_grow_linearly_and_use_every_episode_once(growth: float) -> None:
    config, total = TrainingConfig(batch_size=20, batch_growth=growth), 101
    ends = [config.episodes_seen(steps, total) for steps in range(total + 1)]
    sizes = [b - a for a, b in pairwise(ends)]
    even = [20 + (growth - 1) * 20 * (step + 0.5) / total for step in range(total)]
    assert ends[0] == 0
    assert all(abs(size - wanted) <= 1 for size, wanted in zip(sizes, even, strict=True))
    assert sum(sizes) == ends[-1] == round(20 * total * (1 + growth) / 2)


def test_growing_batches_take_fewer_steps_per_epoch() -> None:
    config = TrainingConfig(batch_size=10, batch_growth=3, nepochs=2)
    assert config.total_steps(1000) == 100
    assert config.episodes_seen(100, 100) == 2000


def test_validation_at_steps_1_25_every_100_and_the_last() -> None:
    steps = [step for step in range(1, 331) if is_validation_step(step, 330)]
    assert steps == [1, 25, 100, 200, 300, 330]
    assert all(is_log_step(step, 330) for step in steps)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--batch_size", "0"),
        ("--batch_growth", "0.5"),
        ("--batch_growth", "inf"),
        ("--batch_growth", "1e308"),
        ("--batch_size", "1000000"),
        ("--time_budget", "1e307"),
        ("--nepochs", "0"),
        ("--nsteps", "0"),
        ("--lr", "-0.001"),
        ("--lr", "nan"),
        ("--lr_end_factor", "2"),
        ("--save_best_skip", "1.5"),
        ("--dropout", "1"),
        ("--emb_size", "100"),
        ("--nlayers_decoder", "0"),
        ("--ff_mult", "0"),
        ("--micro_batch_tokens", "0"),
        ("--workers", "0"),
        ("--save_every", "-1"),
        ("--device", "toaster"),
        ("--device", "cuda:77"),
        ("--device", "cuda:999"),
        ("--device", "cpu:1"),
        ("--arch", "nosuch"),
        ("--episode_type", "nosuch"),
        ("--data_dir", "nosuch"),
    ],
)
def test_error_for_an_invalid_value_names_the_option(
    option: str, value: str, tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_single_command(
        "train", ["--fn_out_model", "a.pt", "--dir_model", str(tmp_path), option, value]
    )
    assert code == 2
    message = capsys.readouterr().err
    assert option.strip("-") in message or value in message
    assert not (tmp_path / "a.pt").exists()


@pytest.mark.parametrize(
    "option",
    [["--act", "tanh"], ["--batch_size", "many"], ["--no_such"], ["--resume", "--overwrite"]],
)
def test_the_parser_rejects_wrong_types_and_choices(option: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_single_command("train", ["--fn_out_model", "a.pt", *option])
    assert end.value.code == 2


def test_a_model_cannot_have_the_name_of_an_export(tmp_path: Path, capsys) -> None:
    words = ["--fn_out_model", "net.safetensors", "--dir_model", str(tmp_path), "--nsteps", "1"]
    assert run_single_command("train", [*words, "--overwrite"]) == 2
    error = capsys.readouterr().err
    assert "name it net.pt" in error
    assert "biml export" in error
    assert not list(tmp_path.iterdir())


def test_end_of_input_at_the_overwrite_question_keeps_the_model(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    def end(prompt: str) -> str:
        raise EOFError

    (tmp_path / "a.pt").write_text("precious")
    monkeypatch.setattr("builtins.input", end)
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    assert (
        run_single_command("train", ["--fn_out_model", "a.pt", "--dir_model", str(tmp_path)]) == 2
    )
    assert "is kept" in capsys.readouterr().err
    assert (tmp_path / "a.pt").read_text() == "precious"


def help_of(option: str, shown: str) -> str:
    return " ".join(shown.split()).rsplit(f" {option} ", 1)[1].split(" --")[0]


def test_the_help_lists_choices_and_former_names(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        run_single_command("train", ["--help"])
    output = capsys.readouterr().out
    for option, names in (
        ("--arch NAME", ARCHITECTURES),
        ("--preset NAME", PRESETS),
        ("--lr_schedule {linear,quadratic}", LR_SCHEDULES),
    ):
        assert all(name in help_of(option, output).split() for name in names)
    assert f"{SECOND_CYCLE_LR_FACTOR:g} of --lr" in " ".join(output.split())
    assert f"muon uses {MUON_LR_FACTOR:g} times this" in help_of("--lr X", output)
    for option in fields(TrainingConfig):
        formerly = option.metadata["option"].formerly
        assert not formerly or f"also accepted: --{formerly}" in " ".join(output.split())


def test_the_help_needs_no_torch() -> None:
    code = (
        "import sys; from biml.cli.main import run_single_command\n"
        "try: run_single_command('train', ['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_error_for_an_unknown_episode_type_lists_the_known_ones(capsys) -> None:
    assert run_single_command("train", ["--fn_out_model", "a.pt", "--episode_type", "nosuch"]) == 2
    assert "algebraic+biases" in capsys.readouterr().err


def test_an_evaluation_type_cannot_be_trained(capsys) -> None:
    assert (
        run_single_command("train", ["--fn_out_model", "a.pt", "--episode_type", "few_shot_gold"])
        == 2
    )
    assert "evaluation only" in capsys.readouterr().err


def test_resume_names_each_differing_option_with_both_values() -> None:
    had = TrainingConfig(**OPTIONS)
    check_resume_options(had, {"batch_size": 2, "lr": 0.001})
    with pytest.raises(UsageError) as caught:
        check_resume_options(had, {"batch_size": 7, "lr_warmup": False, "seed": 0, "act": "relu"})
    lines = str(caught.value).splitlines()
    assert "  batch_size: 2 in the run, 7 given" in lines
    assert "  lr_warmup: True in the run, False given" in lines
    assert "  act: gelu in the run, relu given" in lines
    assert not any("seed" in line for line in lines)


def test_running_out_of_memory_is_reported(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--fn_out_model", "a.pt", "--dir_model", str(tmp_path)]
    assert run_single_command("train", [*where, "--emb_size", str(2**20), "--workers", "1"]) == 1
    assert "--micro_batch_tokens" in capsys.readouterr().err
