"""The files that a run leaves, all beside its model."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from biml.episodes.text import write_episode
from biml.errors import BimlError
from biml.files import atomic_write
from biml.training.config import TrainingConfig
from biml.training.learner import DivergedError


@dataclass(frozen=True)
class RunPaths:
    """Names of the files of a run.

    Attributes:
        model: the checkpoint, such as `out_models/net.pt`.

    >>> RunPaths(Path("out_models/net-BIML.pt")).best.name
    'net-BIML_best.pt'
    """

    model: Path

    @property
    def best(self) -> Path:
        """The model with the lowest validation loss, with `--save_best`."""
        return self._sibling("_best.pt")

    @property
    def history(self) -> Path:
        return self._sibling(".history.jsonl")

    @property
    def events(self) -> Path:
        """The folder of TensorBoard files."""
        return self._sibling(".tb")

    @property
    def curves_image(self) -> Path:
        """The picture that `--dashboard` draws."""
        return self._sibling(".png")

    def failed_batch_folder(self, step: int) -> Path:
        """The folder for the batch of a step that went wrong."""
        return self._sibling(f".failed_step_{step}")

    def create_folder(self) -> None:
        """Make the folder of the model.

        Raises:
            BimlError: it cannot be made or written to.
        """
        probe = self.model.with_name(f".{self.model.name}.probe")
        try:
            self.model.parent.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise BimlError(
                f"{self.model.parent}: cannot be written to ({error.strerror}); "
                "name another folder with --dir_model"
            ) from error

    def _sibling(self, suffix: str) -> Path:
        return self.model.with_name(self.model.name.removesuffix(".pt") + suffix)


def dump_failed_batch(error: DivergedError, paths: RunPaths, config: TrainingConfig) -> Path:
    """Write the batch that a run broke off at, so that it can be looked at.

    One text file an episode, as presented to the network, and `step.json` with step, loss,
    gradient norm and options. Queries that repeat study examples are marked in `step.json`.

    Returns:
        the folder.
    """
    folder = paths.failed_batch_folder(error.batch.step + 1)
    folder.mkdir(parents=True, exist_ok=True)
    for number, episode in enumerate(error.batch.episodes, 1):
        write_episode(folder / f"{number:06d}.txt", episode)
    about = {
        "step": error.batch.step + 1,
        "loss": str(error.metrics.loss),  # JSON has no word for NaN
        "gradient_norm": str(error.metrics.gradient_norm),
        "lr": error.metrics.lr,
        "episodes": [episode.name for episode in error.batch.episodes],
        "copied": [
            [query.in_study for query in episode.queries] for episode in error.batch.episodes
        ],
        "options": dataclasses.asdict(config),
    }
    with atomic_write(folder / "step.json") as file:
        file.write(json.dumps(about, indent=2).encode())
    return folder
