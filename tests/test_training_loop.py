"""The training loop: gradients, validation, files, resuming and precision."""

import errno
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.summary.writer.record_writer import RecordWriter

from biml.episodes.episode import Episode, Example
from biml.errors import BimlError, UsageError
from biml.evaluation.network import greedy_decode
from biml.networks.base import EpisodeNetwork
from biml.training.config import RuntimeConfig, TrainingConfig
from biml.training.distributed import ProcessGroup
from biml.training.logger import TrainingCallback
from biml.training.run_files import read_log
from biml.training.step import TrainStep, Validation, assign_micro_batches
from biml.training.trainer import RunResult, default_micro_batch_tokens, train
from fakes.networks import small_network
from fakes.training import OPTIONS, open_data, same_weights, training_episode, weights_of

ALONE = RuntimeConfig(workers=1)
CPU = torch.device("cpu")
HERE = ProcessGroup(CPU)


def run(
    model: Path, resume: bool = False, runtime: RuntimeConfig = ALONE, **options: object
) -> RunResult:
    given = options if resume else OPTIONS | options
    return train(model, given, runtime=runtime, resume=resume, open_training_data=open_data)


def toy_train_step(**options: object) -> TrainStep:
    config = TrainingConfig(**{**OPTIONS, **options})  # type: ignore[arg-type]
    data = open_data(config, None)
    return TrainStep(data.network, data.dataset, config, HERE)


def test_the_loss_on_a_repeated_episode_decreases() -> None:
    train_step = toy_train_step(nsteps=60, batch_size=1, lr=0.01, nepochs=2, dropout=0.0)
    train_step._dataset = type(
        "One", (), {"__getitem__": lambda self, i: training_episode(0, "train", 0)}
    )()
    losses = [train_step.step().loss for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_gradient_is_that_of_the_mean_loss_over_all_target_tokens() -> None:
    train_step = toy_train_step(dropout=0.0, micro_batch_tokens=150)
    batch = train_step.next_batch()
    assert len(batch.micro_batches) > 2
    whole = train_step.network.collate(batch.episodes)
    pad = train_step.network.vocabulary.output.pad
    logits = train_step.network(whole)
    parameters = list(train_step.network.parameters())
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), whole.target.flatten(), ignore_index=pad
    )
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
    metrics = train_step.step()
    assert metrics.loss == pytest.approx(loss.item(), rel=1e-5)
    assert metrics.gradient_norm == pytest.approx(expected.norm().item(), rel=1e-4)
    torch.testing.assert_close(train_step._gradient, expected, rtol=1e-3, atol=1e-6)


def test_micro_batches_are_assigned_once_each_with_balanced_loads() -> None:
    network = open_data(TrainingConfig(**OPTIONS), None).network
    micro_batches = network.micro_batches([training_episode(0, "x", i) for i in range(12)], 300)
    assigned = assign_micro_batches(micro_batches, 3)
    assert sorted(number for numbers in assigned for number in numbers) == list(
        range(len(micro_batches))
    )
    loads = [sum(micro_batches[number].n_tokens for number in numbers) for numbers in assigned]
    assert max(loads) - min(loads) <= max(micro_batch.n_tokens for micro_batch in micro_batches)


def test_validation_gives_the_accuracy_of_greedy_decoding() -> None:
    network = small_network(3)
    output = network.vocabulary.output
    network.out.bias.data[[output.sos, output.pad]] = -100.0  # which greedy decoding excludes
    network.out.bias.data[output.eos] += 0.5
    episodes = [training_episode(5, "v", index) for index in range(12)]
    # A pool limits what may be answered, and an answer with another symbol can never be right.
    episodes[0] = replace(episodes[0], pool=("RED", "BLUE"))
    # The network's own responses are the targets, but where they were cut.
    for number, responses in enumerate(greedy_decode(network, episodes)):
        queries = [
            query if len(response) == 10 else Example(query.input, response, query.in_study)
            for query, response in zip(episodes[number].queries, responses, strict=True)
        ]
        episodes[number] = replace(episodes[number], queries=tuple(queries))
    study, novel = _greedy_accuracy(network, episodes)
    assert 0 < study < 100
    assert 0 < novel < 100
    config = TrainingConfig(precision="fp32", micro_batch_tokens=500)
    metrics = Validation(network, episodes, config, HERE).measure(network)
    assert metrics["accuracy_study"] == pytest.approx(study)
    assert metrics["accuracy_novel"] == pytest.approx(novel)


