"""What training shows for people's few-shot queries, against the mixture in closed form."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from biml.episodes.registry import episode_type
from biml.evaluation.symbolic import BiasOracle, SlipOracle
from biml.paths import DataFolders


@pytest.fixture
def biased_targets(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return import_module("biased_targets")


@pytest.mark.parametrize(
    ("name", "learner", "noise"),
    [("algebraic+biases", BiasOracle, 0.01), ("algebraic+slips", SlipOracle, 0.03)],
)
def test_targets_are_those_of_the_mixture_less_the_noise(
    biased_targets: Any, shared: Path, name: str, learner: Any, noise: float
) -> None:
    data = DataFolders(shared)
    drawn = pd.DataFrame(biased_targets.targets(data, 100, name))
    mixture = learner(symbols=biased_targets.SYMBOLS)
    for episode in episode_type("few_shot_human").open_evaluation(data, 0).episodes:
        words = episode.queries[0].input
        given = drawn[drawn["query"] == " ".join(words)]["response"]
        assert len(given) == 100 * len(episode.queries)
        likeliest = sorted(
            mixture.response_distribution(episode, words).items(), key=lambda item: -item[1]
        )[:2]
        for answer, chance in likeliest:
            kept = chance * (1 - noise) ** len(answer)
            sd = (kept * (1 - kept) / len(given)) ** 0.5
            # Noise draws the symbol that was there now and then, or makes one answer of another.
            assert (given == " ".join(answer)).mean() == pytest.approx(kept, abs=4 * sd + 0.01)
