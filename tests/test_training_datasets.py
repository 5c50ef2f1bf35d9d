"""Training datasets: streams, folders, and held-out grammars."""

import os
import shutil
from pathlib import Path
from random import Random

import pytest

from biml.episodes import packed as folder_module
from biml.episodes.datasets import (
    FolderDataset,
    StreamDataset,
    canonical_grammars,
    is_gold_grammar,
    matches_published_spec,
    sample_validation_set,
    sample_with_exclusions,
    training_episodes,
    validation_episodes,
)
from biml.episodes.episode import Episode
from biml.episodes.generate import DatasetSpec, generate
from biml.episodes.packed import EpisodeFolderDataset, read_episodes
from biml.episodes.registry import EPISODE_TYPES
from biml.episodes.sampling import sample_episode
from biml.episodes.text_format import write_episode
from biml.errors import BimlError, FormatError
from biml.grammar import GOLD, Grammar, MetaGrammar, equivalent
from biml.paths import DataFolders
from biml.progress import stage_lines
from biml.rng import generator

SMALL_WORLD = MetaGrammar(
    words=("dax", "lug"), symbols=("RED",), n_primitives=1, n_functions=1, max_rhs=2,
    n_study=2, n_query=1,
)  # fmt: skip
"""So few grammars that a stream meets those of its validation set at once."""


@pytest.fixture
def published(shared: Path, tmp_path: Path) -> DataFolders:
    """A data folder with a `data_algebraic` of 60 + 20 episodes."""
    shutil.copytree(shared / "data_algebraic_sample", tmp_path / "data" / "data_algebraic")
    for path in (tmp_path / "data").rglob("*"):
        path.chmod(0o755)
    return DataFolders(tmp_path / "data", ())


def grammars(episodes: list[Episode]) -> list[Grammar]:
    found = [episode.grammar for episode in episodes]
    assert None not in found
    return found  # type: ignore[return-value]


def test_without_a_folder_episodes_are_sampled_endlessly(tmp_path: Path) -> None:
    nothing = DataFolders(tmp_path, ())
    stream = training_episodes(nothing, 5)
    assert stream[10**9] == training_episodes(nothing, 5)[10**9]
    assert stream[0] != stream[1] != training_episodes(nothing, 6)[1]
    assert len(validation_episodes(nothing)) == 200


def drawn_into(folder: Path, meta: MetaGrammar, seed: int = 0, count: int = 200) -> DataFolders:
    (folder / "data_algebraic" / "val").mkdir(parents=True)
    for number, episode in enumerate(sample_validation_set(meta, seed, count)):
        write_episode(folder / "data_algebraic" / "val" / f"{number:06}.txt", episode)
    return DataFolders(folder, ())


def test_validation_set_of_the_published_meta_grammar_is_recognised(tmp_path: Path) -> None:
    assert matches_published_spec(DataFolders(tmp_path, ()))
    assert matches_published_spec(drawn_into(tmp_path / "same", MetaGrammar()))
    assert matches_published_spec(drawn_into(tmp_path / "other", MetaGrammar(), seed=5))
    assert not matches_published_spec(drawn_into(tmp_path / "few", MetaGrammar(), count=50))


@pytest.mark.parametrize(
    "changed",
    [
        {"n_primitives": 3},
        {"n_functions": 2},
        {"n_functions": 0},
        {"max_rhs": 6},
        {"max_input": 7},
        {"max_output": 7},
        {"max_rhs": 9, "max_input": 9, "max_output": 9},
        {"n_study": 13},
        {"n_query": 9},
    ],
)
def test_validation_set_of_another_meta_grammar_is_recognised(
    tmp_path: Path, changed: dict[str, int]
) -> None:
    assert not matches_published_spec(drawn_into(tmp_path, MetaGrammar(**changed)))


@pytest.mark.parametrize(
    ("changed", "same"), [({}, True), ({"max_rhs": 7}, False), ({"p_stop": 0.5}, False)]
)
def test_generated_set_records_its_meta_grammar(tmp_path: Path, changed, same: bool) -> None:
    spec = DatasetSpec(train=1, val=200, meta_grammar=MetaGrammar(**changed))
    generate(spec, tmp_path / "data_algebraic", workers=1)
    assert matches_published_spec(DataFolders(tmp_path, ())) == same


def test_sampled_validation_set_does_not_depend_on_the_seed(tmp_path: Path) -> None:
    row = EPISODE_TYPES["algebraic"]
    nothing = DataFolders(tmp_path, ())
    opened = [row.open_evaluation(nothing, seed).episodes for seed in (1, 2)]
    assert opened[0] == opened[1]


