"""Language models as responders: prompts, parsed answers, log-probabilities, lapses, the log."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import gold_episode
from biml.episodes.transforms import remap
from biml.errors import BimlError, FormatError, UsageError
from biml.evaluation.accuracy import sample_autoregressively
from biml.llm.log import AnswerLog, read_log
from biml.llm.prompts import TEMPLATES, open_template
from biml.llm.responder import LanguageModel
from fakes.language_model import FakeBackend, shown_pairs

HALF = math.log(0.5)
STUDY = (Example(("dax",), ("RED",)), Example(("wif",), ("BLUE",)))


def example(inputs: str, outputs: str = "") -> Example:
    return Example(tuple(inputs.split()), tuple(outputs.split()))


def model(template: str = "plain", path: Path | None = None, **options: object) -> LanguageModel:
    return LanguageModel(FakeBackend(**options), open_template(template), AnswerLog(path))


EPISODE = Episode(STUDY, (example("wif dax", "BLUE RED"), example("dax dax", "RED GREEN")))


@pytest.mark.parametrize("template", ["plain", "chat"])
def test_queries_are_answered_in_symbols(template: str) -> None:
    assert model(template).respond([EPISODE]) == [[("BLUE", "RED"), ("RED", "RED")]]


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_shows_examples_query_symbols_and_pool(template: str) -> None:
    found = open_template(template).render(STUDY, ("wif", "wif"), ("A", "B"), ("B",))
    for text in ("dax -> RED", "wif -> BLUE", "wif wif", "A, B", " B."):
        assert text in found.text + "."
    assert len({open_template(name).digest for name in TEMPLATES}) == len(TEMPLATES)


def test_answers_that_are_no_responses_are_kept_and_counted(tmp_path: Path) -> None:
    responder = model(path=tmp_path / "log.jsonl", answer=lambda *_: "I think it is RED")
    assert responder.respond([EPISODE], max_length=3) == [[("no_symbol",) * 3] * 2]
    records = read_log(tmp_path / "log.jsonl")
    assert [one.error for one in records] == ["unknown symbol"] * 2
    assert [one.correct for one in records] == [False, False]


def test_a_long_answer_is_cut(tmp_path: Path) -> None:
    responder = model(path=tmp_path / "log.jsonl", answer=lambda *_: "RED " * 10_000)
    assert responder.respond([EPISODE]) == [[("RED",) * 10] * 2]
    (record, _) = read_log(tmp_path / "log.jsonl")
    assert record.error == "too long"
    assert len(record.answer) <= 20_000


def test_log_probabilities_are_by_symbol_and_end() -> None:
    ((first, second),) = model().log_prob([EPISODE])
    assert first.tolist() == [4 * HALF, 3 * HALF, HALF]
    assert second.tolist() == [3 * HALF, 5 * HALF, HALF]


def test_symbols_outside_the_pool_are_impossible() -> None:
    ((first, _),) = model().log_prob([replace(EPISODE, pool=("BLUE", "GREEN"))])
    assert first.tolist() == [4 * HALF, -math.inf, HALF]


def test_normalised_probabilities_are_those_among_the_possible_answers() -> None:
    queries = (example("wif", "RED"), example("wif", "BLUE"), example("wif", "BLUE BLUE"))
    responder = replace(model(), normalise=True)
    (found,) = responder.log_prob([Episode(STUDY, queries)])
    shares = [math.exp(one.sum()) for one in found]
    weights = [2.0**-3, 2.0**-4, 2.0**-8]
    assert shares == pytest.approx([w / sum(weights) for w in weights])
    assert [len(one) for one in found] == [2, 2, 3]


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    def results(responder: LanguageModel) -> list[object]:
        log_probs = responder.log_prob([EPISODE])
        return [
            responder.respond([EPISODE]),
            responder.sample([EPISODE], seed=1, n=3, p_lapse=0.3),
            [[one.tolist() for one in of_it] for of_it in log_probs],
        ]

    path = tmp_path / "log.jsonl"
    first, second = model(path=path), model(path=path)
    found = results(first)
    size = path.stat().st_size
    assert first.backend.asked
    second = model(path=path)
    assert results(second) == found
    assert second.backend.asked == []
    assert path.stat().st_size == size


def test_a_failure_keeps_the_answers_before_it(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with pytest.raises(BimlError, match=rf"fails.* 1 answers.*{path}"):
        model(path=path, fails_after=1).respond([EPISODE])
    again = model(path=path)
    again.respond([EPISODE])
    assert len(again.backend.asked) == 1


def test_a_model_that_answers_nothing_is_left_after_some_questions(tmp_path: Path) -> None:
    responder = model(path=tmp_path / "log.jsonl", answer=lambda *_: None)
    episodes = [Episode(STUDY, (example("dax " * n, "RED"),)) for n in range(1, 100)]
    with pytest.raises(BimlError, match=r"fake.*20 questions"):
        responder.respond(episodes)
    assert len(responder.backend.asked) == 20


def test_samples_differ_by_seed_and_number_and_are_reproducible() -> None:
    def sampled(seed: int) -> list[list[list[tuple[str, ...]]]]:
        return model().sample([EPISODE], seed=seed, n=20)

    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)
    assert len(set(sampled(1)[0][0])) > 1
    twice = model().sample([EPISODE, EPISODE], seed=1, n=10)
    assert twice[0][0] + twice[1][0] == sampled(1)[0][0]


def test_a_lapse_is_any_symbol_or_the_end_and_the_model_goes_on_from_it() -> None:
    responder = model(answer=lambda text, _: "RED RED")
    episode = replace(EPISODE, queries=EPISODE.queries[:1])
    ((given,),) = responder.sample([episode], seed=3, n=600, p_lapse=0.5)
    first = [response[:1] for response in given]
    # 0.5 + 0.5 / 7 of the model's own symbol, 0.5 / 7 of each other and of the end.
    assert first.count(("RED",)) / 600 == pytest.approx(0.571, abs=0.06)
    assert first.count(("BLUE",)) / 600 == pytest.approx(0.071, abs=0.035)
    assert first.count(()) / 600 == pytest.approx(0.071, abs=0.035)
    prefixes = {request.prefix for request in responder.backend.asked}
    assert {"", " BLUE", " RED GREEN"} <= prefixes


def test_all_samples_are_lapses_where_the_rate_is_one() -> None:
    episode = replace(EPISODE, queries=EPISODE.queries[:1], pool=("PINK",))
    ((given,),) = model().sample([episode], seed=0, n=200, max_length=4, p_lapse=1.0)
    assert {symbol for response in given for symbol in response} == {"PINK"}
    assert given.count(()) / 200 == pytest.approx(0.5, abs=0.1)


def test_a_reasoning_template_scores_answers_behind_the_reasoning() -> None:
    responder = model("rules-first", answer=lambda *_: "dax is RED.\nAnswer: BLUE RED")
    assert responder.respond([EPISODE])[0][0] == ("BLUE", "RED")
    ((first, _),) = responder.log_prob([EPISODE])
    assert first.tolist() == [4 * HALF, 3 * HALF, HALF]
    scored = [one for one in responder.backend.asked if hasattr(one, "pieces")]
    assert {one.prefix for one in scored} == {"dax is RED.\nAnswer:"}
    assert scored[0].pieces in ((" BLUE", " RED"), (" RED", " GREEN"))


def test_records_have_the_original_words_and_the_right_answer(tmp_path: Path) -> None:
    from random import Random

    episode = remap(gold_episode(), Random(1))
    responder = replace(model(path=tmp_path / "log.jsonl"), task="few_shot_gold")
    responder.respond([episode])
    gold = gold_episode()
    for record, query in zip(read_log(tmp_path / "log.jsonl"), gold.queries, strict=True):
        assert record.original_query == " ".join(query.input)
        assert record.original_target == " ".join(query.output)
        assert record.query in record.prompt
        assert record.study.count("|") == len(gold.study) - 1
        assert record.correct == (record.response == record.target)
        assert record.template_hash == open_template("plain").digest


def test_people_are_not_the_right_answer(tmp_path: Path) -> None:
    gold = gold_episode()
    people = replace(gold, queries=tuple([q._replace(output=("PINK",)) for q in gold.queries]))
    responder = replace(model(path=tmp_path / "log.jsonl"), task="few_shot_human")
    responder.log_prob([people])
    assert {r.original_response for r in read_log(tmp_path / "log.jsonl")} == {"PINK"}
    assert {r.original_target for r in read_log(tmp_path / "log.jsonl")} == {
        " ".join(q.output) for q in gold.queries
    }


def test_response_sets_show_earlier_answers() -> None:
    responder = model()
    queries = (example("dax"), example("wif"), example("dax wif"))
    sample_autoregressively(responder, [Episode((), queries)], 8, seed=0)
    last = responder.backend.asked[-1].prompt.text
    assert "dax -> " in last
    assert "wif -> " in last


@pytest.mark.parametrize("answer", [None, "", "I do not know", "RED or BLUE"])
def test_answers_that_are_no_symbols_are_not_shown_again(answer: str | None) -> None:
    answers = {"wif": answer}
    responder = model(answer=lambda text, _: answers.get(shown_pairs(text)[1], "RED GREEN"))
    queries = (example("dax"), example("wif"), example("dax wif"))
    ((_, wrong, _),) = sample_autoregressively(responder, [Episode((), queries)], 8, seed=0)
    assert "no_symbol" in wrong
    assert shown_pairs(responder.backend.asked[-1].prompt.text) == ({"dax": "RED GREEN"}, "dax wif")
    assert responder.log.session[-1].study == "dax -> RED GREEN"


def test_a_model_without_log_probabilities_can_be_sampled_only() -> None:
    responder = model(no_log_probs="its server gives none")
    with pytest.raises(UsageError, match="fake: its server gives none"):
        responder.log_prob([EPISODE])
    assert responder.sample([EPISODE], seed=0)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ query }}\n\n{{ stduy }}", ("line 3", "stduy")),
        ("{{ query }}\n{% if pool %}\n{{ quary }}{% endif %}", ("line 3", "quary")),
        ("{{ query }}\n{% for e in study %}\n{{ e.inputs }}\n{% endfor %}", ("line 3", "inputs")),
        ("{{ query }}\n{% if study %}", ("line 2",)),
        ("{{ query }}\n\n{{ query / 2 }}", ("line 3",)),
        ("Translate.", ("query",)),
        ("{{ query }}\n{% set max_tokens = 'many' %}", ("max_tokens", "many")),
        ("{{ query }}\n{% set max_tokens = 0 %}", ("max_tokens", "at least 1")),
        ("{{ query }}\n{{ query.__class__.__mro__ }}", ("line 2", "unsafe")),
        ("{{ query }}\n{{ study.append(1) }}", ("line 2", "unsafe")),
        ("{% for i in range(10**9) %}x{% endfor %}{{ query }}", ("line 1", "range")),
        ("{{ query }}\n{{ [].pop() }}", ("line 2",)),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", ("line 1", "recursion")),
        ("{{ query|xmlattr }}", ("line 1",)),
        ("{{ '\\ud800' }}{{ query }}", ("surrogates",)),
    ],
)
def test_a_wrong_template_is_an_error_with_its_line(
    tmp_path: Path, source: str, words: tuple[str, ...]
) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(source)
    with pytest.raises((FormatError, UsageError)) as caught:
        open_template(str(path))
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_an_unknown_template_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="chat"):
        open_template("chatt")


def test_a_template_of_the_users_can_have_settings(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text('{% set stop = ";" %}{% set max_tokens = 5 %}{{ query }} means')
    responder = LanguageModel(FakeBackend(lambda *_: "RED"), open_template(str(path)))
    responder.sample([EPISODE], seed=0)
    responder.log_prob([EPISODE])
    assert {(r.stop, r.max_tokens) for r in responder.backend.asked[:2]} == {(";", 5)}
    assert responder.backend.asked[-1].end == ";"


def test_log_probabilities_fit_the_protocol() -> None:
    for of_it in model().log_prob([EPISODE, Episode(STUDY, ())]):
        assert all(isinstance(one, np.ndarray) for one in of_it)
