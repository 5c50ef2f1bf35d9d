"""`biml reproduce`: console output, help and usage errors."""

import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from biml.cli.main import main
from biml.cli.reproduce import print_results
from biml.errors import UsageError
from biml.evaluation.registry import SYMBOLIC
from biml.paths import DataFolders, SearchPath
from biml.progress import stage_lines
from biml.report.page import FIGURE_FILES
from biml.report.results import (
    Results,
    check_output_folder,
    coerce_types,
    is_up_to_date,
    write_results,
)
from biml.report.schemas import TABLES
from biml.reproduce.experiments import EXPERIMENTS, select_experiments
from biml.reproduce.run import reproduce
from biml.reproduce.tables import ReproductionSpec
from fakes.processes import PATIENCE, await_end, descendants_of, python


@pytest.mark.published_data
def test_the_command_prints_published_and_reproduced_statistics(
    shared: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "out"
    words = ["reproduce", "table1", "--models", "oracle", "biases", "--quick", "--workers", "1"]
    assert main([*words, "--data_dir", str(shared), "--out", str(out)]) == 0
    output = capsys.readouterr()
    assert f"Human responses: {shared / 'data_human'}\n" in output.err
    assert "-536.1" in output.out
    assert "published" in output.out
    assert str(out / "index.html") in output.out
    assert main([*words, "--data_dir", str(shared), "--out", str(out)]) == 0
    assert "Nothing to compute" in capsys.readouterr().err
    for gone in (out / "figures" / "likelihoods.png", out / "index.html"):
        gone.unlink()
        assert main([*words, "--data_dir", str(shared), "--out", str(out)]) == 0
        assert gone.is_file()


def test_a_terminated_command_ends_its_workers_and_leaves_no_output(
    shared: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["reproduce", "few-shot", "--models", "net-BIML-top", "net-BIML-joint-top"]
    folders = ["--data_dir", str(shared), "--out", str(tmp_path / "out")]
    with python("-m", "biml", *words, "--workers", "2", *folders) as run:
        deadline = time.monotonic() + PATIENCE
        while len(workers := descendants_of(run.pid)) < 2:
            assert time.monotonic() < deadline, "no two workers"
            time.sleep(0.1)
        time.sleep(1)
        run.send_signal(signal.SIGTERM)
        output, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in output
    assert not (tmp_path / "out").exists()
    await_end(workers)


def test_usage_errors_of_reproduce_leave_no_output(
    shared: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    def fails(*words: str) -> str:
        code = main(["reproduce", "--data_dir", str(shared), "--dir_model", str(tmp_path), *words])
        assert code == 2
        return capsys.readouterr().err

    out = tmp_path / "out"
    assert "one of table1, few-shot" in fails("table2", "--out", str(out))
    assert "Symbolic models are oracle" in fails("--models", "nobody", "--out", str(out))
    for name in ("table1", "all"):
        message = fails("--models", "oracle", name, "--out", str(out))
        assert f"biml reproduce {name} --models" in message
    assert "--workers is 0" in fails("--workers", "0", "--out", str(out))
    assert not out.exists()
    out.write_text("mine")
    assert "is a file" in fails("--models", "oracle", "--out", str(out))
    # Before models are looked for, too.
    assert "out is not a folder" in fails("--models", "nobody", "--out", str(out / "a" / "b"))
    protected = "/proc/biml/out"
    assert f"{protected} cannot be written" in fails("--models", "nobody", "--out", protected)
    out.unlink()
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert "notes.txt" in fails("--models", "oracle", "--out", str(out))
    assert (out / "notes.txt").read_text() == "mine"
    (out / "notes.txt").unlink()
    monkeypatch.chdir(out)
    for here in (".", "..", str(out)):
        assert "current folder" in fails("--models", "oracle", "--out", here)
    link = tmp_path / "link"
    link.symlink_to(out)
    assert "is a link" in fails("--models", "oracle", "--out", str(link))
    assert link.is_symlink()
    message = fails("probes", "--models", "oracle", "--out", str(tmp_path / "new"))
    assert "every model is excluded" in message


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "Desktop.ini"])
def test_files_of_file_managers_are_ignored(tmp_path: Path, name: str) -> None:
    check_output_folder(tmp_path, FIGURE_FILES)
    (tmp_path / name).touch()
    check_output_folder(tmp_path, FIGURE_FILES)
    results = Results("0", True, 0, (), ("few-shot",))
    write_results(results, tmp_path)
    (tmp_path / "tables").mkdir()
    (tmp_path / "index.html").touch()
    (tmp_path / "tables" / name).touch()
    check_output_folder(tmp_path, FIGURE_FILES)
    assert is_up_to_date(tmp_path, results)


@pytest.mark.parametrize("mine", ["notes.txt", "tables/mine.csv", "figures/mine.png"])
def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path, mine: str) -> None:
    write_results(Results("0", True, 0, (), ("few-shot",)), tmp_path)
    for name in ("tables/accuracy_by_complexity.csv", "figures/likelihoods.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    check_output_folder(tmp_path, FIGURE_FILES)
    (tmp_path / mine).touch()
    with pytest.raises(UsageError, match=rf"other files than results \({mine}\)"):
        check_output_folder(tmp_path, FIGURE_FILES)


def test_names_in_brackets_are_not_read_as_markup(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    row = {"experiment": "few-shot", "statistic": "its r", "model": "mine[v2]", "reproduced": 1.0}
    assert "mine[v2]" in shown_of([row], capsys)


def test_a_published_range_is_printed_as_a_range(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    row = {
        "experiment": "table1",
        "statistic": "log-likelihood",
        "model": "net",
        "reproduced": -350.05,
    }
    row |= {"published_low": -380.0, "published_high": -360.0, "difference": 9.95}
    row |= {"standard_error": 14.25}
    (line,) = [line for line in shown_of([row], capsys).splitlines() if "net" in line]
    assert line.split() == [
        "log-likelihood",
        "net",
        "-380",
        "to",
        "-360",
        "-350.1",
        "±",
        "14.2",
        "+9.9",
    ]


def test_a_published_statistic_that_was_not_reproduced_has_dashes(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    row = {"experiment": "probes", "statistic": "iconic (%)", "model": "MLC", "published": 93.8}
    (line,) = [line for line in shown_of([row], capsys).splitlines() if "MLC" in line]
    assert line.split() == ["iconic", "(%)", "MLC", "93.8", "–", "–"]


def shown_of(rows: list[dict[str, object]], capsys) -> str:
    frame = coerce_types(
        pd.DataFrame(rows, columns=list(TABLES["statistics"].columns)), TABLES["statistics"]
    )
    print_results(
        Results("0", True, 0, (), ("few-shot",), (), tables={"statistics": frame}), Path("out")
    )
    return capsys.readouterr().out


def test_where_the_human_data_are_is_announced(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "named").mkdir()
    data = DataFolders(tmp_path / "named", (SearchPath(shared, "usual"),))
    found = f"Human responses: {shared / 'data_human'} (there is no data_human in {data.data_dir})"
    for name, announced in (("probes", [found]), ("novel-rules", [])):
        lines: list[str] = []
        spec = ReproductionSpec((), select_experiments([name]), data)
        with pytest.raises(UsageError, match="every model is excluded"):
            reproduce(spec, tmp_path / "out", workers=1, progress=stage_lines(lines.append))
        assert lines == ["Models: ", *announced]


def test_missing_human_data_are_reported_before_models_are_looked_for(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("biml.paths.user_data_folder", lambda: tmp_path / "nowhere")
    assert main(["reproduce", "--models", "nobody"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no folder data_human" in line
    assert "biml data download human" in line


def test_the_help_names_every_experiment_and_symbolic_model(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        main(["reproduce", "--help"])
    output = capsys.readouterr().out
    assert all(name in output for name in (*EXPERIMENTS, *SYMBOLIC))