def _greedy_accuracy(network: EpisodeNetwork, episodes: list[Episode]) -> tuple[float, float]:
    right: dict[bool, list[bool]] = {True: [], False: []}
    for episode, answers in zip(episodes, greedy_decode(network, episodes), strict=True):
        for query, answer in zip(episode.queries, answers, strict=True):
            right[query.in_study].append(tuple(answer) == query.output)
    return tuple(100 * sum(right[kind]) / len(right[kind]) for kind in (True, False))  # type: ignore


def test_a_run_writes_model_log_and_event_files(tmp_path: Path) -> None:
    result = run(tmp_path / "net.pt", nsteps=30)
    lines = read_log(tmp_path / "net.history.jsonl")
    assert [line["step"] for line in lines] == [1, 25, 30]
    assert all(line["val_loss"] is not None for line in lines)
    assert 0 <= (lines[-1]["accuracy_study"] or 0) <= 100
    assert lines[-1]["episodes"] == 60
    assert list((tmp_path / "net.tb").glob("events.out.tfevents.*"))
    assert result.last_validation == lines[-1]
    assert result.stopped_by is None


def test_the_same_seed_gives_the_same_model_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        run(tmp_path / f"{name}.pt", nsteps=2, seed=seed)
    assert same_weights(tmp_path / "a.pt", tmp_path / "b.pt")
    assert not same_weights(tmp_path / "a.pt", tmp_path / "c.pt")


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    class StopAt4(TrainingCallback):
        def on_step(self, info) -> None:
            if info.step == 4:
                raise KeyboardInterrupt

    options = {"nsteps": 9, "dropout": 0.3, "batch_growth": 2.0}
    run(tmp_path / "whole.pt", **options)
    with pytest.raises(KeyboardInterrupt):
        train(
            tmp_path / "parts.pt",
            OPTIONS | options,
            runtime=RuntimeConfig(workers=1, save_every=0),
            callback=StopAt4(),
            open_training_data=open_data,
        )
    assert torch.load(tmp_path / "parts.pt", weights_only=True)["training"]["step"] == 3
    run(tmp_path / "parts.pt", resume=True)
    assert same_weights(tmp_path / "whole.pt", tmp_path / "parts.pt")
    whole, parts = (read_log(tmp_path / f"{n}.history.jsonl") for n in ("whole", "parts"))
    for timed in ("seconds", "episodes_per_second"):
        for line in (*whole, *parts):
            del line[timed]
    assert whole == parts
    assert whole[-1]["episodes"] == 27


def test_a_resumed_run_drops_log_entries_beyond_its_checkpoint(tmp_path: Path) -> None:
    run(tmp_path / "net.pt", nsteps=1)
    with (tmp_path / "net.history.jsonl").open("a") as file:
        file.write('{"step": 25}\n{"st')  # as after kill -9
    run(tmp_path / "net.pt", resume=True)
    assert [line["step"] for line in read_log(tmp_path / "net.history.jsonl")] == [1]


def test_the_best_model_is_saved_after_the_skipped_fraction(tmp_path: Path) -> None:
    run(tmp_path / "a.pt", nsteps=30, save_best=True, save_best_skip=0.5)
    best = torch.load(tmp_path / "a_best.pt", weights_only=True)
    assert best["info"]["step"] in (25, 30)
    assert best["info"]["best_val_loss"] == best["info"]["val_loss"]
    run(tmp_path / "b.pt", nsteps=1)
    assert not (tmp_path / "b_best.pt").exists()


