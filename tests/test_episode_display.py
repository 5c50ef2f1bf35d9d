"""Display of episodes as text, in a terminal and in a notebook."""

import re

from biml.episodes.episode import Episode, Example, terminal_symbols
from biml.episodes.palette import Palette
from biml.grammar import Grammar
from biml.grammar.meta_grammar import COLOURS

EPISODE = Episode(
    study=(Example(("dax", "lug"), ("RED", "PINK")), Example(("dax",), ("RED",))),
    queries=(Example(("dax",), ("RED",), in_study=True), Example(("lug",), ("color:#33CC33;",))),
    grammar=Grammar.parse("dax -> RED\nu1 x1 -> [u1] [x1]"),
    pool=("RED", "<b>"),
    name="a <file>.txt",
)


def test_an_episode_is_listed_one_example_per_line() -> None:
    assert str(EPISODE).splitlines() == [
        "a <file>.txt",
        "study:",
        "  dax lug → RED PINK",
        "  dax     → RED",
        "study examples as queries:",
        "  dax → RED",
        "queries:",
        "  lug → color:#33CC33;",
        "allowed outputs:",
        "  RED <b>",
        "grammar:",
        "  dax -> RED",
        "  u1 x1 -> [u1] [x1]",
    ]


def test_the_terminal_shows_circles_with_letters() -> None:
    assert terminal_symbols(["GREEN"]) == "\x1b[38;2;31;157;58m●\x1b[0mG"
    assert terminal_symbols(["color:#33cc33;"]) == "\x1b[38;2;51;204;51m●\x1b[0mgreen"
    assert terminal_symbols(["undefined_action"]) == "undefined_action"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", EPISODE.listing(terminal_symbols))
    assert "  dax lug → ●R ●Pi\n" in plain


def test_colours_have_distinct_letters() -> None:
    palette = Palette.for_symbols(COLOURS)
    letters = {re.sub(r"<[^>]*>", "", palette.html([colour])) for colour in COLOURS}
    assert len(letters) == 6
    for colour in COLOURS:
        assert f'aria-label="{colour}"' in palette.html([colour])


def test_hexadecimal_colours_have_names_and_distinct_letters() -> None:
    shades = ["color:#33cc33;", "color:#ff0000;", "color:#fe0101;"]
    palette = Palette.for_symbols(shades)
    assert 'aria-label="green red red"' in palette.html(shades)
    assert re.sub(r"<[^>]*>", " ", palette.html(shades)).split() == ["G", "R", "R2"]


def test_extra_symbols_get_colours() -> None:
    palette = Palette.for_symbols([], extra=["1", "DAX", *map(str, range(2, 10))])
    assert re.sub(r"<[^>]*>", " ", palette.html(["DAX", "1"])).split() == ["D", "1"]
    # A ninth has no colour that differs from all others: it is shown by name.
    assert "word" in palette.html(["9"])
    assert palette.html([]) == '<span class="none">(nothing)</span>'


def test_the_notebook_shows_circles_and_escapes_text() -> None:
    output = EPISODE._repr_html_()
    assert "background: #33cc33" in output
    assert "a &lt;file&gt;.txt" in output
    assert "<i class=word>&lt;b&gt;</i>" in output
    assert "u1 x1 -&gt; [u1] [x1]" in output
    assert "<file>" not in output
    hostile = Palette.for_symbols(['"><script>#ffffff'], extra=["<script>"]).html(
        ['"><script>#ffffff', "<script>"]
    )
    assert "<script>" not in hostile
    assert '""' not in hostile


def test_an_episode_without_study_or_grammar_is_displayed() -> None:
    assert str(Episode((), (Example(("dax",), ("RED",)),))) == "queries:\n  dax → RED"
