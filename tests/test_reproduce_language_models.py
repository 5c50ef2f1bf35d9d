"""`biml reproduce` with language models beside people, networks and symbolic models."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from biml.cli.main import main
from biml.evaluation.intervals import wilson_interval
from biml.llm.load import log_path
from biml.llm.log import AnswerLog, read_log
from biml.llm.prompts import open_template
from biml.llm.responder import LanguageModel
from biml.report.results import read_results
from biml.reproduce import experiments, language
from fakes.language_model import FakeBackend, word_by_word

SCORED, SAMPLED = "hf:models/toy", "openai:http://127.0.0.1:1/v1#chat"
WHY = "its server gives no log-probabilities"


def says(text: str, seed: int | None) -> str:
    """Translates word by word, or says now and then what is no sequence of symbols."""
    return "I do not know" if seed is not None and seed % 5 == 0 else word_by_word(text, seed)


@pytest.fixture
def backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeBackend]:
    """The models of this test by name, and small amounts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = {name: FakeBackend(says, model=name) for name in (SCORED, SAMPLED)}
    made[SAMPLED].no_log_probs = WHY

    def open_fake(name: str, *, prompt: str, normalise: bool) -> LanguageModel:
        log = AnswerLog(log_path(name, tmp_path))
        return LanguageModel(made[name], open_template(prompt), log, normalise=normalise)

    few = experiments.Workload(1, 1, 1, 1, 3, 2, 2)
    monkeypatch.setattr("biml.reproduce.run.workload", lambda quick, seed, language: few)
    monkeypatch.setattr(language, "open_language_model", open_fake)
    language._open.cache_clear()
    yield made
    language._open.cache_clear()


@pytest.mark.published_data
def test_one_command_has_people_symbolic_and_language_models(
    shared: Path, tmp_path: Path, backends, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    out = tmp_path / "out"
    command = ["reproduce", "few-shot", "open-ended", "probes", "--models", "oracle", SCORED]
    command += [SAMPLED, "--quick", "--workers", "1", "--data_dir", str(shared), "--out", str(out)]
    assert main(command) == 0
    results = read_results(out)
    assert [model.kind for model in results.models] == ["symbolic", *["language model"] * 2]
    assert [model.label for model in results.models[1:]] == ["toy", "chat"]
    assert results.models[1].data_use == "trained on unknown"

    # Every figure of a language model has an interval, as those of the others have.
    statistics = results.tables["statistics"].set_index(["statistic", "model"])
    sampled = statistics[statistics["uncertain"].fillna(False).astype(bool).eq(False)]
    of_model = sampled.xs(SCORED, level="model")
    assert len(of_model) > 5
    with_interval = of_model[~of_model.index.str.contains("permutation")]
    assert with_interval["low"].notna().all()
    assert set(results.tables["responses"]["model"]) == {"people", "oracle", SCORED, SAMPLED}
    likelihoods = results.tables["likelihoods"].set_index("model")
    assert pd.isna(likelihoods.loc[SCORED, "within_sample"])
    assert likelihoods.loc[SCORED, "standard_error"] > 0
    assert SAMPLED not in likelihoods.index

    # Questions, and what is no answer.
    questions = results.tables["language_models"].set_index(["model", "task"])
    row = questions.loc[(SCORED, "few_shot_human")]
    assert row[["family", "template", "likelihood"]].tolist() == ["fakes", "plain", "of the text"]
    assert row["template_hash"] == open_template("plain").digest
    assert row["answers"] == 217
    assert 10 < row["count"] < 100
    assert (row["low"], row["high"]) == pytest.approx(wilson_interval(row["count"] / 217, 217))
    with (out / "tables" / "language_models.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(questions)
    records = read_log(log_path(SCORED, tmp_path))
    assert {record.task for record in records} == {
        task for _, task in questions.loc[[SCORED]].index
    }

    (reason,) = {one.reason for one in results.exclusions if one.model == SAMPLED}
    assert WHY in reason
    page = (out / "index.html").read_text()
    for text in ("Questions to language models", open_template("plain").digest, "unknown", WHY):
        assert text in page
    output = capsys.readouterr()
    assert f"toy, few_shot_human: {row['questions']} questions, prompt plain" in output.out
    assert "Excluded from probes: likelihood, probes" in output.err
    for name in (SCORED, SAMPLED):
        assert name not in output.out + output.err

    # Known answers are kept in the results and, beside them, in the log.
    n_asked = len(backends[SCORED].asked)
    assert main([*command, "--out", str(tmp_path / "again")]) == 0
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    others = ["--data_dir", str(shared), "--workers", "1", "--out", str(tmp_path / "third")]
    assert main(["reproduce", "open-ended", "--models", SCORED, *others]) == 0
    assert len(backends[SCORED].asked) == n_asked
    digests = [
        json.loads((tmp_path / name / "results.json").read_text())["digests"]
        for name in ("out", "again")
    ]
    assert digests[0] == digests[1]
    asked_again = read_results(tmp_path / "third").tables["language_models"]
    first = questions.loc[SCORED].loc[asked_again["task"].tolist()]
    assert asked_again["questions"].tolist() == first["questions"].tolist()


def test_another_prompt_or_likelihood_is_another_model(backends) -> None:
    kinds = ("plain", False), ("chat", False), ("plain", True)
    sources = [language.LanguageModelSource(SCORED, *kind) for kind in kinds]
    assert len({source.identity for source in sources}) == 3
    assert len({source.name for source in sources}) == 1


def test_a_language_model_that_does_not_exist_is_a_misuse(capsys, tmp_path: Path) -> None:
    command = ["reproduce", "novel-rules", "--models", "openai:nowhere"]
    assert main([*command, "--out", str(tmp_path / "out"), "--workers", "1"]) == 2
    assert "openai:" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--prompt chat", "--normalise", "--limit 3"])
def test_options_without_a_language_model_are_a_misuse(option: str, capsys, tmp_path: Path) -> None:
    command = ["reproduce", "novel-rules", "--models", "net-BIML-top", *option.split()]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert f"{option.split()[0]} is for language models" in capsys.readouterr().err


@pytest.mark.published_data
def test_likelihoods_among_possible_answers_are_higher(
    shared: Path, tmp_path: Path, backends
) -> None:
    command = ["reproduce", "table1", "--models", SCORED, "--workers", "1"]
    command += ["--data_dir", str(shared)]
    found = []
    for number, option in enumerate(([], ["--normalise"])):
        out = tmp_path / str(number)
        assert main([*command, *option, "--out", str(out)]) == 0
        found.append(read_results(out).tables)
    likelihoods = [tables["likelihoods"]["log_likelihood"].iloc[0] for tables in found]
    assert likelihoods[0] + 100 < likelihoods[1] < 0
    stated = [tables["language_models"]["likelihood"].iloc[0] for tables in found]
    assert stated == ["of the text", "among possible answers"]


@pytest.mark.published_data
def test_a_limit_and_the_cost_are_stated_first(
    shared: Path, tmp_path: Path, backends, capsys
) -> None:
    command = ["reproduce", "few-shot", "--models", SCORED, "--workers", "1", "--limit", "1"]
    command += ["--quick", "--data_dir", str(shared), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "tokens of prompts" in one]
    assert line.startswith("toy: ")
    # One question of each kind, respond and sample, is timed before.
    assert f"{len(backends[SCORED].asked) - 2:,} questions" in line
    assert main([*command, "--limit", "0"]) == 2
