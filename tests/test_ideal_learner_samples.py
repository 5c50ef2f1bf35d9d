"""Sampled training targets of the human few-shot queries follow the closed-form mixture."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ideal_learner_samples
from biml.episodes.registry import episode_type
from biml.evaluation.symbolic import BiasOracle, SlipOracle
from biml.paths import DataFolders


@pytest.mark.parametrize(
    ("name", "learner", "noise"),
    [("algebraic+biases", BiasOracle, 0.01), ("algebraic+slips", SlipOracle, 0.03)],
)
def test_sampled_targets_follow_the_closed_form_mixture(
    shared: Path, name: str, learner: Any, noise: float
) -> None:
    data = DataFolders(shared)
    drawn = pd.DataFrame(ideal_learner_samples.sample_targets(data, 100, name))
    mixture = learner(symbols=ideal_learner_samples.SYMBOLS)
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
