"""Small models of each episode type, and one reproduction with them for all tests."""

from pathlib import Path

import pytest

from biml.networks import checkpoint
from biml.paths import DataFolders
from biml.report.results import Results, read_results
from biml.reproduce.cache import ResultCache
from biml.reproduce.experiments import select_experiments
from biml.reproduce.models import find_models
from biml.reproduce.run import reproduce
from biml.reproduce.tables import ReproductionSpec
from fakes.networks import small_network

MODELS = {
    "mlc": "algebraic+biases",
    "joint-top": "joint",
    **{f"joint-cross{fold}": f"joint_cross{fold}" for fold in range(1, 6)},
    "opened": "open_end_human_all",
    "probed": "probe_human_w_pool",
}


class RecordingProgress:
    """Record how many models each measurement computes, and interrupt the run after some."""

    def __init__(self, interrupt_after: int = 10_000) -> None:
        self.totals: dict[str, int] = {}
        self.complete: dict[str, int] = {}
        self.interrupt_after = interrupt_after

    def __call__(
        self, done: int, total: int | None = None, *, stage: str = "", unit: str = ""
    ) -> None:
        if total is None:  # a message
            return
        self.totals.setdefault(stage, total - done)  # cached models are done already
        self.complete[stage] = done
        if sum(self.complete.values()) == self.interrupt_after:
            raise KeyboardInterrupt


def cache_in(folder: Path) -> ResultCache:
    return ResultCache(folder / "cache")


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
def quick_spec(shared: Path, models: Path) -> ReproductionSpec:
    data = DataFolders(shared)
    names = ["mlc", "joint-top", "vanilla", "probed", "oracle", "oracle-biases", "biases"]
    return ReproductionSpec(
        find_models(names, models, data), select_experiments(None), data, quick=True
    )


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reproduced")


@pytest.fixture(scope="session")
def results(quick_spec: ReproductionSpec, run_folder: Path) -> Results:
    reproduce(quick_spec, run_folder / "out", workers=1, cache=cache_in(run_folder))
    return read_results(run_folder / "out")
