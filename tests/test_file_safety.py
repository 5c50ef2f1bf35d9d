"""Files of the user are kept, two processes do not clash, and kills leave nothing behind."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import biml
from biml.episodes.generate import DatasetSpec, generate
from biml.errors import BimlError, UsageError
from biml.human.download import import_path
from biml.human.resources import RESOURCES
from biml.io import atomic_directory, atomic_write, exclusive_lock, remove_partials
from biml.report.page import write_report
from fakes.processes import PATIENCE, python

HOLD = "import time; print('ready', flush=True); time.sleep(1000)"


@contextmanager
def killed_while(block: str) -> Iterator[None]:
    """A process is in a `with` block, such as `atomic_write('a')`; killed at the end."""
    head = "from biml.io import atomic_directory, atomic_write, exclusive_lock"
    with python("-c", f"{head}\nwith {block} as made: {HOLD}") as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        yield
        run.send_signal(signal.SIGKILL)
        run.wait(PATIENCE)


def test_errors_name_the_file_and_not_its_lock(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()  # as an error of a full disk, it has the name of the lock
    with (
        pytest.raises(BimlError, match=r"folder/net\.pt: could not be written"),
        exclusive_lock(tmp_path / "folder" / "net.pt"),
    ):
        pass


@pytest.mark.parametrize("kind", ["atomic_write", "atomic_directory"])
def test_what_a_killed_process_left_is_removed_by_the_next(kind: str, tmp_path: Path) -> None:
    (tmp_path / ".a.original").write_text("the user's")
    with killed_while(f"{kind}({str(tmp_path / 'a')!r})"):
        remove_partials(tmp_path / "a")  # it still runs
        assert len(list(tmp_path.iterdir())) == 2
    assert len(list(tmp_path.iterdir())) == 2
    remove_partials(tmp_path / "b")
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_directory(tmp_path / "a"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"a", ".a.original"}


def test_a_folder_that_was_being_replaced_comes_back(tmp_path: Path) -> None:
    left = tmp_path / ".set.abcd1234.partial"
    (left / ".replaced").mkdir(parents=True)
    (left / ".replaced" / "mine").touch()
    with pytest.raises(UsageError, match="exists already"), atomic_directory(tmp_path / "set"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "mine"]


def test_a_lock_excludes_others_until_its_process_is_killed(tmp_path: Path) -> None:
    with (
        killed_while(f"exclusive_lock({str(tmp_path / 'net.pt')!r})"),
        pytest.raises(UsageError, match="busy"),
        exclusive_lock(tmp_path / "net.pt", "busy"),
    ):
        pass
    with exclusive_lock(tmp_path / "net.pt", "busy"):
        pass
    assert not list(tmp_path.iterdir())


def test_two_trainings_of_one_model_are_refused(tmp_path: Path) -> None:
    with (
        exclusive_lock(tmp_path / "net.pt"),
        pytest.raises(UsageError, match=r"net\.pt.*fn_out_model"),
    ):
        biml.train("net.pt", dir_model=tmp_path, progress=False, workers=1)
    assert not list(tmp_path.iterdir())


def test_two_generations_of_one_set_are_refused(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path / "set"), pytest.raises(UsageError, match="--out"):
        generate(DatasetSpec(1, 1), tmp_path / "set", workers=1)


def test_a_folder_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine" / "mine").mkdir(parents=True)
    with pytest.raises(UsageError, match="exists already"), atomic_directory(tmp_path / "a"):
        shutil.copytree(tmp_path / "mine", tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["thesis.tex", "train/notes.txt", "backup/000001.txt"])
def test_generated_episodes_replace_nothing_else(name: str, tmp_path: Path) -> None:
    mine = tmp_path / "set" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(UsageError, match=name):
        generate(DatasetSpec(1, 1), tmp_path / "set", workers=1, overwrite=True)
    assert mine.read_text() == "mine"


def test_a_dataset_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    for name in ("README.md", "data/train.parquet"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_text("mine")
    with pytest.raises(UsageError, match=r"README\.md"):
        generate(DatasetSpec(1, 1), tmp_path / "set", workers=1, overwrite=True, format="parquet")
    assert (tmp_path / "set/README.md").read_text() == "mine"


def test_imported_data_replace_nothing_else(tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / "new" / part).mkdir(parents=True)
        (tmp_path / "new" / part / "000001.txt").touch()
    mine = tmp_path / "data_algebraic" / "analysis.ipynb"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UsageError, match=r"analysis\.ipynb"):
        import_path(tmp_path / "new", tmp_path, expected=RESOURCES["episodes"], overwrite=True)
    mine.unlink()
    import_path(tmp_path / "new", tmp_path, expected=RESOURCES["episodes"], overwrite=True)
    import_path(tmp_path / "new", tmp_path, expected=RESOURCES["episodes"], overwrite=True)


def test_a_link_is_neither_replaced_nor_followed(tmp_path: Path) -> None:
    (tmp_path / "mine" / "train").mkdir(parents=True)
    (tmp_path / "set").symlink_to(tmp_path / "mine")
    with pytest.raises(UsageError, match="is a link"):
        generate(DatasetSpec(1, 1), tmp_path / "set", workers=1, overwrite=True)
    with (
        pytest.raises(UsageError, match="is a link"),
        atomic_directory(tmp_path / "set", overwrite=True),
    ):
        pass
    (tmp_path / "net.tb").symlink_to(tmp_path / "mine")
    with pytest.raises(UsageError, match=r"net\.tb is a link"):
        biml.train("net.pt", dir_model=tmp_path, progress=False, overwrite=True)
    assert (tmp_path / "mine" / "train").is_dir()


def test_a_report_does_not_write_through_links(report_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (tmp_path / "pictures").mkdir()
    (folder / "results.json").write_bytes((report_folder / "results.json").read_bytes())
    (folder / "tables").symlink_to(report_folder / "tables")
    (folder / "figures").symlink_to(tmp_path / "pictures")
    with pytest.raises(UsageError, match="figures is a link"):
        write_report(folder)
    assert not list((tmp_path / "pictures").iterdir())


def test_a_model_stays_in_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dir_model"):
        biml.train("../net.pt", dir_model=tmp_path / "models", progress=False)


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
