"""Corpora described by a TOML file: reading, training, evaluation, and every kind of bad input."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

import biml
from biml.cli.main import main
from biml.episodes.corpus import Corpus, CorpusDataset
from biml.episodes.corpus_file import register_corpus
from biml.episodes.registry import EPISODE_TYPES
from biml.errors import FormatError, UsageError
from biml.paths import DataFolders

VERBS = {"walk": "WALK", "jump": "JUMP", "lift": "LIFT"}
TRAIN = [f"{v}\t{a}" for v, a in VERBS.items()]
TRAIN += [
    f"{v} {way}\t{way.upper()} {a}"
    for (v, a), way in product(VERBS.items(), ("left", "right"))
    if v != "lift"
]
TESTS = {
    "new.tsv": ["IN: lift left OUT: LEFT LIFT", "IN: lift right OUT: RIGHT LIFT"],
    "long.tsv": ["walk left left\tLEFT LEFT WALK\tdoubled", "", "jump left left\tLEFT LEFT JUMP"],
}
TOML = """
train = "train.tsv"
n_study = 3
shown_words = "verbs.txt"

[tests]
new = "new.tsv"
long = "long.tsv"

[[permute]]
words = "verbs.txt"
symbols = ["WALK", "JUMP", "LIFT"]

[[permute]]
words = ["left", "right"]
symbols = ["LEFT", "RIGHT"]
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the files of a corpus, with changes, and returns its TOML file."""
    monkeypatch.chdir(tmp_path)

    def written(toml: str = TOML, **changes: list[str]) -> Path:
        files = {"train.tsv": TRAIN, "verbs.txt": list(VERBS)} | TESTS
        files |= {name.replace("_", "."): lines for name, lines in changes.items()}
        for name, lines in files.items():
            (tmp_path / name).write_text("\n".join(lines) + "\n", "utf-8")
        (tmp_path / "robot.toml").write_text(toml, "utf-8")
        return tmp_path / "robot.toml"

    return written


def corpus_of(path: Path) -> Corpus:
    dataset = register_corpus(path).open_training(DataFolders(path.parent, ()), 0)
    assert isinstance(dataset, CorpusDataset)
    return dataset.corpus


def problems(path: Path, **options: bool) -> list[str]:
    with pytest.raises(FormatError) as caught:
        register_corpus(path, **options)
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def test_a_corpus_file_makes_an_episode_type(write: Write) -> None:
    path = write()
    row = register_corpus(path)
    assert EPISODE_TYPES["robot"] is row
    assert (row.max_input, row.max_output) == (3, 3)
    corpus = corpus_of(path)
    assert len(corpus.train) == len(TRAIN)
    assert corpus.shown_words == set(VERBS)
    assert corpus.word_groups == (("walk", "jump", "lift"), ("left", "right"))
    assert corpus.symbol_groups == (("WALK", "JUMP", "LIFT"), ("LEFT", "RIGHT"))
    items = [query.item for query in corpus.all_tests]
    assert items == ["new", "new", "doubled", "long"]
    for episode in row.open_evaluation(DataFolders(path.parent, ()), 0).repeat(0):
        shown = {word for example in episode.study for word in example.input}
        assert set(episode.queries[0].input) & set(VERBS) <= shown
        assert len(episode.study) == 3


def test_every_key_has_an_effect(write: Write) -> None:
    keys = """
    name = "mine"
    summary = "robot commands"
    given = ["lift", "walk left"]
    given_in_training = false
    p_permute = 0
    n_study_queries = 2
    max_input = 3
    max_output = 4
    """
    path = write(keys + TOML)
    assert register_corpus(path).name == "mine"
    assert EPISODE_TYPES["mine"].summary == "robot commands"
    corpus = corpus_of(path)
    assert [" ".join(pair.input) for pair in corpus.given] == ["lift", "walk left"]
    assert (corpus.given_in_training, corpus.p_permute, corpus.n_study_queries) == (False, 0, 2)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train_tsv": ["walk", *TRAIN, "jump\t"]}, ["train.tsv, line 1:", "train.tsv, line 9:"]),
        ({"new_tsv": ["lift up\tLIFT UP"]}, ["new.tsv, line 1:", "word up", "symbol UP"]),
        ({"new_tsv": ["walk\tWALK"]}, ["new.tsv:", "1 of 1", "'walk' (line 1)", "--allow_overlap"]),
        ({"verbs_txt": ["walk", "jump"]}, ["robot.toml, line 10:", "2 words, but 3 symbols"]),
        ({"verbs_txt": ["walk", "walk", "left"]}, ["line 10:", "words walk left"]),
        ({"train_tsv": TRAIN[:3]}, ["robot.toml, line 3:", "3 study examples", "2 other"]),
    ],
)
def test_wrong_files_of_a_corpus(
    write: Write, changes: dict[str, list[str]], expected: list[str]
) -> None:
    found = "\n".join(problems(write(**changes)))
    assert [text for text in expected if text not in found] == []
    assert "robot" not in EPISODE_TYPES


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("n_study", "n_stud", "line 3: unknown key n_stud; did you mean n_study?"),
        ("n_study = 3", "n_study = true", "line 3: n_study is True"),
        ("n_study = 3", "n_study = -1", "line 3: n_study is -1"),
        ("n_study = 3", "p_permute = 1.5", "line 3: p_permute is 1.5"),
        ("n_study = 3", "max_output = 2", "long.tsv, line 1: 3 symbols"),
        ("n_study = 3", "max_input = 1", "train.tsv, line 4: 2 words"),
        ("n_study = 3", 'given = ["jump up"]', "line 3: no training pair has the input 'jump up'"),
        (
            "verbs.txt",
            "absent.txt",
            "there is no word list absent.txt; correct its name (also on line 4)",
        ),
        ("new.tsv", "absent.tsv", "line 7: there is no file"),
        ('"new.tsv"', "1", "line 7: new = 1"),
        ("new =", "train =", "line 2: train = 'new.tsv'"),
        ('["LEFT", "RIGHT"]', "[1]", "line 16: symbols must be a list"),
        ("[[permute]]\nwords", "[[permute]]\nword", "line 10: write [[permute]]"),
        ("train =", "train", "not a corpus file in TOML"),
        ('train = "train.tsv"', "", "train is missing"),
        ("[tests]\nnew", "[test]\nnew", "line 6: unknown key test; did you mean tests?"),
    ],
)
def test_wrong_keys_of_a_corpus_file(write: Write, old: str, new: str, expected: str) -> None:
    assert old in TOML
    assert expected in "\n".join(problems(write(TOML.replace(old, new))))


def test_all_errors_are_listed_at_once(write: Write) -> None:
    toml = TOML.replace("n_study = 3", 'n_study = 99\ngiven = ["fly"]')
    found = problems(write(toml, new_tsv=["walk\tWALK", "fly\tFLY", "jump"]))
    assert found[0].endswith("errors:")
    assert [line.strip().split(": ")[0] for line in found[1:]] == [
        *("new.tsv, line 3", "robot.toml, line 4", "robot.toml, line 3"),
        *("new.tsv, line 2", "new.tsv, line 2", "new.tsv"),
    ]


def test_a_word_that_no_study_example_can_show_is_an_error(write: Write) -> None:
    path = write(new_tsv=["lift\tLIFT"])
    found = problems(path, allow_overlap=True)
    assert found == [
        "new.tsv, line 1: no other training pair can show the word lift; add one, or remove this "
        "line"
    ]


def test_overlap_can_be_allowed(write: Write) -> None:
    path = write(new_tsv=["walk\tWALK"])
    assert main(["train", "--corpus", str(path), "--fn_out_model", "net.pt"]) == 1
    assert not list(path.parent.glob("out_models*"))
    row = register_corpus(path, allow_overlap=True)
    for episode in row.open_evaluation(DataFolders(path.parent, ()), 0).repeat(0):
        assert episode.queries[0].input not in {example.input for example in episode.study}


def test_a_score_on_training_inputs_is_marked(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write(new_tsv=["walk\tWALK", "lift left\tLEFT LIFT"])
    training = (*SIZE, "--nsteps", "1", "--batch_size", "2", "--fn_out_model", "net.pt")
    assert main(["train", "--corpus", "robot.toml", "--allow_overlap", *training]) == 0
    for given in ((), ("--corpus", "robot.toml", "--allow_overlap")):
        capsys.readouterr()
        assert main(["eval", "--fn_out_model", "net.pt", "--max", "--json", "r.json", *given]) == 0
        printed = capsys.readouterr().out
        assert "1 of 4 test inputs are trained on" in printed
        assert "The model was trained on these data" in printed
        assert json.loads(Path("r.json").read_text())["uses_of_these_episodes"] == ["trained on"]
        del EPISODE_TYPES["robot"]


def test_a_name_that_is_taken_is_an_error(write: Write) -> None:
    with pytest.raises(UsageError, match=r"'algebraic' already \(built in\)"):
        register_corpus(write('name = "algebraic"\n' + TOML))
    assert register_corpus(write()) is not register_corpus(write())  # its own may be replaced
    other = write().rename("other.toml")
    other.write_text('name = "robot"\n' + other.read_text())
    with pytest.raises(UsageError, match=r"registered by corpus robot\.toml"):
        register_corpus(other)


SIZE = ("--emb_size", "8", "--nlayers_encoder", "1", "--nlayers_decoder", "1", "--workers", "1")


def test_training_and_evaluation_on_a_corpus(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write()
    options = ("--fn_out_model", "net.pt", *SIZE, "--nsteps", "2", "--batch_size", "2")
    assert main(["train", "--corpus", "robot.toml", *options]) == 0
    assert f"--corpus {path}" in capsys.readouterr().out
    assert main(["train", "--corpus", "robot.toml", "--fn_out_model", "net.pt", "--resume"]) == 0
    del EPISODE_TYPES["robot"]
    assert main(["eval", "--fn_out_model", "net.pt", "--max"]) == 0
    out = capsys.readouterr().out
    assert "Error rate on novel queries: 100.00% (4 of 4;" in out
    assert {line.split()[0] for line in out.splitlines() if line.startswith("  ")} == {
        *("doubled", "long", "new", "mean")
    }
    assert main(["eval", "--fn_out_model", "net.pt", "--max", "--corpus", "robot.toml"]) == 0
    del EPISODE_TYPES["robot"]
    result = biml.evaluate("out_models/net.pt", repeats=1, device="cpu")
    assert [rate.n_queries for rate in result.errors.values()] == [1, 1, 2]
    assert "error_rate doubled" in set(result.table()["measure"])
    path.unlink()
    del EPISODE_TYPES["robot"]
    capsys.readouterr()
    assert main(["eval", "--fn_out_model", "net.pt", "--max"]) == 2
    assert "add --corpus robot.toml" in capsys.readouterr().err
    assert biml.load("out_models/net.pt", device="cpu").episode_type == "robot"


def test_options_that_contradict_a_corpus_are_misuse(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write()
    train = ["train", "--fn_out_model", "net.pt"]
    evaluate = ["eval", "--fn_out_model", "net.pt", "--max"]
    corpus = ["--corpus", "robot.toml"]
    for command in (
        [*train, *corpus, "--episode_type", "algebraic"],
        [*train, "--allow_overlap"],
        [*train, "--episode_type", "algebraic", "--n_queries", "2", "--nsteps", "1", *SIZE],
        [*evaluate, *corpus, "--episode_type", "algebraic"],
        [*evaluate, "--allow_overlap"],
    ):
        assert main(command) == 2
        assert "error: --" in capsys.readouterr().err
