import os
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["reproduce_toys"]

# Tests run side by side, one for each core. Threads of their own would only wait for each other,
# and take twice the time; PyTorch reads this when it is first imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A loaded machine is slow, which says nothing about what is tested.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")


def _shared_folder() -> Path:
    named = os.environ.get("BIML_SHARED")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of human data, test vectors and a released-format checkpoint."""
    folder = _shared_folder()
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; name its folder in BIML_SHARED")
    return folder
