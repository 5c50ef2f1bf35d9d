"""Small models of each episode type, and one reproduction with them for all tests."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from biml.networks import checkpoint
from biml.paths import DataFolders
from biml.report.results import Results, read_results
from biml.reproduce.cache import ResultCache
from biml.reproduce.experiments import select_experiments
from biml.reproduce.models import find_models
from biml.reproduce.run import Job, reproduce
from biml.reproduce.tables import ReproductionSpec
from fakes.networks import small_network

MODELS = {
    "mlc": "algebraic+biases",
    "joint-top": "joint",
    **{f"joint-cross{fold}": f"joint_cross{fold}" for fold in range(1, 6)},
    "opened": "open_end_human_all",
    "probed": "probe_human_w_pool",
}


class RecordingListener:
    """Remembers what it was told, and interrupts after some units."""

    def __init__(self, interrupt_after: int = 10_000) -> None:
        self.units: list[tuple[str, str]] = []
        self.complete: list[tuple[str, str]] = []
        self.interrupt_after = interrupt_after

    def on_start(self, jobs: Sequence[Job]) -> None:
        self.units = [unit.key for unit in jobs]

    def on_running(self, jobs: Sequence[Job]) -> None: ...

    def on_done(self, job: Job) -> None:
        self.complete.append(job.key)
        if len(self.complete) == self.interrupt_after:
            raise KeyboardInterrupt

    def on_message(self, text: str) -> None: ...


def store(folder: Path) -> ResultCache:
    return ResultCache(folder / "kept")


@pytest.fixture(scope="session")
def models(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, (name, kind) in enumerate(MODELS.items()):
        checkpoint.save_checkpoint(
            folder / f"{name}.pt", checkpoint.checkpoint_of(small_network(seed), kind)
        )
    legacy = shared / "legacy" / "net-legacy-vanilla.pt"
    (folder / "vanilla.pt").write_bytes(legacy.read_bytes())
    return folder


@pytest.fixture(scope="session")
def wanted(shared: Path, models: Path) -> ReproductionSpec:
    data = DataFolders(shared)
    names = ["mlc", "joint-top", "vanilla", "probed", "oracle", "oracle-biases", "biases"]
    return ReproductionSpec(
        find_models(names, models, data), select_experiments(None), data, quick=True
    )


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reproduced")


@pytest.fixture(scope="session")
def results(wanted: ReproductionSpec, place: Path) -> Results:
    reproduce(wanted, place / "out", workers=1, listener=RecordingListener(), cache=store(place))
    return read_results(place / "out")