def test_a_run_goes_on_when_tensorboard_files_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """As on a full disk, where TensorBoard's thread fails, and then its next call."""
    messages: list[str] = []
    callback = TrainingCallback()
    monkeypatch.setattr(callback, "on_message", messages.append)
    begun = iter(range(3))
    write = RecordWriter.write

    def full(writer: RecordWriter, data: bytes) -> None:
        if next(begun, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(writer, data)

    monkeypatch.setattr(RecordWriter, "write", full)
    hook = threading.excepthook
    options = {"runtime": ALONE, "open_training_data": open_data, "callback": callback}
    result = train(tmp_path / "net.pt", OPTIONS | {"nsteps": 30}, **options)  # type: ignore[arg-type]
    assert result.step == 30
    assert len(read_log(tmp_path / "net.history.jsonl")) == 3
    assert [text for text in messages if "net.tb: could not be written (No space" in text]
    assert "Traceback" not in capsys.readouterr().err
    assert threading.excepthook == hook


def test_a_model_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to resume"):
        run(tmp_path / "none.pt", resume=True)
    run(tmp_path / "net.pt", nsteps=2, save_best=True, save_best_skip=0.0)
    with pytest.raises(UsageError, match="--resume"):
        run(tmp_path / "net_best.pt", resume=True)
    (tmp_path / "bad.pt").write_bytes((tmp_path / "net.pt").read_bytes()[:5000])
    with pytest.raises(BimlError, match=r"bad\.pt"):
        run(tmp_path / "bad.pt", resume=True)


def test_resuming_with_other_options_or_data_is_rejected(tmp_path: Path) -> None:
    run(tmp_path / "net.pt", nsteps=2)
    with pytest.raises(UsageError, match=r"batch_size: 2 in the run, 9 given"):
        run(tmp_path / "net.pt", resume=True, batch_size=9)

    def other_data(config: TrainingConfig, data_dir: Path | None):
        data = open_data(config, data_dir)
        return replace(data, dataset=replace(data.dataset, seed=99))

    with pytest.raises(UsageError, match="other training episodes"):
        train(tmp_path / "net.pt", {}, runtime=ALONE, resume=True, open_training_data=other_data)


def test_a_diverged_run_stops_and_writes_its_batch(tmp_path: Path) -> None:
    def poisoned(config: TrainingConfig, data_dir: Path | None):
        data = open_data(config, data_dir)
        forward = data.network.forward
        calls = iter(range(1000))

        def broken(batch, generator=None):
            training = data.network.training
            spoil = torch.nan if training and next(calls) >= 3 else 1.0
            return forward(batch, generator) * spoil

        data.network.forward = broken  # type: ignore[method-assign]
        return data

    runtime = RuntimeConfig(workers=1, save_every=0)
    options = OPTIONS | {"nsteps": 20, "micro_batch_tokens": 10**6}
    with pytest.raises(BimlError, match=r"step 4: the loss is nan") as caught:
        train(tmp_path / "net.pt", options, runtime=runtime, open_training_data=poisoned)
    folder = tmp_path / "net.failed_step_4"
    assert str(folder) in str(caught.value)
    about = json.loads((folder / "step.json").read_text())
    assert about["step"] == 4
    assert about["loss"] == "nan"
    assert len(list(folder.glob("*.txt"))) == OPTIONS["batch_size"] == len(about["in_study"])
    assert all(torch.isfinite(value).all() for value in weights_of(tmp_path / "net.pt").values())
    assert torch.load(tmp_path / "net.pt", weights_only=True)["training"]["step"] == 3


def test_the_dashboard_plots_learning_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    run(tmp_path / "net.pt", nsteps=2, runtime=RuntimeConfig(workers=1, dashboard=True))
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")


def test_bf16_trains_too(tmp_path: Path) -> None:
    result = run(tmp_path / "net.pt", nsteps=2, precision="bf16")
    assert result.config.precision == "bf16"
    assert weights_of(tmp_path / "net.pt")["out.weight"].dtype == torch.float32


def test_precision_and_micro_batch_size_are_saved_with_the_run(tmp_path: Path) -> None:
    given = {key: OPTIONS[key] for key in OPTIONS if key not in ("precision", "micro_batch_tokens")}
    train(tmp_path / "net.pt", given, runtime=ALONE, open_training_data=open_data)
    options = torch.load(tmp_path / "net.pt", weights_only=True)["training"]["options"]
    assert options["precision"] in ("fp32", "bf16")
    usual = default_micro_batch_tokens(options["arch"], CPU, options["precision"])
    assert options["micro_batch_tokens"] == usual


@pytest.mark.parametrize("amx", [False, True])
def test_micro_batches_are_larger_on_cpus_with_amx(
    amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": amx}, raising=False)
    times = 2 if amx else 1
    assert default_micro_batch_tokens("staged", CPU, "bf16") == times * default_micro_batch_tokens(
        "staged", CPU, "fp32"
    )
    assert default_micro_batch_tokens("paper", CPU, "bf16") == default_micro_batch_tokens(
        "paper", CPU, "fp32"
    )


def test_micro_batches_have_a_default_size_in_older_pytorch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("torch.cpu.get_capabilities", raising=False)
    assert default_micro_batch_tokens("staged", CPU, "bf16") == default_micro_batch_tokens(
        "staged", CPU, "fp32"
    )
