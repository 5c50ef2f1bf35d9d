"""Misuse of any command: exit code 2, and a message that names what is wrong."""

import errno

import pytest

from biml.cli.main import main, run_single_command

MISSING_PATHS = [
    ["interpret", "--grammar", "nope", "dax"],
    ["interpret", "--grammar", ".", "dax"],
    ["generate", "--holdout_grammar", "nope"],
    ["data", "import", "nope.zip"],
    ["data", "import", "nope.csv", "--study", "nope.txt"],
    ["data", "status", "--data_dir", "nope"],
    ["report", "nope"],
    ["export", "nope.pt", "copy.pt"],
    ["eval", "--max", "--fn_out_model", "nope.pt"],
    ["train", "--fn_out_model", "net.pt", "--init_from", "nope.pt"],
    ["reproduce", "novel-rules", "--models", "nope.pt"],
    ["models", "--plugin", "nope.py"],
]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("words", MISSING_PATHS, ids=" ".join)
def test_a_path_that_does_not_exist_is_misuse(words: list[str], capsys) -> None:
    assert main(words) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "nope" in message or words[2] == "."


@pytest.mark.parametrize("seed", ["-1", str(2**63)])
@pytest.mark.parametrize(
    "command",
    [
        "ask --query DAX --model oracle",
        "data export few-shot",
        "eval --fn_out_model oracle --max",
        "experiment simulate few-shot --model oracle",
        "generate --train 1 --val 1",
        "reproduce novel-rules --models oracle",
        "train --fn_out_model net.pt --nsteps 1",
    ],
)
def test_a_seed_that_is_no_seed_is_misuse(command: str, seed: str, tmp_path, capsys) -> None:
    assert main([*command.split(), "--seed", seed]) == 2
    assert capsys.readouterr().err.startswith(f"error: --seed is {seed}, but must be at ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "program", "unknown"),
    [
        (["eval", "--fn_out_model", "net", "--maxx"], "biml eval", "--maxx"),
        (["data", "status", "--data-dir", "x"], "biml data status", "--data-dir x"),
        (["models", "one", "two"], "biml models", "two"),
    ],
)
def test_an_unknown_option_shows_the_usage_of_its_command(
    words: list[str], program: str, unknown: str, capsys
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(f"usage: {program} ")
    assert f"{program}: error: unrecognized arguments: {unknown}" in message


def test_a_misspelt_option_names_the_nearest_ones(capsys) -> None:
    with pytest.raises(SystemExit):
        run_single_command("train", ["--fn_out_model", "net", "--episodetype", "algebraic"])
    assert "did you mean --episode_type" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["trian"], "train"),
        (["data", "downlod", "human"], "download"),
        (["data", "download", "humam"], "human"),
        (["eval", "--fn_out_model", "oracle", "--fit_lapse", "bounde"], "bounded"),
    ],
)
def test_a_misspelt_command_or_value_names_the_nearest_ones(words, meant: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["eval", "--fn_out_model", "oracle", "--max", "--episode_type", "few_shot_golf"],
            "(--episode_type); did you mean few_shot_gold",
        ),
        (
            ["train", "--fn_out_model", "a.pt", "--episode_type", "algebra"],
            "(--episode_type); did you mean algebraic",
        ),
        (["train", "--fn_out_model", "a.pt", "--arch", "stagged"], "(--arch); did you mean staged"),
        (["reproduce", "few-shoot"], "did you mean few-shot"),
        (["models", "net-BIML-to"], "did you mean net-BIML-top"),
        (["eval", "--fn_out_model", "net-BIML-tpo", "--max"], "did you mean net-BIML-top"),
        (["eval", "--fn_out_model", "orcale", "--max"], "did you mean oracle"),
    ],
)
def test_an_unknown_name_gives_its_option_and_the_nearest_names(
    words: list[str], message: str, capsys
) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("can't start new thread"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
    ],
)
def test_a_limit_of_processes_is_an_error_that_names_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("biml.cli.interpret.run", fail)
    assert main(["interpret", "--grammar", "g.txt", "dax"]) == 1
    message = capsys.readouterr().err
    assert "ulimit -u" in message
    assert "--workers 1" in message
