"""The biases model of the open-ended task: alignment, unused colours, ends."""

from math import exp, log
from pathlib import Path

import numpy as np
import pytest

from biml.episodes.datasets import EvaluationSet
from biml.episodes.episode import Episode, Example
from biml.episodes.registry import episode_type
from biml.evaluation.likelihood import likelihood, score_responses, token_scores
from biml.evaluation.symbolic import OpenEndedBiasModel
from biml.paths import DataFolders

MODEL = OpenEndedBiasModel(symbols=("R", "G", "B"))


def pair(words: str, symbols: str) -> Example:
    return Example(tuple(words.split()), tuple(symbols.split()))


def probabilities(study: list[Example], words: str, symbols: str) -> list[float]:
    episode = Episode(tuple(study), (pair(words, symbols),))
    ((scored,),) = MODEL.log_prob([episode])
    return [float(p) for p in np.exp(scored)]


def test_the_first_word_may_be_any_colour_and_the_next_any_other() -> None:
    assert probabilities([], "dax lug", "R G") == pytest.approx([1 / 3, 1 / 2, 1])
    assert probabilities([], "dax lug", "R R") == pytest.approx([1 / 3, 0, 1])


def test_a_word_keeps_its_colour_within_a_response() -> None:
    assert probabilities([], "dax lug dax", "R G R") == pytest.approx([1 / 3, 1 / 2, 1, 1])


def test_a_word_is_translated_in_proportion_to_its_alignments() -> None:
    study = [pair("dax", "R"), pair("dax lug", "R B"), pair("dax", "G")]
    assert probabilities(study, "dax", "R") == pytest.approx([2 / 3, 1])
    assert probabilities(study, "dax", "G") == pytest.approx([1 / 3, 1])
    assert probabilities(study, "dax", "B") == pytest.approx([0, 1])


def test_colours_beyond_the_input_are_used_but_aligned_with_nothing() -> None:
    study = [pair("dax", "R G")]
    assert probabilities(study, "dax", "R") == pytest.approx([1, 1])
    assert probabilities(study, "lug", "B") == pytest.approx([1, 1])
    assert probabilities(study, "lug", "G") == pytest.approx([0, 1])


def test_after_all_colours_are_used_a_new_word_may_have_any() -> None:
    study = [pair("a b c", "R G B")]
    assert probabilities(study, "dax", "G") == pytest.approx([1 / 3, 1])


def test_the_response_ends_with_the_input_and_is_uniform_beyond_it() -> None:
    assert probabilities([pair("dax", "R")], "dax", "R R R") == pytest.approx([1, 0, 1 / 4, 1 / 4])
    assert probabilities([pair("dax", "R")], "dax dax", "R") == pytest.approx([1, 0])


def test_likelihood_of_one_perfect_participant_by_hand() -> None:
    """Two new words: 6 colours, then 5; everything else follows. With a lapse on top."""
    episode = Episode((pair("dax", "RED"),), (pair("lug dax", "BLUE RED"),))
    found = likelihood(
        token_scores(score_responses(OpenEndedBiasModel(), EvaluationSet((episode,), (), 0))), 0.1
    )
    by_hand = log(0.9 / 5 + 0.1 / 7) + 2 * log(0.9 + 0.1 / 7)
    assert found.mean == pytest.approx(by_hand)


@pytest.mark.published_data
def test_human_responses_are_more_probable_than_chance(shared: Path) -> None:
    evaluation = episode_type("open_end_human_all").open_evaluation(DataFolders(shared), 0)
    found = likelihood(
        token_scores(score_responses(OpenEndedBiasModel(), evaluation, repeats=3)), 0.3
    )
    assert found.n_symbols == 795
    assert -1020 < found.mean < -970 < -found.n_symbols  # chance is 795 ln 7, far below
    assert found.mean > -found.n_symbols * log(7)


@pytest.mark.published_data
def test_the_five_folds_contain_all_participants(shared: Path) -> None:
    rows = [
        episode_type(f"open_end_human_cross{fold}").open_evaluation(DataFolders(shared), 0)
        for fold in range(1, 6)
    ]
    names = [Path(episode.name).name for row in rows for episode in row.episodes]
    assert len(names) == len(set(names)) == 29
    scores = [token_scores(score_responses(OpenEndedBiasModel(), row)) for row in rows]
    assert sum(likelihood(one).n_symbols for one in scores) == 795


def test_samples_are_one_to_one_with_distinct_colours() -> None:
    episode = Episode((), (pair("dax lug dax", "R R R"),))
    ((drawn,),) = MODEL.sample([episode], seed=0, n=200)
    assert all(len(a) == 3 and a[0] == a[2] != a[1] for a in drawn)
    assert len(set(drawn)) == 6
    assert exp(log(1 / 6)) == pytest.approx(drawn.count(("R", "G", "R")) / 200, abs=0.1)
