import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from biml import plugins
from biml.analysis.measures import MEASURES
from biml.episodes import datasets
from biml.episodes.registry import EPISODE_TYPES
from biml.evaluation.registry import SYMBOLIC
from biml.networks.registry import ARCHITECTURES
from fakes.human_data import published_folder, write_human_data
from fakes.released_checkpoint import write_released_checkpoint

pytest_plugins = ["fakes.browser", "fakes.postgresql", "fakes.reproduction", "fakes.results"]

GROUPS = {
    "test_report_browser.py": "report_folder",
    "test_report_page.py": "report_folder",
    "test_reproduce.py": "results",
    "test_reproduce_jobs.py": "results",
    "test_training_interrupted.py": "whole",
}
"""Files whose tests share a fixture that takes seconds to make, and its name."""

# A loaded machine is slow, which says nothing about what is tested.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")


def pytest_configure(config: pytest.Config) -> None:
    """Limit each test process to one thread where several run side by side.

    The processes inherit the limit from the first, before they import PyTorch, which reads it once.
    """
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run the tests of a group in one process; distribute all others one by one."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return GROUPS.get(nodeid.split("::")[0].split("/")[-1], nodeid)

    return Scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of published numbers where the published data are absent."""
    if not published_folder().is_dir():
        reason = f"needs the published data; there is no {published_folder()}; set BIML_SHARED"
        for item in items:
            if item.get_closest_marker("published_data"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Human data in the published format: the published ones where they are, else synthetic."""
    folder = published_folder()
    if not folder.is_dir():
        folder = tmp_path_factory.mktemp("synthetic")
        write_human_data(folder)
        (folder / "legacy").mkdir()
        write_released_checkpoint(folder / "legacy" / "net-legacy-vanilla.pt")
    return folder


@pytest.fixture(autouse=True)
def _restored_registries() -> Iterator[None]:
    """Forget after a test what it registered and which plugins it loaded."""
    tables: list[dict[Any, Any]] = [EPISODE_TYPES, ARCHITECTURES, SYMBOLIC, MEASURES]
    tables += [plugins._loaded, plugins._origins, plugins._needed]
    before = [dict(table) for table in tables]
    yield
    for table, rows in zip(tables, before, strict=True):
        if table != rows:
            table.clear()
            table.update(rows)


@pytest.fixture
def few_validation_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample three validation episodes instead of 200."""
    sample = datasets.sample_validation_set
    monkeypatch.setattr(datasets, "sample_validation_set", lambda meta, seed: sample(meta, seed, 3))