def test_folder_is_read_once_per_epoch_in_a_new_order(published: DataFolders) -> None:
    source = training_episodes(published, 5)
    assert len(source) == 60
    epochs = [[source[60 * epoch + i].name for i in range(60)] for epoch in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert len(set(epochs[0])) == 60
    assert epochs[0] != epochs[1] != sorted(epochs[1])
    assert source[77] == training_episodes(published, 5)[77]
    assert len(validation_episodes(published)) == 20


def test_episodes_of_a_folder_are_those_of_its_files(published: DataFolders) -> None:
    path = published.require("data_algebraic") / "train"
    opened = EpisodeFolderDataset.open(path)
    assert [opened[i] for i in range(len(opened))] == list(read_episodes(path))


def test_stream_excludes_validation_grammars() -> None:
    validation = sample_validation_set(SMALL_WORLD, 0, 3)
    held = canonical_grammars(validation)
    free, kept = (StreamDataset(SMALL_WORLD, 1, h) for h in (frozenset(), held))

    def met(stream: StreamDataset) -> int:
        drawn = grammars([stream[i] for i in range(200)])
        return sum(
            equivalent(grammar, one) for grammar in drawn for one in grammars(list(validation))
        )

    assert met(free) > 50
    assert met(kept) == 0


def test_exclusion_ignores_rule_order_and_variable_names() -> None:
    stream = StreamDataset(MetaGrammar(), 1)
    episode = stream[0]
    assert episode.grammar is not None
    text = str(Grammar(episode.grammar.rules[::-1]))
    other = Grammar.parse(text.replace("x1", "x9").replace("u1", "u9"))
    held = canonical_grammars([Episode((), (), grammar=other)])
    assert StreamDataset(MetaGrammar(), 1, held)[0] != episode


def test_gold_grammar_is_excluded_under_any_remapping() -> None:
    remapped = Grammar(GOLD.rules[::-1]).remap(
        {"thrice": "fep", "after": "thrice", "DAX": "dax"}, {"1": "RED", "DAX": "1"}
    )
    assert is_gold_grammar(remapped)
    other = Grammar.parse(str(GOLD).replace("[u1] [u2] [u1]", "[u1] [u2] [u2]"))
    assert not is_gold_grammar(other)

    drawn = iter([remapped, GOLD, other])

    def draw(meta: MetaGrammar, rng: Random, name: str) -> Episode:
        return Episode((), (), grammar=next(drawn))

    assert sample_with_exclusions(MetaGrammar(), generator(0), sampler=draw).grammar == other


def test_excluding_every_grammar_is_an_error() -> None:
    every = [sample_episode(SMALL_WORLD, generator(0, i)) for i in range(500)]
    with pytest.raises(BimlError, match="held out"):
        StreamDataset(SMALL_WORLD, 1, canonical_grammars(every))[0]


def test_large_folders_are_cached_until_they_change(
    published: DataFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "CACHE_MIN_FILES", 10)
    train = published.require("data_algebraic") / "train"
    cache = tmp_path / "cache"
    lines: list[str] = []

    def opened() -> EpisodeFolderDataset:
        return EpisodeFolderDataset.open(train, cache=cache, progress=stage_lines(lines.append))

    first = opened()
    assert len(lines) == 1
    (kept,) = cache.iterdir()
    files_size = sum(path.stat().st_size for path in train.iterdir())
    assert kept.stat().st_size < 0.7 * files_size

    second = opened()
    assert len(lines) == 1
    assert [second[i] for i in range(60)] == [first[i] for i in range(60)]

    changed = train / first.names[7]
    about = changed.stat()
    changed.write_text(changed.read_text().replace("RED", "red").replace("red", "RED") + "\n")
    os.utime(changed, ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    opened()
    (train / first.names[8]).unlink()
    assert len(opened()) == 59
    assert len(lines) == 3
    assert list(cache.iterdir()) == [kept]

    kept.write_bytes(kept.read_bytes()[:-100])
    assert opened()[58] == first[59]
    assert len(lines) == 4


def test_unwritable_cache_is_reported_and_ignored(
    published: DataFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "CACHE_MIN_FILES", 10)
    blocked = tmp_path / "file"
    blocked.write_text("")
    lines: list[str] = []
    train = published.require("data_algebraic") / "train"
    assert (
        len(
            EpisodeFolderDataset.open(
                train, cache=blocked / "cache", progress=stage_lines(lines.append)
            )
        )
        == 60
    )
    assert "could not keep" in lines[-1]


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_malformed_file_is_named_with_its_line(published: DataFolders, part: str) -> None:
    file = sorted((published.require("data_algebraic") / part).iterdir())[3]
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], "IN: dax OUT: MAUVE", *lines[2:]]))
    with pytest.raises(FormatError, match=rf"{file.name}, line 3.*MAUVE"):
        training_episodes(published, 0) if part == "train" else validation_episodes(published)


def test_a_folder_without_episodes_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data_algebraic" / "train").mkdir(parents=True)
    data = DataFolders(tmp_path, ())
    with pytest.raises(BimlError, match="no episode file"):
        training_episodes(data, 0)
    with pytest.raises(BimlError, match="val"):
        validation_episodes(data)


def test_order_of_an_epoch_does_not_depend_on_earlier_reads(
    published: DataFolders,
) -> None:
    opened = EpisodeFolderDataset.open(published.require("data_algebraic") / "train")
    straight = FolderDataset(opened, 1)
    names = [straight[i].name for i in range(180)]
    assert [straight[i].name for i in reversed(range(180))] == names[::-1]
