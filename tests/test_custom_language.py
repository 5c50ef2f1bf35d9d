"""Custom languages: sizes for `biml generate`, held-out grammars, another vocabulary."""

from pathlib import Path

import pytest

from biml import plugins
from biml.cli.main import main
from biml.episodes import registry
from biml.episodes.curriculum import STAGES, curriculum_stages
from biml.episodes.datasets import (
    StreamDataset,
    holdout_grammars,
    sample_with_exclusions,
    training_episodes,
)
from biml.episodes.packed import read_episodes
from biml.errors import BimlError
from biml.grammar import Grammar, MetaGrammar, isomorphic
from biml.paths import DataFolders
from biml.rng import generator
from fakes.experiments import STUDY, write_table, write_text

SMALL = MetaGrammar(n_primitives=2, n_functions=1, max_rhs=2, max_input=4, n_study=3, n_query=2)
TWICE = Grammar.parse("wug -> ■\nblick -> ▲\nu1 twice -> [u1] [u1]\nu1 x1 -> [u1] [x1]")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("BIML_DATA", raising=False)


def test_sizes_of_a_language_are_options_of_generate(capsys) -> None:
    sizes = ("--primitives", "3", "--functions", "2", "--study", "9", "--queries", "4")
    few = ("--train", "20", "--val", "3", "--workers", "1")
    assert main(["generate", *few, *sizes, "--max_input", "5"]) == 0
    for episode in read_episodes(Path("data_algebraic/train")):
        assert len(episode.grammar.primitives) == 3
        assert len(episode.grammar.functions) == 2
        assert (len(episode.study), len(episode.queries)) == (9, 4)
        assert max(len(query.input) for query in episode.queries) <= 5
    assert main(["generate", *few, "--functions", "7", "--out", "other"]) == 2
    assert "--n_functions 7" in capsys.readouterr().err


def test_custom_grammar_is_held_out_under_any_remapping() -> None:
    def drawn(apart: tuple[Grammar, ...]) -> list[Grammar]:
        stream = StreamDataset(SMALL, 0, held_out_isomorphic=apart)
        return [stream[i].grammar for i in range(150)]

    assert any(isomorphic(grammar, TWICE) for grammar in drawn(()))
    assert not any(isomorphic(grammar, TWICE) for grammar in drawn((TWICE,)))
    only = MetaGrammar(n_primitives=2, n_functions=0, n_study=3, n_query=1)
    every = Grammar.parse("wug -> ■\nblick -> ▲\nu1 x1 -> [u1] [x1]")
    with pytest.raises(BimlError, match="held out from training"):
        sample_with_exclusions(only, generator(0), held_out_isomorphic=(every,))


def test_training_excludes_the_held_out_grammars_of_a_generated_set() -> None:
    study = write_text(Path("study.txt"))
    few = ("--train", "20", "--val", "3", "--workers", "1")
    assert main(["generate", *few, "--apart", str(study)]) == 0
    data = DataFolders(defaults=(), data_dir=Path())
    (apart,) = holdout_grammars(data)
    assert apart == Grammar.parse(STUDY.split("*GRAMMAR*\n")[1])
    for part, _ in curriculum_stages(data, 0):
        assert part.source.held_out_isomorphic == (apart,)
    assert len(training_episodes(data, 0)) == 20


def test_held_out_file_without_a_grammar_is_rejected(capsys) -> None:
    write_text(Path("study.txt"), STUDY[: STUDY.index("wug ->")])
    assert main(["generate", "--apart", "study.txt"]) == 1
    assert "study.txt: no rules below *GRAMMAR*" in capsys.readouterr().err
    assert not Path("data_algebraic").exists()


# More words and symbols than the published ones, as the documentation shows.


@pytest.fixture
def meta_grammar() -> MetaGrammar:
    """Load examples/vocabulary.py: a language of ten words and seven symbols."""
    plugins.load(Path(__file__).parents[1] / "examples" / "vocabulary.py")
    meta_grammar = registry.episode_type("ten_words").meta_grammar
    assert meta_grammar is not None
    return meta_grammar


@pytest.mark.usefixtures("few_validation_episodes")
def test_language_with_more_words_is_trained_and_evaluated(
    meta_grammar: MetaGrammar, capsys
) -> None:
    size = ("--emb_size", "32", "--nlayers_decoder", "1", "--workers", "1", "--nsteps", "3")
    kind = ("--preset", "fast", "--episode_type", "ten_words")
    train = ("train", *kind, "--fn_out_model", "mine.pt")
    assert main([*train, *size, "--batch_size", "2"]) == 0
    capsys.readouterr()
    assert main(["eval", "--fn_out_model", "mine.pt", "--max", "--episodes", "3"]) == 0
    assert "Accuracy on novel queries" in capsys.readouterr().out
    everything = " ".join(meta_grammar.words)
    more = STUDY.replace("IN: blick OUT: ▲", "IN: blick OUT: ▲\nIN: sib OUT: ◆ ★ ◐ ◇")
    more = more[: more.index("wug ->")] + "\n"
    write_text(Path("study.txt"), more.replace("IN: toma OUT", f"IN: {everything} OUT"))
    write_table(Path("r.csv"))
    assert main(["data", "import", "r.csv", "--study", "study.txt", "--dest", "mine"]) == 0
    assert "custom vocabulary" in capsys.readouterr().out
    ask = ("eval", "--fn_out_model", "mine.pt", "--data_dir", "mine", "--ll")
    assert main([*ask, "--episode_type", "ten_words_human"]) == 0
    assert "Log-likelihood" in capsys.readouterr().out
    # A model of the published vocabulary cannot take them, and says so.
    assert main([*ask, "--episode_type", "few_shot_human"]) == 2
    assert "vocabulary lacks" in capsys.readouterr().err


def test_stages_use_the_words_of_the_language(meta_grammar: MetaGrammar) -> None:
    row = registry.episode_type("ten_words")
    training = row.open_curriculum(DataFolders(defaults=()), 0, n_algebraic=4000)
    for index in (0, 2000, 3600, 5000):
        words = {word for query in training[index].queries for word in query.input}
        assert words <= set(meta_grammar.words)
    first = training[0]
    assert len(first.study) == STAGES[0].meta_grammar.n_study
