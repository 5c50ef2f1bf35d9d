"""Files of designs: the built-in ones, starting files, and everything that can be wrong."""

import os
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biml.episodes.text_format import read_episode
from biml.errors import FormatError, UsageError
from biml.experiment.design import BUILT_IN, DesignFile, built_in_path, read_design
from biml.experiment.new_design import write_design
from biml.experiment.session import Session
from biml.grammar import GOLD
from biml.grammar.meta_grammar import GOLD_QUERIES, GOLD_STUDY

FEW_SHOT = built_in_path("few-shot").read_text()

CONDITIONS = """
[[conditions]]
name = "a"
quota = 10
include = ["thrice", "combined"]

[[conditions]]
name = "b"
quota = 20
"""


def read_text_as_design(text: str, path: Path = Path("mine.toml")):
    return DesignFile(path, text).design()


def test_few_shot_is_the_published_task() -> None:
    design = read_design("few-shot")
    assert design.grammar == GOLD
    assert {" ".join(example.input) for example in design.study} == set(GOLD_STUDY)
    queries = [query.item for stage in design.stages for query in stage.test]
    assert sorted(queries) == sorted(GOLD_QUERIES)
    assert [len(stage.study) for stage in design.stages] == [6, 6, 6, 14]
    assert [len(stage.catch) for stage in design.stages] == [1, 1, 1, 2]
    assert (design.study_cycles, design.missed_catch_trials) == (3, 2)


@pytest.mark.published_data
def test_open_ended_and_probes_are_the_published_tasks() -> None:
    shared = Path(os.environ.get("BIML_SHARED", "../shared")) / "data_human"
    if not shared.is_dir():
        pytest.skip("needs BIML_SHARED")
    published = read_episode(next((shared / "open_ended_all/mock").glob("*.txt")))
    assert set(read_design("open-ended").queries) == {query.input for query in published.queries}
    trials = {stage.name: stage for stage in read_design("probes").stages}
    files = {path.stem: read_episode(path) for path in shared.glob("data_behavior_probes/val/*")}
    assert trials.keys() == files.keys()
    for name, episode in files.items():
        assert (trials[name].study, trials[name].pool) == (episode.study, episode.pool)
        assert trials[name].test[0].input == episode.queries[0].input


@pytest.mark.parametrize(
    ("old", "new", "line", "named"),
    [
        ("study_cycles = 3", "study_cycels = 3", 56, "study_cycles"),
        ('task = "few-shot"', 'task = "few_shot"', 6, "few-shot"),
        ('task = "few-shot"\n', "", None, "task"),
        ('"2 after 3 -> 3 2"', '"2 after 3 -> 2 3"', 81, "'3 2'"),
        ('"2 after 3 -> 3 2"', '"2 after 3: 3 2"', 81, "->"),
        ('"1 -> 1",', '"1 -> 1", "1 -> 1",', 77, "twice"),
        ('catch = ["2 thrice"]', 'catch = ["4 thrice"]', 125, "4 thrice"),
        ('catch = ["2 thrice"]', 'catch = ["2 after 3"]', 125, "2 after 3"),
        ('"DAX thrice"]', '"DAX twice"]', 124, "twice"),
        ('"DAX thrice"]', '"1 thrice"]', 124, "1 thrice"),
        ("u1 thrice -> [u1] [u1] [u1]", "u1 thrice -> [u2]", 70, "u2"),
        ('answer = "No"', 'answer = "Never"', 116, "Never"),
        ('exclude = "Yes"', 'exclude = "yes"', 163, "yes"),
        ('kind = "number"', 'kind = "integer"', 156, "integer"),
        ('kind = "number"', 'kind = "choice"', 153, "choices"),
        ('colours = ["RED",', 'colours = ["GREY", "RED",', 12, "GREY"),
        ('practice = ["RED BLUE"', 'practice = ["RED BLEU"', 34, "BLEU"),
        ('words = ["dax",', 'words = ["dax", "dax",', 11, "words"),
        ('"fep", "blicket", "kiki", "tufa", "gazzer"]', "]", 11, "7 words"),
        ('title = "Learning a new language"', "title = 3", 7, "title"),
        ('title = "Learning a new language"', "participants = 0", 7, "participants"),
        ('"SESSION_ID"]', '"simulated"]', 15, "simulated"),
        ("[codes]", "[code]", 94, "codes"),
        ('name = "surround"', 'name = "thrice"', 128, "thrice"),
        ('consent = "I have', 'consent = ""\n# "', None, "consent"),
        ('name = "few-shot"', "name = few-shot", None, "TOML"),
    ],
)
def test_errors_name_line_and_remedy(old: str, new: str, line: int | None, named: str) -> None:
    assert old in FEW_SHOT
    with pytest.raises(FormatError, match=named.replace("[", r"\[")) as error:
        read_text_as_design(FEW_SHOT.replace(old, new, 1))
    assert error.value.line == line


