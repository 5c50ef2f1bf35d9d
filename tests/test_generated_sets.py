"""`biml generate`: its files, their reproducibility, and interrupted runs."""

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import biml
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
        ["--test", "-1"],
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


def test_test_episodes_have_grammars_of_their_own(tmp_path: Path) -> None:
    generate(replace(SOME, test=5), tmp_path / "set", workers=1)
    splits = {part: read_episodes(tmp_path / "set" / part) for part in ("train", "val", "test")}
    grammars = {
        part: {e.grammar.canonical() for e in episodes if e.grammar}
        for part, episodes in splits.items()
    }
    assert len(grammars["test"]) == 5
    assert not grammars["test"] & (grammars["train"] | grammars["val"])


def parquet_rows(folder: Path, split: str) -> list[dict[str, Any]]:
    return list(pq.read_table(folder / "data" / f"{split}.parquet").to_pylist())


@pytest.fixture(scope="module")
def in_parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parquet") / "set"
    generate(replace(SOME, test=3), folder, format="parquet", workers=1)
    return folder


def test_parquet_files_hold_the_episodes_of_the_text_files(
    in_parquet: Path, tmp_path: Path
) -> None:
    generate(replace(SOME, test=3), tmp_path / "set", workers=1)
    for split, part in (("train", "train"), ("validation", "val"), ("test", "test")):
        episodes = read_episodes(tmp_path / "set" / part)
        assert parquet_rows(in_parquet, split) == [
            {
                "study": [
                    {"input": " ".join(e.input), "output": " ".join(e.output)} for e in one.study
                ],
                "queries": [" ".join(query.input) for query in one.queries],
                "targets": [" ".join(query.output) for query in one.queries],
                "grammar": str(one.grammar),
            }
            for one in episodes
        ]


def test_parquet_sets_have_held_out_rules_and_the_gold_episode(in_parquet: Path) -> None:
    assert len(parquet_rows(in_parquet, "novel_rules")) == 130
    gold = parquet_rows(in_parquet, "gold")
    assert len({str(row["study"]) for row in gold}) == len(gold) == 100
    for row in gold:
        grammar = biml.Grammar.parse(row["grammar"])
        for query, target in zip(row["queries"], row["targets"], strict=True):
            assert " ".join(grammar.interpret(query)) == target
    assert not (in_parquet / "data/holdout.parquet").exists()


def test_the_dataset_card_names_the_splits(in_parquet: Path) -> None:
    text = (in_parquet / "README.md").read_text("utf-8")
    front = text.split("---\n")[1]
    named = dict(re.findall(r"- split: (\w+)\n    path: (\S+)", front))
    assert set(named) == {"train", "validation", "test", "novel_rules", "gold"}
    assert all((in_parquet / path).is_file() for path in named.values())
    assert "| `train` | 30 |" in text


def test_parquet_sets_do_not_depend_on_the_number_of_workers(
    in_parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate_module, "_CHUNK_SIZE", 7)
    generate(replace(SOME, test=3), tmp_path / "set", format="parquet", workers=2)
    for split in ("train", "gold"):
        assert parquet_rows(tmp_path / "set", split) == parquet_rows(in_parquet, split)


def test_a_parquet_set_replaces_only_one_of_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["--train", "1", "--val", "1", "--workers", "1", "--format", "parquet"]
    assert run_single_command("generate", command) == 2
    assert "data_algebraic" in capsys.readouterr().err
    command += ["--out", "episodes"]
    assert run_single_command("generate", [*command, "--test", "2"]) == 0
    printed = capsys.readouterr().out
    assert "load_dataset('episodes')" in printed
    for name in ("train 1", "validation 1", "test 2", "novel_rules 130", "gold 100"):
        assert f", {name}," in re.sub(": |\n", ", ", printed)
    assert run_single_command("generate", command) == 2
    assert run_single_command("generate", [*command, "--overwrite"]) == 0
    (tmp_path / "episodes" / "notes.txt").write_text("mine")
    assert run_single_command("generate", [*command, "--overwrite"]) == 2
    assert (tmp_path / "episodes" / "notes.txt").is_file()


@pytest.mark.skipif(not find_spec("datasets"), reason="needs the package datasets")
def test_the_package_datasets_reads_a_parquet_set(in_parquet: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    found = load_dataset(str(in_parquet), cache_dir=str(tmp_path))
    assert {name: len(split) for name, split in found.items()} == {
        "train": 30,
        "validation": 4,
        "test": 3,
        "novel_rules": 130,
        "gold": 100,
    }
    assert found["train"][3] == parquet_rows(in_parquet, "train")[3]
