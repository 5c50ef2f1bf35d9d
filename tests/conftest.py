import os
from pathlib import Path

import pytest
from fakes.human_data import write_human_data
from fakes.released_checkpoint import write_released_checkpoint
from hypothesis import settings

pytest_plugins = ["reproduce_toys"]

# Tests run side by side, one for each core. Threads of their own would only wait for each other,
# and take twice the time; PyTorch reads this when it is first imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A loaded machine is slow, which says nothing about what is tested.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")


def _published_folder() -> Path:
    named = os.environ.get("BIML_SHARED")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of published human data, test vectors and checkpoints in the released format."""
    folder = _published_folder()
    if not folder.is_dir():
        pytest.skip(f"needs the published data, and there is no {folder}; set BIML_SHARED")
    return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Human data in the published format: the published ones where they are, else synthetic."""
    folder = _published_folder()
    if not folder.is_dir():
        folder = tmp_path_factory.mktemp("synthetic")
        write_human_data(folder)
        (folder / "legacy").mkdir()
        write_released_checkpoint(folder / "legacy" / "net-legacy-vanilla.pt")
    return folder
