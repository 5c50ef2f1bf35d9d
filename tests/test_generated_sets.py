"""`biml generate`: its files, their reproducibility, and interrupted runs."""

from pathlib import Path

import pytest

from biml.cli.main import run_single_command
from biml.episodes import generate as generate_module
from biml.episodes.datasets import training_episodes, validation_episodes
from biml.episodes.generate import DatasetSpec, generate
from biml.episodes.packed import read_episodes
from biml.errors import BimlError, UsageError
from biml.paths import DataFolders

SOME = DatasetSpec(train=30, val=4, seed=7)


def contents(folder: Path) -> dict[str, str]:
    """The episodes in it."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.txt")}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "data_algebraic"
    generate(SOME, folder, workers=1)
    return folder


def test_files_are_numbered_as_published(written: Path) -> None:
    assert set(contents(written)) == {
        *(f"train/{i:06}.txt" for i in range(1, 31)),
        *(f"val/{i:06}.txt" for i in range(1, 5)),
    }


def test_files_do_not_depend_on_the_number_of_workers(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate_module, "_CHUNK_SIZE", 7)
    seen: list[tuple[int, int]] = []
    generate(
        SOME,
        tmp_path / "set",
        workers=2,
        progress=lambda done, total=None, **_: seen.append((done, total)),
    )
    assert contents(tmp_path / "set") == contents(written)
    assert seen == sorted(seen)
    assert seen[-1] == (34, 34)


def test_files_depend_on_the_seed(written: Path, tmp_path: Path) -> None:
    generate(DatasetSpec(train=30, val=4, seed=8), tmp_path / "set", workers=1)
    other = contents(tmp_path / "set")
    assert not set(other.values()) & set(contents(written).values())


def test_no_training_grammar_is_a_validation_grammar(written: Path) -> None:
    train, val = (
        {e.grammar.canonical() for e in read_episodes(written / part) if e.grammar}
        for part in ("train", "val")
    )
    assert len(val) == 4
    assert not train & val


def test_training_finds_the_generated_set(written: Path) -> None:
    data = DataFolders(written.parent, ())
    assert len(training_episodes(data, 0)) == 30
    assert len(validation_episodes(data)) == 4


def test_an_existing_folder_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    (tmp_path / "set" / "train").mkdir(parents=True)
    (tmp_path / "set" / "train" / "000099.txt").write_text("old")
    with pytest.raises(UsageError, match="--overwrite"):
        generate(SOME, tmp_path / "set", workers=1)
    assert contents(tmp_path / "set") == {"train/000099.txt": "old"}
    generate(SOME, tmp_path / "set", workers=1, overwrite=True)
    assert len(contents(tmp_path / "set")) == 34
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_run_leaves_the_existing_folder(
    tmp_path: Path, end: BaseException | type[BaseException]
) -> None:
    (tmp_path / "set" / "val").mkdir(parents=True)
    (tmp_path / "set" / "val" / "000099.txt").write_text("old")

    def stop(done: int, total: int | None = None, *, stage: str = "", unit: str = "") -> None:
        raise end

    with pytest.raises((KeyboardInterrupt, BimlError)):
        generate(SOME, tmp_path / "set", workers=1, overwrite=True, progress=stop)
    assert contents(tmp_path) == {"set/val/000099.txt": "old"}


@pytest.mark.parametrize(
    "wrong",
    [
        ["--train", "0"],
        ["--val", "-1"],
        ["--workers", "0"],
        ["--train", "many"],
        ["--max_rhs", "1"],
        ["--n_study", "-1"],
        ["--n_query", "0"],
    ],
)
def test_invalid_numbers_are_usage_errors(
    tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = run_single_command("generate", ["--out", str(tmp_path / "set"), *wrong])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    assert wrong[0] in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_prints_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_single_command("generate", ["--train", "3", "--val", "2", "--workers", "1"]) == 0
    assert str(tmp_path / "data_algebraic") in capsys.readouterr().out.replace("\n", "")
    assert len(contents(tmp_path / "data_algebraic")) == 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--n_primitives", "7"], "--n_primitives is 7, but must be 1 to 6"),
        (["--n_primitives", "0"], "--n_primitives is 0, but must be 1 to 6"),
        (["--functions", "9"], "--n_functions is 9, but must be 0 to 8"),
        (
            ["--n_primitives", "5", "--functions", "5"],
            "--n_primitives 5 and --n_functions 5 need 10 words, but there are 9",
        ),
    ],
)
def test_errors_about_the_meta_grammar_name_the_options(
    tmp_path: Path, wrong: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_single_command("generate", ["--out", str(tmp_path / "set"), *wrong]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_help_states_the_limits_and_what_the_files_depend_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        run_single_command("generate", ["--help"])
    output = capsys.readouterr().out
    assert "1 to 6 (4)" in output
    assert "--n_primitives and --n_functions are at most 9" in output
    assert "not on --workers" in output
