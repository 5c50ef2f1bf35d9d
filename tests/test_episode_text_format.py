"""The published text format of episodes."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biml.episodes.episode import Episode, Example
from biml.episodes.packed import read_human_episodes
from biml.episodes.text_format import format_episode, parse_episode, read_episode, write_episode
from biml.episodes.transforms import remap
from biml.errors import BimlError, FormatError
from biml.grammar import GOLD, Grammar
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.rng import generator

GOOD = """*SUPPORT*
IN: dax OUT: RED
IN: dax lug OUT: RED RED

*QUERY*
IN: lug OUT: BLUE

*GRAMMAR*
dax -> RED
u1 lug -> [u1] [u1]
"""
_ITEMS = ["IN:", "OUT:", "dax", "RED", "->", "[u1]", "u1", "x1", "\n", "\n", "\x0c", "\ufeff"]
_LINES = ["*SUPPORT*", "*QUERY*", "*GRAMMAR*", "IN: dax OUT: RED", "allowed outputs:", "dax -> RED"]
TOKENS = st.sampled_from([*_ITEMS, *_LINES])


def test_all_published_files_are_read_and_written_back(shared: Path) -> None:
    paths = [
        path
        for folder in ("data_human", "data_algebraic_sample")
        for path in sorted((shared / folder).rglob("*.txt"))
    ]
    assert len(paths) > 300
    for path in paths:
        episode = read_episode(path)
        assert episode.queries
        assert episode.name == str(path)
        assert parse_episode(format_episode(episode), source=str(path)) == episode


def test_an_episode_file_has_study_and_query_examples_and_a_grammar() -> None:
    episode = parse_episode(GOOD)
    assert episode.study == (Example(("dax",), ("RED",)), Example(("dax", "lug"), ("RED", "RED")))
    assert episode.queries == (Example(("lug",), ("BLUE",)),)
    assert episode.grammar == Grammar.parse("dax -> RED\nu1 lug -> [u1] [u1]")
    assert episode.pool is None


def test_whitespace_blank_lines_and_line_ends_are_ignored() -> None:
    loose = "\n\n" + GOOD.replace("\n", "  \r\n\r\n ").replace(" OUT", "   OUT")
    assert parse_episode(loose) == parse_episode(GOOD)
    assert parse_episode(GOOD.rstrip("\n")) == parse_episode(GOOD)


def test_human_data_files_are_read(shared: Path) -> None:
    human = shared / "data_human"
    probe = read_episode(human / "data_behavior_probes" / "val" / "ME_1ex_6pool.txt")
    assert probe.pool == ("c1", "c2", "c3", "c4", "c5", "c6")
    assert probe.grammar is None
    response_set = read_episode(human / "open_ended_all" / "mock" / "000000.txt")
    assert response_set.study == ()
    assert len(response_set.queries) == 7
    symbols = [symbol for query in response_set.queries for symbol in query.output]
    assert all(symbol.startswith("color:#") for symbol in symbols)
    gold = read_episode(human / "few_shot" / "val_gold" / "mini_scan.txt")
    assert gold.grammar is not None
    assert gold.grammar.canonical() == GOLD.canonical()
    answers = [
        q
        for path in (human / "few_shot" / "val_behavior").iterdir()
        for q in read_episode(path).queries
    ]
    assert len(answers) == 217
    assert sum("undefined_action" in q.output for q in answers) == 2


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("*SUPPORT*\n", "", None, r"'\*SUPPORT\*' is missing"),
        ("*QUERY*\n", "", None, r"'\*QUERY\*' is missing"),
        ("*GRAMMAR*\n", "", None, r"'\*GRAMMAR\*' is missing; .* cut off"),
        ("*QUERY*\n", "*QUERY*\n*QUERY*\n", None, "twice"),
        ("*SUPPORT*\n", "notes\n*SUPPORT*\n", 1, "text before"),
        ("IN: dax OUT: RED\n", "IN: dax RED\n", 2, "expected one 'OUT:'"),
        ("IN: dax OUT: RED\n", "dax OUT: RED\n", 2, "expected one 'IN:'"),
        ("IN: dax OUT: RED\n", "IN: OUT: RED\n", 2, "input is empty"),
        ("IN: lug OUT: BLUE\n", "IN: lug OUT:\n", 6, "output is empty"),
        ("IN: lug OUT: BLUE\n", "IN: lug OUT: BLUE OUT: RED\n", 6, "expected one 'OUT:'"),
        ("IN: lug OUT: BLUE\n", "", 5, "no query"),
        ("dax -> RED\n", "dax ->\n", 9, "right side is empty"),
        ("[u1] [u1]\n", "[u1] [u", 10, "brackets only around one variable"),
        ("dax -> RED\nu1 lug -> [u1] [u1]\n", "allowed outputs:\n", 9, "is empty"),
        ("u1 lug -> [u1] [u1]\n", "allowed outputs:\nA B A\n", 10, "names a symbol twice"),
    ],
)
def test_errors_name_the_line_of_a_malformed_file(
    tmp_path: Path, old: str, new: str, line: int | None, problem: str
) -> None:
    path = tmp_path / "episode.txt"
    assert GOOD.count(old) == 1
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(FormatError, match=problem) as caught:
        read_episode(path)
    assert (caught.value.source, caught.value.line) == (str(path), line)
    assert str(path) in str(caught.value)


def test_sections_out_of_order_are_an_error() -> None:
    text = "*QUERY*\nIN: dax OUT: RED\n*SUPPORT*\n*GRAMMAR*\n"
    with pytest.raises(FormatError, match="in the order"):
        parse_episode(text)


def test_a_file_cut_off_anywhere_before_its_grammar_is_an_error() -> None:
    for length in range(GOOD.index("*GRAMMAR*") + len("*GRAMMAR*")):
        with pytest.raises(FormatError):
            parse_episode(GOOD[:length])


def test_errors_name_unknown_words_and_symbols() -> None:
    assert parse_episode(GOOD, words=WORDS, symbols=COLOURS) == parse_episode(GOOD)
    with pytest.raises(FormatError, match=r"line 2: .*'bax'.* dax lug"):
        parse_episode(GOOD.replace("IN: dax OUT", "IN: bax OUT"), words=WORDS)
    with pytest.raises(FormatError, match="line 6: unknown symbol 'BLEU'"):
        parse_episode(GOOD.replace("BLUE", "BLEU"), symbols=COLOURS)


def test_missing_or_binary_files_are_errors(tmp_path: Path) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes(GOOD.replace("lug OUT: BLUE", "grün OUT: BLUE").encode("latin-1"))
    with pytest.raises(FormatError, match=r"line 6: not UTF-8"):
        read_episode(latin)
    empty = tmp_path / "empty.txt"
    empty.write_bytes(b"")
    with pytest.raises(FormatError, match="empty"):
        read_episode(empty)
    with pytest.raises(BimlError, match=r"missing\.txt: cannot be read"):
        read_episode(tmp_path / "missing.txt")
    with pytest.raises(BimlError, match="cannot be read"):
        read_episode(tmp_path)


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "episode.txt"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert read_episode(path).study == parse_episode(GOOD).study


def test_written_files_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "episode.txt"
    episode = parse_episode(GOOD, source=str(path))
    write_episode(path, episode)
    assert path.read_text() == GOOD
    assert read_episode(path) == episode


@given(st.one_of(st.text(), st.lists(TOKENS).map(" ".join), st.lists(TOKENS).map("\n".join)))
def test_any_text_is_an_episode_that_round_trips_or_an_error(text: str) -> None:
    try:
        episode = parse_episode(text)
    except FormatError:
        return
    assert parse_episode(format_episode(episode)) == episode


@given(st.binary())
def test_random_bytes_are_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(data)
    with pytest.raises(BimlError):
        read_episode(path)


_names = st.text("abcXYZ:#;*", min_size=1, max_size=4).filter(lambda s: s not in ("IN:", "OUT:"))
_examples = st.builds(
    Example,
    st.lists(_names, min_size=1, max_size=3).map(tuple),
    st.lists(_names, min_size=1, max_size=3).map(tuple),
    in_study=st.just(False),
    item=st.just(""),
    participant=st.just(""),
)


@settings(max_examples=50)
@given(
    st.lists(_examples, max_size=3).map(tuple),
    st.lists(_examples, min_size=1, max_size=3).map(tuple),
    st.sampled_from([None, GOLD]),
    st.one_of(st.none(), st.lists(_names, min_size=1, max_size=3, unique=True).map(tuple)),
)
def test_any_episode_round_trips(
    study: tuple[Example, ...],
    queries: tuple[Example, ...],
    grammar: Grammar | None,
    pool: tuple[str, ...] | None,
) -> None:
    episode = Episode(study, queries, grammar=grammar, pool=pool, name="a file")
    assert parse_episode(format_episode(episode), source="a file") == episode


@pytest.mark.parametrize(
    ("folder", "file_holds", "item", "participant"),
    [
        ("few_shot/val_behavior", "query", "query", ""),
        ("open_ended_all/val", "participant", "query", "file"),
        ("data_behavior_probes/val", "trial", "file", ""),
    ],
)
def test_human_responses_carry_their_item_and_participant(
    shared: Path, folder: str, file_holds: str, item: str, participant: str
) -> None:
    rng = generator(0)
    for episode in read_human_episodes(shared / "data_human" / folder, file_holds=file_holds):
        for query, remapped in zip(episode.queries, remap(episode, rng).queries, strict=True):
            names = {"query": " ".join(query.input), "file": Path(episode.name).stem, "": ""}
            assert (query.item, query.participant) == (names[item], names[participant])
            assert remapped[2:] == query[2:]
