"""`biml ask`, the suite `systematicity`, and what an answer is."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from biml.cli.main import main
from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import gold_episode
from biml.episodes.text_format import write_episode
from biml.errors import UsageError
from biml.evaluation.api import Model, load
from biml.evaluation.intervals import wilson_interval
from biml.evaluation.responder import Response
from biml.evaluation.strings import (
    SUITE,
    ask,
    held_out_word,
    read_strings,
    remapped,
    suite_strings,
    summarise,
)
from biml.grammar import GOLD, Grammar
from fakes.language_model import fake_server

CRITIQUE = ("2 after 3 DAX thrice", "DAX 3 thrice", "3 DAX thrice")


def words(*texts: str) -> list[tuple[str, tuple[str, ...]]]:
    return [("", tuple(text.split())) for text in texts]


def test_strings_of_the_critique_have_two_readings() -> None:
    for string in read_strings(gold_episode(), words(*CRITIQUE)):
        assert string.readings.complete
        assert [r.probability for r in string.readings.readings] == [0.625, 0.375]
        assert string.gold == GOLD.interpret(string.words)
        gold, other = (reading.output for reading in string.readings.readings)
        assert [string.classify(each) for each in (gold, other, gold[:-1])] == [
            "gold",
            "other",
            "none",
        ]


def test_gold_is_the_most_probable_reading_where_the_grammar_has_none() -> None:
    (string,) = read_strings(gold_episode(), words("DAX surround 1 surround 2"))
    assert string.gold == string.readings.readings[0].output
    assert " ".join(string.gold) == "DAX 1 DAX 2 DAX 1 DAX"


def test_outputs_that_grow_exponentially_are_no_readings() -> None:
    (string,) = read_strings(gold_episode(), words("DAX" + 60 * " thrice"), seconds=60.0)
    assert string.readings.complete
    assert string.readings.readings == ()


def test_every_string_of_the_suite_has_a_reading() -> None:
    strings = suite_strings()
    assert len(strings) == sum(map(len, SUITE.values()))
    assert all(string.readings.readings and string.readings.complete for string in strings)
    repeated = {len(s.words) for s in strings if s.kind == "repetition"}
    assert repeated == set(range(2, 9))
    longest_studied = max(len(example.input) for example in gold_episode().study)
    assert all(len(s.words) > longest_studied for s in strings if s.kind == "longer")


def test_a_systematic_learner_varies_with_nothing() -> None:
    strings = suite_strings()
    answers = ask(load("oracle"), gold_episode(), strings, 7)
    assert set(answers["answer"]) == {"gold"}
    figures = summarise(answers, ["kind"])
    assert set(figures["kind"]) == set(SUITE)
    assert (figures[["spread", "variation"]] == 0).all(axis=None)
    assert (figures[["readings", "gold", "probability"]].round(6) == 100).all(axis=None)


def test_the_main_model_answers_strings_beyond_the_published_lengths() -> None:
    """Strings of up to 12 words; with other names and colours the same kinds of answers."""
    model = load("net-BIML-top")
    assert model.data_use.uses_of_task("systematicity") == ("chosen by",)
    figures = summarise(ask(model, gold_episode(), suite_strings(), 12, seed=1), ["kind"])
    assert set(figures["kind"]) == set(SUITE)
    assert (figures["readings"] >= 97).all(), figures
    assert (figures["spread"] <= 2).all(), figures


class _ByColour:
    """Answers by the colour of the first word: right for red, else one symbol."""

    symbols = ("RED", "YELLOW", "GREEN", "BLUE", "PURPLE", "PINK")

    def respond(self, episodes: Sequence[Episode], *, max_length: int) -> list[list[Response]]:
        found = []
        for episode in episodes:
            meanings = {e.input[0]: e.output[0] for e in episode.study if len(e.input) == 1}
            answers = []
            for query in episode.queries:
                colours = tuple(meanings[word] for word in query.input)
                answers.append(colours if colours[0] == "RED" else colours[:1])
            found.append(answers)
        return found

    def log_prob(self, episodes: Sequence[Episode]) -> object:
        return [[[0.0] for _ in episode.queries] for episode in episodes]

    def sample(self, episodes: Sequence[Episode], **options: object) -> object:
        raise NotImplementedError


def test_spread_and_variation_show_an_unsystematic_learner() -> None:
    strings = read_strings(gold_episode(), words("DAX 1"))
    model = Model(_ByColour(), "", "by colour")  # type: ignore[arg-type]
    answers = ask(model, gold_episode(), strings, None)
    assert len(answers) == 54 == len(set(zip(answers["word"], answers["symbol"], strict=True)))
    assert set(answers.loc[answers["answer"] == "gold", "symbol"]) == {"RED"}
    (row,) = summarise(answers, ["query"]).to_dict("records")
    assert round(row["readings"], 1) == 16.7 == round(row["variation"], 1)
    # All remappings to a symbol are alike.
    assert row["spread"] == row["spread_low"] == row["spread_high"] == 100
    ends = row["variation_low"], row["variation_high"]
    assert ends == pytest.approx(wilson_interval(9 / 54, 54))
    random = np.random.default_rng(0).choice(["gold", "none"], 54)
    (row,) = summarise(answers.assign(answer=random), ["query"]).to_dict("records")
    assert row["spread_low"] <= row["spread"] <= row["spread_high"]
    assert 10 < row["spread_high"] - row["spread_low"] < 90
    assert row["readings_low"] < row["readings"] < row["readings_high"]


def test_a_model_without_log_probabilities_has_no_mass() -> None:
    class Silent(_ByColour):
        why_no_log_probs = "the server gives none"

        def log_prob(self, episodes: Sequence[Episode]) -> object:
            raise AssertionError

    strings = read_strings(gold_episode(), words("DAX 1"))
    model = Model(Silent(), "", "silent")  # type: ignore[arg-type]
    answers = ask(model, gold_episode(), strings, 6)
    assert summarise(answers, ["query"])["probability"].isna().all()


def test_remappings_are_the_same_for_a_seed() -> None:
    strings = read_strings(gold_episode(), words("DAX 1"))
    a, again, b = (
        list(remapped(load("oracle"), gold_episode(), strings, 6, seed)) for seed in (0, 0, 1)
    )
    assert a == again != b
    colours = [episode.remapping.symbols["DAX"] for episode in a if episode.remapping]
    assert colours == list(_ByColour.symbols)


def test_held_out_word_is_shown_alone_only() -> None:
    study = gold_episode().study
    assert held_out_word([e for e in study if e.input != ("DAX",)]) == "1"
    assert held_out_word([]) == ""


def test_words_without_study_example_are_all_named() -> None:
    with pytest.raises(UsageError, match=r"'dax 1'.*'dax'.*'2 trice'.*'trice'.*thrice"):
        read_strings(gold_episode(), words("dax 1", "2 trice"))


def test_models_that_read_no_study_examples_are_refused() -> None:
    strings = read_strings(gold_episode(), words("DAX 1"))
    with pytest.raises(UsageError, match="net-basic-seq2seq-top"):
        ask(load("net-basic-seq2seq-top", "cpu"), gold_episode(), strings)


def test_ask_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study.txt"
    grammar = Grammar.parse("wug -> A\nblick -> B\nu1 twice -> [u1] [u1]\nu1 x1 -> [u1] [x1]")
    shown = ("wug", "blick", "wug twice")
    examples = [Example(tuple(t.split()), grammar.interpret(t)) for t in shown]
    write_episode(study, Episode(tuple(examples), (), grammar=grammar))
    queries = tmp_path / "queries.txt"
    queries.write_text("# phrases\nblick wug twice\n\nblick blick  # a note\n")
    out = [str(tmp_path / f"out{suffix}") for suffix in (".json", ".csv", ".svg")]
    about = ["--study", str(study), "--queries", str(queries), "--query", "blick twice"]
    models = ["--model", "oracle", "net-BIML-top", "--remappings", "6"]
    assert main(["ask", *about, *models, "--out", *out]) == 0
    printed = capsys.readouterr().out
    assert "B A A (gold)" in printed
    assert "net-BIML-top (staged), 6 remappings" in printed
    assert "The model was trained on algebraic" in printed
    assert "The model was trained on no data" in printed
    assert printed.count("In percent, with 95% intervals.") == 1
    content = json.loads(Path(out[0]).read_text())
    assert content["models"]["net-BIML-top"]["architecture"] == "staged"
    assert content["models"]["net-BIML-top"]["chosen_by"]
    asked = [query["query"] for query in content["queries"]]
    assert asked == ["blick twice", "blick wug twice", "blick blick"]
    gold = content["queries"][1]["models"]["oracle"]
    (answer,) = gold["answers"]
    assert (answer["response"], answer["answer"], answer["n"]) == ("B A A", "gold", 6)
    assert answer["probability"] == content["queries"][1]["readings"][0]["probability"]
    assert len(gold["by_symbol"]) == 6
    assert len(pd.read_csv(out[1])) == 36
    assert Path(out[2]).read_text().startswith("<?xml")


def test_a_language_model_is_asked_with_a_prompt_and_its_cost_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    out = tmp_path / "out.json"
    with fake_server() as server:
        about = ["--query", "3 DAX thrice", "--remappings", "6", "--model", server.name]
        assert main(["ask", *about, "--prompt", "chat", "--out", str(out)]) == 0
        assert {path for path, _, _ in server.requests} == {"/v1/chat/completions"}
    printed = capsys.readouterr()
    assert "6 questions" in printed.err
    (about_model,) = json.loads(out.read_text())["models"].values()
    assert about_model["prompt"] == "chat"
    assert about_model["prompt_hash"] in printed.out


def test_gold_queries_by_which_a_model_was_chosen_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    queries = ("--query", "DAX after 1", "--query", "DAX thrice thrice")
    assert main(["ask", *queries, "--remappings", "1"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "'DAX after 1' is one of the gold queries. The model was chosen by" in printed
    assert printed.count("one of the gold queries") == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "--query"),
        (["--query", "DUX 1"], "'DUX'"),
        (["--query", "DAX " * 101], "101 words"),
        (["--query", "DAX", "--seconds", "nan"], "--seconds"),
        (["--query", " "], "--query"),
        (["--query", "DAX", "--out", "a.txt"], "a.txt"),
        (["--suite", "systematicity", "--study", "x.txt"], "--study"),
        (["--query", "DAX", "--study", "missing.txt"], "missing.txt"),
        (["--query", "DAX", "--prompt", "chat"], "--prompt"),
        (["--query", "DAX", "--model", "net-BIML-tip"], "net-BIML-tip"),
    ],
)
def test_misuse_is_named(
    options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", *options]) in (1, 2)
    assert named in capsys.readouterr().err


def test_queries_without_an_output_end_with_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["ask", "--query", "thrice thrice after", "--model", "oracle"]
    assert main(command) == 0
    assert "have no output for it" in " ".join(capsys.readouterr().out.split())
    assert main([*command, "--out", str(tmp_path / "a.png"), str(tmp_path / "a.json")]) == 2
    assert "nothing to write" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
