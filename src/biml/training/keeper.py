"""The first process's part of a run: history, checkpoints, and telling how it goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from biml.training.config import Conduct, TrainingConfig
from biml.training.course import Course
from biml.training.dashboard import Dashboard
from biml.training.history import History, Line
from biml.training.learner import DivergedError, Learner, StepFigures
from biml.training.outputs import Outputs, save_failure
from biml.training.schedule import logs, turn
from biml.training.state import Record, save_run, save_weights
from biml.training.validation import Validated
from biml.training.watch import Pace, Progress, Watch


class Keeper:
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
        learner: Learner,
        record: Record,
        config: TrainingConfig,
        conduct: Conduct,
        outputs: Outputs,
        course: Course,
        watch: Watch,
    ) -> None:
        self.record = record
        self._learner = learner
        self._config = config
        self._outputs = outputs
        self._course = course
        self._watch = watch
        self._history = History(outputs.history, outputs.events, record.history)
        self._dashboard = None
        if conduct.dashboard:
            self._dashboard = Dashboard(outputs.curves, f"{outputs.model.name}")
        self._save_every = conduct.save_every * 60
        self._began = self._saved = self._drawn = time.monotonic()
        self._seconds_before = record.seconds
        self._pace = Pace(learner.presented, self._began)

    def after_step(self, figures: StepFigures, validated: Validated | None) -> None:
        """Take note of a step: a line of history, the best model, a checkpoint, where they are due.

        Raises:
            BimlError: a file cannot be written.
        """
        record, learner = self.record, self._learner
        now = time.monotonic()
        rate = self._pace.tick(learner.presented, now)
        record.seconds = self._seconds_before + now - self._began
        record.loss_sum += figures.loss
        record.loss_count += 1
        ended = figures.stop or learner.done == learner.total
        if logs(learner.done, learner.total):
            self._log(figures, validated, rate)
        self._watch.stepped(
            Progress(
                step=learner.done,
                total=learner.total,
                loss=figures.loss,
                rate=rate,
                seconds_left=learner.remaining / rate,
                line=record.history[-1] if record.history else None,
            )
        )
        if validated is not None:
            self._keep_best(validated)
            self._draw(now, ended)
        if ended or now - self._saved >= self._save_every:
            self._save()

    def _log(self, figures: StepFigures, validated: Validated | None, rate: float) -> None:
        step = self._learner.done
        line: Line = {
            "step": step,
            "episodes": self._learner.presented,
            "lr": figures.lr,
            "train_loss": self.record.loss_sum / self.record.loss_count,
            "gradient_norm": figures.gradient_norm,
        }
        if validated is not None:
            line["val_loss"] = validated.loss
            line["accuracy_copied"] = validated.copied
            line["accuracy_novel"] = validated.novel
        line["episodes_per_second"] = round(rate, 3)
        line["seconds"] = round(self.record.seconds, 1)
        self.record.loss_sum, self.record.loss_count = 0.0, 0
        self._history.add(line)
        self.record.history = self._history.lines
        self._watch.logged(line, self._learner.total)

    def _keep_best(self, validated: Validated) -> None:
        skip = self._config.save_best_skip
        if not self._config.save_best:
            return
        # Validation has no biases, so that a model from before they come in looks best.
        after = turn(self._config)
        if self._learner.done < (after + (1 - after) * skip) * self._learner.total:
            return
        if self.record.best is None or validated.loss < self.record.best:
            self.record.best = validated.loss
            save_weights(self._outputs.best, self._learner, self.record, self._config)

    def _draw(self, now: float, ended: bool) -> None:
        """Draw the curves, at most twice a minute, because drawing takes half a second."""
        due = ended or len(self.record.history) < 3 or now - self._drawn > 30
        if self._dashboard is not None and due:
            self._dashboard.draw(self.record.history)
            self._drawn = now

    def _save(self) -> None:
        save_run(self._outputs.model, self._learner, self.record, self._config, self._course)
        self._saved = time.monotonic()
        self._watch.saved(self._outputs.model)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Close the history at the end; keep the batch of a step that diverged."""
        try:
            yield
        except DivergedError as error:
            folder = save_failure(error, self._outputs, self._config)
            saved = self._outputs.model
            good = f"the last checkpoint is {saved}" if saved.is_file() else "nothing was saved yet"
            error.args = (f"{error}; its batch is in {folder}; {good}",)
            raise
        finally:
            self._history.close()