def test_a_missing_file_is_no_misspelt_experiment(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_design(tmp_path / "mine.toml")
    with pytest.raises(UsageError, match="did you mean few-shot"):
        read_design("fewshot")


def test_all_errors_of_a_file_at_once() -> None:
    text = FEW_SHOT.replace('"2 after 3 -> 3 2"', '"2 after 3 -> 2 3"')
    text = text.replace('answer = "No"', 'answer = "Never"').replace('["2 thrice"]', '["x"]')
    with pytest.raises(FormatError, match="3 errors") as error:
        read_text_as_design(text)
    assert all(f"line {line}:" in str(error.value) for line in (81, 116, 125))


def test_quotas_must_add_up_to_the_participants() -> None:
    start = FEW_SHOT.replace('task = "few-shot"', 'task = "few-shot"\nparticipants = 30')
    design = read_text_as_design(start + CONDITIONS)
    assert [condition.quota for condition in design.conditions] == [10, 20]
    for quota in (10, 30):
        with pytest.raises(FormatError, match=f"{10 + quota}, but participants is 30"):
            read_text_as_design(start + CONDITIONS.replace("quota = 20", f"quota = {quota}"))
    with pytest.raises(FormatError, match="did you mean thrice"):
        read_text_as_design(start + CONDITIONS.replace('"thrice"', '"thrise"'))


def test_a_condition_includes_some_stages() -> None:
    design = read_text_as_design(FEW_SHOT + CONDITIONS)
    session = Session(design, 1, "a")
    assert [stage.name for stage in session.design.stages] == ["thrice", "combined"]
    assert Session(design, 1, "b").design.stages == design.stages
    with pytest.raises(UsageError, match="condition"):
        Session(design, 1, "c")


@pytest.mark.parametrize("name", BUILT_IN)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_damaged_files_give_errors_by_name(name: str, seed: int) -> None:
    rng = Random(seed)
    lines = built_in_path(name).read_text().splitlines()
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        change = rng.choice(("drop", "double", "swap", "value"))
        if change == "drop":
            del lines[at]
        elif change == "double":
            lines.insert(at, lines[at])
        elif change == "swap":
            lines[at], lines[at - 1] = lines[at - 1], lines[at]
        else:
            key = lines[at].partition("=")[0]
            lines[at] = f"{key}= {rng.choice(['3', '[]', '[3]', '{}', 'true', '[[1]]'])}"
    with suppress(FormatError):
        read_text_as_design("\n".join(lines))


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_starting_file_of_each_design(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_design("my-experiment", name)
    design = read_design(path)
    assert (path, design.name, design.task) == (Path("my-experiment.toml"), "my-experiment", name)
    assert design.stages == read_design(name).stages
    with pytest.raises(UsageError, match="--overwrite"):
        write_design("my-experiment", name)
    write_design("my-experiment.toml", name, overwrite=True)


STUDY = """\
*SUPPORT*
IN: wug OUT: ■
IN: toma OUT: ●
IN: blick OUT: "
IN: wug twice OUT: ■ ■
IN: toma twice OUT: ● ●

*QUERY*
IN: blick twice OUT: " "

*GRAMMAR*
"""

RULES = """\
wug -> ■
toma -> ●
blick -> "
u1 twice -> [u1] [u1]
"""


@pytest.mark.parametrize("rules", ["", RULES])
def test_a_few_shot_design_from_a_study_file(rules: str, tmp_path: Path) -> None:
    (tmp_path / "study.txt").write_text(STUDY + rules)
    path = write_design(str(tmp_path / "mine"), str(tmp_path / "study.txt"))
    design = read_design(path)
    assert design.study == read_episode(tmp_path / "study.txt").study
    (stage,) = design.stages
    assert [(query.item, query.output) for query in stage.test] == [("blick twice", ('"', '"'))]
    assert [" ".join(example.input) for example in stage.catch] == ["wug twice", "toma twice"]
    assert "# Passes through" in path.read_text()


def test_designs_from_files_of_other_tasks(tmp_path: Path) -> None:
    (tmp_path / "open.txt").write_text(
        "*SUPPORT*\n\n*QUERY*\nIN: wug OUT: A\nIN: wug wug OUT: B\n\n*GRAMMAR*\n"
    )
    design = read_design(write_design(str(tmp_path / "open"), str(tmp_path / "open.txt")))
    assert (design.task, design.queries) == ("open-ended", (("wug",), ("wug", "wug")))
    folder = tmp_path / "trials"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.txt").write_text(
            "*SUPPORT*\nIN: p OUT: c\n\n*QUERY*\nIN: q OUT: d\n\n*GRAMMAR*\nallowed outputs:\nc d\n"
        )
    design = read_design(write_design(str(tmp_path / "probes"), str(folder)))
    assert [(stage.name, stage.pool) for stage in design.stages] == [
        ("a", ("c", "d")),
        ("b", ("c", "d")),
    ]
    with pytest.raises(UsageError, match="--from"):
        write_design(str(tmp_path / "x"), str(tmp_path / "absent.txt"))
    with pytest.raises(UsageError, match="did you mean open-ended"):
        write_design(str(tmp_path / "x"), "opne-ended")
    assert not (tmp_path / "x.toml").exists()
