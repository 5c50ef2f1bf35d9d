"""`biml episode-types` and `biml --version`."""

import pytest

from biml.cli.main import main
from biml.episodes.registry import EPISODE_TYPES
from biml.version import __version__


def test_every_episode_type_is_listed_with_its_data_and_tasks(capsys) -> None:
    assert main(["episode-types"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == list(EPISODE_TYPES)


def test_one_episode_type_is_described(capsys) -> None:
    assert main(["episode-types", "joint"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("joint\n")
    assert "can be evaluated on" in output
    assert "data_human" in output


def test_an_unknown_episode_type_is_a_usage_error(capsys) -> None:
    assert main(["episode-types", "nosuch"]) == 2
    assert "nosuch" in capsys.readouterr().err


def test_the_version_is_printed(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"biml {__version__}\n"
