"""What models were trained on, fitted to and chosen by, and cross-validated likelihoods."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import biml
from biml.cli.main import main
from biml.episodes.data_use import CHOSEN, FITTED, TRAINED, DataUse
from biml.episodes.registry import EPISODE_TYPES, episode_type
from biml.evaluation.likelihood import (
    FINE_LAPSE_GRID,
    cross_validate,
    fit_lapse,
    held_out,
    score_responses,
    token_scores,
)
from biml.evaluation.symbolic import Oracle, SlipOracle
from biml.grammar.perturbations import CANDIDATE_RATES, HUMAN_RATES, SlipRates
from biml.networks.checkpoint import checkpoint_of, save_checkpoint
from biml.paths import DataFolders, list_pretrained, read_card, upgrade_card
from biml.reproduce.published import compare_with_published
from fakes.networks import small_network

FEW_SHOT = EPISODE_TYPES["few_shot_human"]


def test_parents_count_as_training() -> None:
    info = {"ancestors": [{"episode_type": "joint_cross1"}]}
    data_use = DataUse.of_network("algebraic", info, {})
    assert data_use.trained_on == ("joint_cross1", "algebraic")
    assert data_use.uses(EPISODE_TYPES["open_end_human_cross1"]) == ()
    assert data_use.uses(EPISODE_TYPES["open_end_human_cross2"]) == (TRAINED,)
    card = {"parents": [{"episode_type": "probe_human_w_pool"}]}
    assert DataUse.of_network("algebraic", {}, card).uses(EPISODE_TYPES["probe_human"])


def test_rates_of_slips_are_fitted_to_the_few_shot_responses() -> None:
    assert DataUse.of_network("algebraic+slips", {}, {}).uses(FEW_SHOT) == (FITTED,)
    assert DataUse.of_network("algebraic+biases", {}, {}).uses(FEW_SHOT) == ()
    assert DataUse.of_responder(SlipOracle()).uses(FEW_SHOT) == (FITTED,)
    other = SlipOracle(rates=SlipRates(0.5, 0.5, 0.5))
    assert DataUse.of_responder(other).uses(FEW_SHOT) == ()
    assert DataUse.of_responder(SlipOracle()).uses(FEW_SHOT, is_imported=True) == ()
    assert HUMAN_RATES in CANDIDATE_RATES


def test_the_model_of_save_best_was_chosen_by_its_validation_data() -> None:
    best = {"val_loss": 0.5, "best_val_loss": 0.5}
    fold = EPISODE_TYPES["open_end_human_cross1"]
    assert DataUse.of_network(fold.name, best, {}).uses(fold) == (CHOSEN,)
    last = best | {"val_loss": 0.6}
    assert DataUse.of_network(fold.name, last, {}).uses(fold) == ()


def test_cards_of_pretrained_models_say_what_they_were_chosen_by() -> None:
    cards = {path.stem: upgrade_card(read_card(path)["card"]) for path in list_pretrained()}
    for name in {"net-BIML-top", "net-BIML-biases-top", "net-BIML-joint-top"} & cards.keys():
        assert {"few_shot", "few_shot_gold", "validation"} <= {*cards[name]["chosen_by"]}


@pytest.mark.published_data
def test_a_warning_where_the_participants_are_in_the_training_data(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(tmp_path / "net.pt", checkpoint_of(small_network(), "open_end_human_all"))
    command = ["eval", "--dir_model", str(tmp_path), "--fn_out_model", "net.pt", "--ll", "--max"]
    command += ["--data_dir", str(shared), "--episodes", "2", "--episode_type"]
    assert (
        main([*command, "open_end_human_cross1", "--fit_lapse", "--json", str(tmp_path / "a.json")])
        == 0
    )
    output = capsys.readouterr()
    assert "warning" in output.err
    assert "trained on these data" in output.err
    assert "architecture paper" in output.out.splitlines()[0]
    assert "people's answers in the open-ended task" in output.out.splitlines()[1]
    scores = [line for line in output.out.splitlines() if line.startswith("Log-likelihood")]
    assert scores
    assert all("†" in score for score in scores)
    assert re.search(r"^Cross-validated: -\d+\.\d+† ", output.out, re.MULTILINE)
    assert "Agreement with human responses" in output.out
    assert "Accuracy" not in output.out
    found = json.loads((tmp_path / "a.json").read_bytes())
    assert found["trained_on"] == ["open_end_human_all"]
    assert found["uses_of_these_episodes"] == [TRAINED]
    assert main([*command, "few_shot_human"]) == 0
    output = capsys.readouterr()
    assert "†" not in output.out
    assert output.err == ""


@pytest.mark.published_data
def test_evaluations_of_the_library_say_it_too(shared: Path) -> None:
    found = biml.evaluate("oracle", "few_shot_human", repeats=1, data_dir=shared)
    assert found.uses == ()
    assert found.agreement
    assert found.fitted.cross_validated <= found.fitted.mean
    table = found.table().set_index("measure")
    assert table.loc["cross_validated", "value"] == found.fitted.cross_validated
    assert "agreement_novel" in table.index
    assert biml.load("oracle-slips").data_use.fitted_to == ("few_shot",)


@pytest.mark.published_data
def test_rates_fitted_to_the_other_half_explain_people_less_well(shared: Path) -> None:
    human = episode_type("few_shot_human").open_evaluation(DataFolders(shared), 0)
    scored = score_responses(Oracle(), human)
    fit = fit_lapse(token_scores(scored), FINE_LAPSE_GRID)
    assert fit.p_lapse == 0.13
    value, error = cross_validate([scored], FINE_LAPSE_GRID)
    assert fit.mean - 10 < value < fit.mean
    assert 0 < error < 100


def test_halves_have_half_of_the_responses_of_each_item() -> None:
    # Fit k explains response k alone: each is held out from the half that knows it.
    values = np.where(np.eye(8) > 0, 0.0, -1.0)
    items = ["a"] * 4 + ["b"] * 4
    assert held_out(values, [""] * 8, items).sum() == pytest.approx(-8)
    # A fit to either half of each item is the same; a fit to an item would be another.
    by_item = np.array([[0.0] * 4 + [-3.0] * 4, [-2.0] * 8])
    assert held_out(by_item, [""] * 8, items).sum() == pytest.approx(-12)


def test_halves_are_of_participants_where_they_are_known() -> None:
    values = np.array([[0.0, 0.0, -9.0, -9.0], [-9.0, -9.0, 0.0, 0.0]])
    assert held_out(values, ["p", "p", "q", "q"], ["a", "b", "a", "b"]).sum() == -36
    assert np.isnan(held_out(values[:, :1], [""], ["a"])).all()


@pytest.mark.parametrize("kind", ["bool", "boolean", "object"])
def test_statistics_of_held_out_participants_have_no_mark(kind: str) -> None:
    """Tables from a cache have other types than computed ones."""
    rows = [
        {"model": name, "task": "open_ended", "fold": "all", "log_likelihood": -200.0}
        | {"standard_error": 9.0, "cross_validated": -201.0, "within_sample": within}
        for name, within in (("folds", False), ("all", True))
    ]
    table = pd.DataFrame(rows).astype({"within_sample": kind})
    models = {"folds": "MLC (open-ended)", "all": "MLC (open-ended)"}
    found = compare_with_published(
        {"likelihoods": table}, models, ["table1"], uses=lambda model, task: (TRAINED,)
    ).set_index("model")
    assert found["uses"].to_dict() == {"folds": "", "all": TRAINED}
    assert found.loc["all", "cross_validated"] == -201


def test_statistics_of_too_few_samples_are_marked_and_p_values_have_no_difference() -> None:
    rows = [("wide", -0.4, 0.9), ("narrow", 0.2, 0.9), ("constant", np.nan, np.nan)]
    table = pd.DataFrame(
        [{"model": m, "r": 0.5, "p": 0.2, "low": low, "high": high} for m, low, high in rows]
    )
    models = {name: "MLC" for name, _, _ in rows}
    found = compare_with_published({"item_correlation": table}, models, ["few-shot"])
    by_statistic = {name: of.set_index("model") for name, of in found.groupby("statistic")}
    for of in by_statistic.values():
        assert of["uncertain"].to_dict() == {"wide": True, "narrow": False, "constant": True}
    assert by_statistic["item correlation, permutation p"]["difference"].isna().all()
    assert by_statistic["item correlation r"]["difference"].notna().all()
