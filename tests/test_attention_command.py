"""`biml attention`: the figure, what is printed, and refusals."""

from pathlib import Path

import pytest

from biml.cli.main import main
from biml.evaluation.api import Model
from biml.evaluation.network import NetworkResponder
from biml.report.attention_figure import attention_figure
from fakes.networks import small_network

STUDY = """*SUPPORT*
IN: a OUT: X
IN: b OUT: Y
IN: a c OUT: X X
*QUERY*
*GRAMMAR*
"""


@pytest.mark.parametrize(
    ("options", "file"),
    [("", "a.svg"), ("--name encoder.[01].* --head 0 2", "a.png"), ("--tokens", "a.pdf")],
)
def test_the_command_draws_attention(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: str,
    file: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.txt").write_text(STUDY)
    given = ["--study", "study.txt", "--query", "b c", "--response", "Y Y", "--out", file]
    assert main(["attention", *given, *options.split()]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "b c → Y Y"
    assert printed[-1] == f"Written: {file}"
    if "name" not in options:
        assert [line.split()[0] for line in printed[1:-1]] == ["Y", "Y", "EOS"]
        assert all("a c → X X" in line or "b → Y" in line for line in printed[1:-1])
    start = (tmp_path / file).read_bytes()[:200]
    assert {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[file[2:]] in start
    if file == "a.svg":
        texts = (tmp_path / file).read_text("utf-8")
        assert all(f"head {head}<" in texts for head in range(4))
        assert "a c → X X<" in texts


def test_a_network_that_reads_the_query_has_a_row_for_it() -> None:
    model = Model(NetworkResponder(small_network()), "", "small")
    trace = model.trace([("dax", "RED"), ("wif", "BLUE")], "dax", "RED")
    figure = attention_figure(trace, ["decoder.0.cross_attention", "decoder.1.cross_attention"])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["dax → RED", "wif → BLUE", "query"]
    assert len(figure.axes) == 2 * 2 + 1  # layers, heads and the scale


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--name decoder.1.cross_atention", "decoder.1.cross_attention"),
        ("--head 9", "--head"),
        ("--out a.gif", ".svg"),
        ("--model oracle", "only a network"),
        ("--study no.txt", "no.txt"),
        ("--query=", "query"),
        ("--query zoo", "no study example has the word 'zoo'"),
        ("--response REDD", "did you mean RED"),
    ],
)
def test_misuse_ends_with_a_message(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: str,
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["attention", *options.split()]) == 2
    assert named in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
