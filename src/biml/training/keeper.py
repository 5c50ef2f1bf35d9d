"""The first process's part of a run: history, checkpoints, and telling how it goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from biml.training.config import RuntimeConfig, TrainingConfig
from biml.training.course import RunFingerprint
from biml.training.dashboard import Dashboard
from biml.training.history import MetricsLogger, LogEntry
from biml.training.learner import DivergedError, TrainStep, StepMetrics
from biml.training.outputs import RunPaths, dump_failed_batch
from biml.training.schedule import is_log_step, corruption_start
from biml.training.state import RunState, save_run_checkpoint, save_weights
from biml.training.validation import ValidationMetrics
from biml.training.watch import Throughput, StepInfo, TrainingCallback


class RunLogger:
    """Keeps what a run produces.

    Args:
        learner: what is trained.
        record: the run's past; it is brought up to date after every step.
        config, conduct: the run's options.
        outputs: where everything goes.
        course: the run's data and recipe.
        watch: is told how it goes.
    """

    def __init__(
        self,
        train_step: TrainStep,
        state: RunState,
        config: TrainingConfig,
        runtime: RuntimeConfig,
        paths: RunPaths,
        fingerprint: RunFingerprint,
        callback: TrainingCallback,
    ) -> None:
        self.state = state
        self._train_step = train_step
        self._config = config
        self._paths = paths
        self._fingerprint = fingerprint
        self._callback = callback
        self._metrics_logger = MetricsLogger(paths.history, paths.events, state.history)
        self._dashboard = None
        if runtime.dashboard:
            self._dashboard = Dashboard(paths.curves_image, f"{paths.model.name}")
        self._save_every = runtime.save_every * 60
        self._started_at = self._saved_at = self._plotted_at = time.monotonic()
        self._seconds_before = state.seconds
        self._throughput = Throughput(train_step.episodes_seen, self._started_at)

    def on_step_end(self, metrics: StepMetrics, validation: ValidationMetrics | None) -> None:
        """Take note of a step: a line of history, the best model, a checkpoint, where they are due.

        Raises:
            BimlError: a file cannot be written.
        """
        record, learner = self.state, self._train_step
        now = time.monotonic()
        rate = self._throughput.update(learner.episodes_seen, now)
        record.seconds = self._seconds_before + now - self._started_at
        record.loss_sum += metrics.loss
        record.loss_count += 1
        ended = metrics.stop or learner.steps_done == learner.total_steps
        if is_log_step(learner.steps_done, learner.total_steps):
            self._log(metrics, validation, rate)
        self._callback.on_step(
            StepInfo(
                step=learner.steps_done,
                total_steps=learner.total_steps,
                loss=metrics.loss,
                episodes_per_second=rate,
                seconds_left=learner.episodes_left / rate,
                entry=record.history[-1] if record.history else None,
            )
        )
        if validation is not None:
            self._keep_best(validation)
            self._plot(now, ended)
        if ended or now - self._saved_at >= self._save_every:
            self._save()

    def _log(
        self, metrics: StepMetrics, validation: ValidationMetrics | None, episodes_per_second: float
    ) -> None:
        step = self._train_step.steps_done
        line: LogEntry = {
            "step": step,
            "episodes": self._train_step.episodes_seen,
            "lr": metrics.lr,
            "train_loss": self.state.loss_sum / self.state.loss_count,
            "gradient_norm": metrics.gradient_norm,
        }
        if validation is not None:
            line["val_loss"] = validation.loss
            line["accuracy_copied"] = validation.study_accuracy
            line["accuracy_novel"] = validation.novel_accuracy
        line["episodes_per_second"] = round(episodes_per_second, 3)
        line["seconds"] = round(self.state.seconds, 1)
        self.state.loss_sum, self.state.loss_count = 0.0, 0
        self._metrics_logger.add(line)
        self.state.history = self._metrics_logger.entries
        self._callback.on_log(line, self._train_step.total_steps)

    def _keep_best(self, validation: ValidationMetrics) -> None:
        skip = self._config.save_best_skip
        if not self._config.save_best:
            return
        # Validation has no biases, so that a model from before they come in looks best.
        after = corruption_start(self._config)
        if (
            self._train_step.steps_done
            < (after + (1 - after) * skip) * self._train_step.total_steps
        ):
            return
        if self.state.best is None or validation.loss < self.state.best:
            self.state.best = validation.loss
            save_weights(self._paths.best, self._train_step, self.state, self._config)

    def _plot(self, now: float, finished: bool) -> None:
        """Draw the curves, at most twice a minute, because drawing takes half a second."""
        due = finished or len(self.state.history) < 3 or now - self._plotted_at > 30
        if self._dashboard is not None and due:
            self._dashboard.plot(self.state.history)
            self._plotted_at = now

    def _save(self) -> None:
        save_run_checkpoint(
            self._paths.model, self._train_step, self.state, self._config, self._fingerprint
        )
        self._saved_at = time.monotonic()
        self._callback.on_checkpoint(self._paths.model)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Close the history at the end; keep the batch of a step that diverged."""
        try:
            yield
        except DivergedError as error:
            folder = dump_failed_batch(error, self._paths, self._config)
            saved = self._paths.model
            good = f"the last checkpoint is {saved}" if saved.is_file() else "nothing was saved yet"
            error.args = (f"{error}; its batch is in {folder}; {good}",)
            raise
        finally:
            self._metrics_logger.close()
