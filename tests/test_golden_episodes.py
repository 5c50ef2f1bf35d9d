"""Episodes of every type are those of biml 0.1.0, word for word."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fakes import golden_access as access
from fakes.golden_files import known, marked
from fakes.human_data import published_folder

DRAWN = ("retrieve", "algebraic", "algebraic_noise", "algebraic+biases", "algebraic+slips")
BUILT_IN = (*DRAWN, "novel_rules", "few_shot_gold", "few_shot_vanilla")
"""Types that need no data of people."""


def data_for(name: str, request: pytest.FixtureRequest) -> Path | None:
    if name in BUILT_IN:
        return None
    shared: Path = request.getfixturevalue("shared")
    if shared != published_folder():
        pytest.skip("needs the published data")
    return shared


def hashed(name: str, episodes: Sequence[Any]) -> dict[str, Any]:
    return marked([access.text(episode) for episode in episodes], secret=name not in BUILT_IN)


def test_every_episode_type_of_0_1_0_exists() -> None:
    every, trained = access.episode_types(), access.trainable()
    assert set(every) >= set(known("episodes.json.gz", "types", every))
    assert set(trained) >= set(known("episodes.json.gz", "trainable", trained))


@pytest.mark.parametrize("name", access.trainable())
def test_training_episodes(name: str, request: pytest.FixtureRequest) -> None:
    data = data_for(name, request)
    found = {
        str(seed): hashed(name, access.training(name, data, seed, range(50))) for seed in (0, 7)
    }
    assert found == known("episodes.json.gz", f"training {name}", found)


@pytest.mark.parametrize("name", access.trainable())
def test_episodes_of_a_curriculum(name: str, request: pytest.FixtureRequest) -> None:
    data = data_for(name, request)
    numbers = range(0, 200, 5)
    found = hashed(name, access.curriculum(name, data, 3, numbers))
    assert found == known("episodes.json.gz", f"curriculum {name}", found)


@pytest.mark.parametrize("name", access.episode_types())
def test_episodes_of_an_evaluation(name: str, request: pytest.FixtureRequest) -> None:
    episodes = access.evaluation(name, data_for(name, request), 1, passes=2)
    found = {
        "episodes": len(episodes),
        "queries": sum(len(episode.queries) for episode in episodes),
        **hashed(name, [*episodes[:5], *episodes[-5:]]),
    }
    assert found == known("episodes.json.gz", f"evaluation {name}", found)


@pytest.mark.parametrize("options", ["", "--primitives 3 --functions 2 --max_output 7 --queries 4"])
def test_a_generated_set(options: str, tmp_path: Path) -> None:
    out = tmp_path / "data_algebraic"
    words = ["generate", "--out", str(out), "--train", "20", "--val", "5", "--seed", "77"]
    assert access.main([*words, "--workers", "1", *options.split()]) == 0
    paths = sorted(path for path in out.rglob("*.txt"))
    found = {
        "names": [path.relative_to(out).as_posix() for path in paths],
        **marked([path.read_text() for path in paths]),
    }
    assert found == known("episodes.json.gz", f"generate {options}", found)
