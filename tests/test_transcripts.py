"""Human responses as transcripts in the format of Psych-101, written and read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import biml
from biml.cli.main import main
from biml.episodes.episode import Episode, Example
from biml.episodes.registry import EPISODE_TYPES, transcripts_type
from biml.episodes.transcripts import read_transcripts, transcripts_of_episodes
from biml.errors import FormatError, UsageError
from biml.evaluation.symbolic import Oracle
from biml.experiment.design import read_design
from biml.experiment.export import export
from biml.experiment.simulate import simulate
from biml.experiment.store import Store
from biml.human.readers import read_response_table
from biml.paths import DataFolders
from biml.vocabulary import UNDEFINED

STUDY = "'dax' stands for RED.\n'wif' stands for BLUE.\n'dax fep' stands for RED RED RED.\n"
RESPONSE = "For 'wif fep' you put together <<BLUE BLUE BLUE>>."
SHEET = "The phrases are: 'dax', 'dax wif'.\nFor 'dax' you put together <<RED>>."


def write(path: Path, *lines: object) -> Path:
    rows = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{row}\n" for row in rows), "utf-8")
    return path


def text(*parts: str, **keys: object) -> dict[str, object]:
    return {"text": "\n".join(parts), "experiment": "e", "participant": "p1", **keys}


TYPES = {
    "few-shot": "few_shot_human",
    "open-ended": "open_end_human_all",
    "probes": "probe_human",
}


@pytest.mark.published_data
@pytest.mark.parametrize("task", TYPES)
def test_exported_data_are_read_as_they_were(task: str, shared: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    assert main(["data", "export", task, "--out", str(file), "--data_dir", str(shared)]) == 0
    before = EPISODE_TYPES[TYPES[task]].open_evaluation(DataFolders(shared), 0)
    row = transcripts_type(file)
    after = row.open_evaluation(DataFolders(), 0)
    assert row.name == TYPES[task]
    assert [(e.study, e.queries, e.pool) for e in after.episodes] == [
        (e.study, e.queries, e.pool) for e in before.episodes
    ]
    assert not after.is_imported
    assert after.autoregressive == before.autoregressive
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert not any(word in line["text"] for line in lines for word in ("DAX", "thrice", "color:"))
    assert sum(line["text"].count("<<") for line in lines) == sum(
        len(episode.queries) for episode in before.episodes
    )
    assert main(["data", "export", task, "--out", str(file), "--data_dir", str(shared)]) == 2


@pytest.mark.published_data
@pytest.mark.parametrize("model", ["oracle", "net-BIML-top", "net-basic-seq2seq-top"])
def test_a_model_scores_transcripts_as_it_scores_the_data(
    model: str, shared: Path, tmp_path: Path
) -> None:
    results: list[dict[str, float]] = []
    for options in (
        ["--transcripts", str(tmp_path / "few-shot.jsonl")],
        ["--data_dir", str(shared), "--episode_type"]
        + (["human_vanilla"] if "seq2seq" in model else ["few_shot_human"]),
    ):
        if not results:
            main(["data", "export", "few-shot", "--out", options[1], "--data_dir", str(shared)])
        out = tmp_path / "result.json"
        common = ["--fn_out_model", model, "--ll", "--ll_p_lapse", "0.03", "--json", str(out)]
        common += ["--episodes", "2"]
        assert main(["eval", *common, *options]) == 0
        results.append(json.loads(out.read_text()))
    assert results[0] == results[1]
    assert results[0]["loglike"] < 0


@pytest.mark.published_data
def test_a_part_of_the_published_responses_is_marked(shared: Path, tmp_path: Path, capsys) -> None:
    file, out = tmp_path / "some.jsonl", tmp_path / "result.json"
    main(["data", "export", "few-shot", "--out", str(file), "--data_dir", str(shared)])
    some = file.read_text("utf-8").splitlines(keepends=True)[:20]
    file.write_text("".join(some), "utf-8")
    scoring = ["eval", "--fn_out_model", "net-BIML-top", "--ll", "--ll_p_lapse", "0.03"]
    assert main([*scoring, "--transcripts", str(file), "--json", str(out)]) == 0
    assert "not a test of generalisation" in capsys.readouterr().out
    assert "fitted to" in json.loads(out.read_text())["uses_of_these_episodes"]
    file.write_text("".join(some).replace("(2023)", "(2024)"), "utf-8")
    assert main([*scoring, "--transcripts", str(file), "--json", str(out)]) == 0
    assert not json.loads(out.read_text())["uses_of_these_episodes"]


@pytest.mark.parametrize(
    ("name", "task"), [("few-shot", "few_shot"), ("open-ended", "open_ended"), ("probes", "probes")]
)
def test_sessions_of_an_experiment_are_read_as_its_exported_table(
    name: str, task: str, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "x.db", read_design(name))
    simulate(
        store,
        Oracle() if name == "few-shot" else biml.symbolic("biases"),
        "some",
        2,
        p_lapse=0.2,
        seed=1,
    )
    export(store, tmp_path / "out", exclusions="mark")
    found = read_transcripts(tmp_path / "out/psych101.jsonl")
    study = tmp_path / "out" / ("study" if task == "probes" else "study.txt")
    table = read_response_table(tmp_path / "out/responses.csv", study)
    assert found.task == table.task == task
    assert sorted(q for e in found.episodes for q in e.queries) == sorted(table.responses)
    presented = {frozenset(e.study) for e in table.episodes}
    for episode in found.episodes:  # early stages have fewer study examples
        assert any(study.issuperset(episode.study) for study in presented)
    assert (found.n_unscored > 0) == (task == "few_shot")


def test_transcripts_without_the_keys_of_biml_are_read(tmp_path: Path) -> None:
    covered = STUDY.replace("RED RED RED", "(covered)")
    line = text(
        "Welcome. 'Quoted' words are free text.",
        covered + "For 'dax fep' you put together <<RED>>.",
        "That was not right. 'dax fep' stands for RED RED RED.",
        STUDY + RESPONSE,
        "For 'wif dax' you put together <<BLUE RED>>.",
    )
    found = read_transcripts(write(tmp_path / "a.jsonl", line, "", line | {"participant": 7}))
    assert found.n_unscored == 2
    assert [(len(e.study), [q.item for q in e.queries]) for e in found.episodes] == [
        (3, ["wif fep", "wif fep"]),
        (3, ["wif dax", "wif dax"]),
    ]
    assert [q.participant for q in found.episodes[0].queries] == ["p1", "7"]


def test_items_with_other_study_examples_are_numbered(tmp_path: Path) -> None:
    other = STUDY.replace("BLUE", "GREEN")
    found = read_transcripts(
        write(tmp_path / "a.jsonl", text(STUDY + RESPONSE, "", other + RESPONSE))
    )
    assert [e.queries[0].item for e in found.episodes] == ["wif fep", "wif fep (2)"]


def test_names_of_the_data_replace_those_of_the_text(tmp_path: Path) -> None:
    names = [
        {
            "first_response": 0,
            "words": [["dax", "DAX"], ["wif", "1"], ["fep", "thrice"]],
            "symbols": [["RED", "R"], ["BLUE", "B"]],
        }
    ]
    line = text(STUDY + "For 'wif fep' you put together <<BLUE PINK>>.", names=names, items=["i"])
    (episode,) = read_transcripts(write(tmp_path / "a.jsonl", line)).episodes
    assert episode.study[2] == Example(("DAX", "thrice"), ("R", "R", "R"))
    assert episode.queries == (
        Example(("1", "thrice"), ("B", UNDEFINED), item="i", participant="p1"),
    )


def test_each_language_of_a_participant_has_its_names_and_grammar(tmp_path: Path) -> None:
    small = Episode(
        (Example(("a",), ("A",)),),
        (Example(("a", "b"), ("A", "B"), item="1", participant="p"),),
        biml.Grammar.parse("a -> A\nb -> B\nx1 x2 -> [x1] [x2]"),
    )
    words = [f"w{n}" for n in range(12)]
    large = Episode(
        tuple(Example((word,), ("■",)) for word in words),
        (Example(("w0", "w1"), ("■", "■"), item="2", participant="p"),),
    )
    episodes = [small, large, replace(small, queries=(small.queries[0]._replace(item="3"),))]
    (line,) = transcripts_of_episodes(episodes, "few_shot", experiment="x")
    assert [names["first_response"] for names in line["names"]] == [0, 1, 2]
    found = read_transcripts(write(tmp_path / "a.jsonl", line)).episodes
    assert [(e.study, e.queries, e.grammar) for e in found] == [
        (e.study, e.queries, e.grammar) for e in episodes
    ]


def test_a_large_language_keeps_its_words() -> None:
    words = [f"w{n}" for n in range(12)]
    study = tuple(Example((word,), ("■",)) for word in words)
    episode = Episode(study, (Example((words[0], words[1]), ("■", "■")),))
    (line,) = transcripts_of_episodes([episode], "few_shot", experiment="x")
    assert "'w11' stands for ■." in line["text"]
    assert line["names"] == []


WRONG = {
    "not JSON": "{",
    "no object": [1],
    "a key of another kind": {"text": 3},
    "items of another kind": text(STUDY + RESPONSE, items=[3]),
    "malformed names": text(
        STUDY + RESPONSE, names=[{"first_response": 0, "words": [["a"]], "symbols": []}]
    ),
    "no response": text("Hello"),
    "no study examples": text(RESPONSE),
    "another sentence": text(STUDY + "You press <<J>>."),
    "an open mark": text(STUDY + "You press <<J."),
    "an empty response": text(STUDY + "For 'wif fep' you put together <<>>."),
    "a phrase that is not listed": text(SHEET, "For 'lug' you put together <<RED>>."),
    "an output that is not allowed": text(STUDY + "You can use: RED.\n" + RESPONSE),
    "too few items": text(STUDY + RESPONSE, RESPONSE, items=["a"]),
    "a word without a name": text(
        STUDY + RESPONSE, names=[{"first_response": 0, "words": [["dax", "d"]], "symbols": []}]
    ),
    "nesting": "[" * 100_000,
    "half of a surrogate pair": text(STUDY + RESPONSE, participant="\ud800"),
    "a name that stands for two words": text(
        STUDY + RESPONSE,
        names=[{"first_response": 0, "words": [["dax", "a"], ["dax", "b"]], "symbols": []}],
    ),
    "two names of one symbol": text(
        STUDY + RESPONSE,
        names=[{"first_response": 0, "words": [], "symbols": [["RED", "A"], ["BLUE", "A"]]}],
    ),
    "a wrong grammar": text(
        STUDY + RESPONSE,
        names=[{"first_response": 0, "words": [], "symbols": [], "grammar": "dax RED"}],
    ),
}


def test_a_line_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    twice = text(STUDY + RESPONSE, RESPONSE, participant="anna")
    other = text(STUDY + RESPONSE, RESPONSE, participant="otto")
    path = write(tmp_path / "twice.jsonl", twice, other, twice)
    with pytest.raises(FormatError, match="line 3: line 1 again"):
        read_transcripts(path)
    anonymous = text(STUDY + RESPONSE, RESPONSE, participant=None)
    assert read_transcripts(write(path, anonymous, anonymous)).episodes


def test_all_that_does_not_parse_is_listed_by_line(tmp_path: Path) -> None:
    path = write(tmp_path / "wrong.jsonl", text(STUDY + RESPONSE), *WRONG.values())
    with pytest.raises(FormatError) as error:
        read_transcripts(path)
    message = str(error.value)
    assert [n for n in range(1, len(WRONG) + 2) if f"{path}, line {n}: " not in message] == [1]
    assert "line 4 of its text" in message


@pytest.mark.parametrize("name", WRONG)
def test_each_problem_is_an_error_of_its_own(name: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="line 1: "):
        read_transcripts(write(tmp_path / "wrong.jsonl", WRONG[name]))


def test_a_file_is_of_one_task(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", text(STUDY + RESPONSE), text(SHEET))
    with pytest.raises(FormatError, match=r"line 2: .*line 1"):
        read_transcripts(path)


def test_a_file_without_a_scored_response_is_an_error(tmp_path: Path) -> None:
    covered = STUDY.replace("RED RED RED", "(covered)")
    practice = text(covered, "For 'dax fep' you put together <<RED>>.")
    for lines in ([], [practice]):
        with pytest.raises(FormatError, match=r"a\.jsonl"):
            read_transcripts(write(tmp_path / "a.jsonl", *lines))


def test_likelihoods_of_transcripts_from_python(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", text(STUDY + RESPONSE), text(STUDY + RESPONSE))
    found = biml.evaluate("net-BIML-top", transcripts=path, repeats=2, device="cpu")
    assert found.episode_type == "few_shot_human"
    assert -1 < found.likelihood.mean < 0
    assert found.novel is not None
    assert found.novel.mean == 100
    with pytest.raises(UsageError, match="transcripts"):
        biml.evaluate("net-BIML-top", "few_shot_human", transcripts=path)


def test_a_model_of_another_vocabulary_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.jsonl", text(STUDY + RESPONSE))
    options = ["--ll", "--transcripts", str(path)]
    assert main(["eval", "--fn_out_model", "net-SCAN-simple", *options]) == 2
    assert str(path) in capsys.readouterr().err
    assert main(["eval", "--fn_out_model", "oracle", "--episode_type", "algebraic", *options]) == 2
    assert "--transcripts" in capsys.readouterr().err
