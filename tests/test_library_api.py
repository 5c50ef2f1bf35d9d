"""The library: plain Python pairs in, plain Python answers out, and nothing loaded too early."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import biml
from biml.networks import checkpoint
from evaluation_toys import small_network

STUDY = [("dax", "RED"), ("wif", "BLUE"), ("dax fep", "RED RED RED")]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> biml.Model:
    path = tmp_path / "out_models" / "toy.pt"
    checkpoint.save_checkpoint(path, checkpoint.checkpoint_of(small_network(), "algebraic"))
    monkeypatch.chdir(tmp_path)
    return biml.load("toy")


def test_importing_biml_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, biml; from biml import Grammar, Episode, generator; "
        "assert not {'torch', 'rich', 'matplotlib'} & set(sys.modules), 'loaded too early'; "
        "assert biml.GOLD.interpret(['1', 'thrice']) == ('1', '1', '1')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there() -> None:
    for name in biml.__all__:
        assert getattr(biml, name) is not None
    assert set(biml.__all__) <= set(dir(biml))
    with pytest.raises(AttributeError, match="no attribute 'teapot'"):
        biml.teapot  # noqa: B018


def test_answers_come_in_the_form_of_the_query(model: biml.Model) -> None:
    text = model.respond(STUDY, "wif fep")
    assert isinstance(text, str)
    assert model.respond(STUDY, ["wif", "fep"]) == text.split()
    assert model.respond([(w.split(), s.split()) for w, s in STUDY], "wif fep") == text
    assert model.respond_all(STUDY, ["wif fep", "dax"]) == [text, model.respond(STUDY, "dax")]
    assert len(model.respond(STUDY, "wif fep", max_length=1).split()) <= 1


def test_study_examples_matter_and_may_be_missing(model: biml.Model) -> None:
    assert isinstance(model.respond([], "dax"), str)
    assert model.log_prob([], "dax", "RED") != model.log_prob(STUDY, "dax", "RED")


def test_samples_are_drawn_anew_for_each_seed(model: biml.Model) -> None:
    answers = model.sample(STUDY, "wif fep", n=20, seed=3)
    assert len(answers) == 20
    assert len(set(answers)) > 1
    assert model.sample(STUDY, "wif fep", n=20, seed=3) == answers
    assert model.sample(STUDY, "wif fep", n=20, seed=4) != answers
    assert model.sample(STUDY, ["wif"], n=1)[0] == model.sample(STUDY, "wif")[0].split()


def test_probabilities_of_all_short_responses_add_up_to_at_most_one(model: biml.Model) -> None:
    symbols = model.vocabulary.output.symbols
    every = ["", *symbols, *(f"{a} {b}" for a in symbols for b in symbols)]
    total = sum(np.exp(model.log_prob(STUDY, "wif", response)) for response in every)
    assert 0.05 < total <= 1
    plain = model.log_prob(STUDY, "wif", "")
    assert model.log_prob(STUDY, "wif", "", p_lapse=0.3) == pytest.approx(
        np.log(0.7 * np.exp(plain) + 0.3 / 7)
    )


@pytest.mark.parametrize(
    ("study", "query", "says"),
    [
        (STUDY, "teapot", "'teapot' is not known .*dax"),
        (STUDY, "IO", "'IO' is not known"),
        ([("dax", "TEAL")], "dax", "'TEAL' is not known .*RED"),
        (STUDY, "", "at least one word"),
        (["dax RED"], "dax", "not a study example"),
        ([("dax",)], "dax", "not a study example"),
    ],
)
def test_what_the_model_does_not_know_is_said(model, study, query, says: str) -> None:
    with pytest.raises(biml.UsageError, match=says):
        model.respond(study, query)
    with pytest.raises(biml.UsageError, match=says):
        model.sample(study, query)


def test_a_missing_model_is_said_with_what_there_is(model: biml.Model, tmp_path: Path) -> None:
    with pytest.raises(biml.UsageError, match=r"no model 'other'.*there is toy\.pt.*biml train"):
        biml.load("other")
    assert biml.load(tmp_path / "out_models" / "toy.pt").name == "toy.pt"


def test_a_model_says_what_it_is(model: biml.Model) -> None:
    assert model.episode_type == "algebraic"
    assert "toy.pt" in repr(model)
    assert "gazzer" in repr(model)


@pytest.mark.published_data
def test_a_released_model_answers(shared: Path) -> None:
    model = biml.load(shared / "legacy" / "net-legacy-vanilla.pt")
    assert model.respond([], "2 surround 3") == "2 3 2"
