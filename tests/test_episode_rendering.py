"""How episodes look to people."""

import re

from biml.episodes.episode import COLOURS, Episode, Example
from biml.episodes.render import html_symbols, terminal, terminal_symbols
from biml.grammar import Grammar

EPISODE = Episode(
    study=(Example(("dax", "lug"), ("RED", "PINK")), Example(("dax",), ("RED",))),
    queries=(Example(("dax",), ("RED",), copied=True), Example(("lug",), ("color:#33CC33;",))),
    grammar=Grammar.parse("dax -> RED\nu1 x1 -> [u1] [x1]"),
    pool=("RED", "<b>"),
    name="a <file>.txt",
)


def test_the_text_lists_everything_a_line_each() -> None:
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
    assert terminal_symbols(["color:#33cc33;"]) == "\x1b[38;2;51;204;51m●\x1b[0mcolor:#33cc33;"
    assert terminal_symbols(["undefined_action"]) == "undefined_action"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal(EPISODE))
    assert "  dax lug → ●R ●Pi\n" in plain


def test_colours_can_be_told_apart_without_seeing_them() -> None:
    letters = {re.sub(r"<[^>]*>", "", html_symbols([colour])) for colour in COLOURS}
    assert len(letters) == 6
    for colour in COLOURS:
        assert f'aria-label="{colour}"' in html_symbols([colour])


def test_the_notebook_shows_circles_and_escapes_text() -> None:
    shown = EPISODE._repr_html_()
    assert "background:#33cc33" in shown
    assert "a &lt;file&gt;.txt" in shown
    assert "<code>&lt;b&gt;</code>" in shown
    assert "u1 x1 -&gt; [u1] [x1]" in shown
    assert "<file>" not in shown
    hostile = html_symbols(['"><script>#ffffff'])
    assert "<script>" not in hostile
    assert '""' not in hostile


def test_an_episode_without_study_or_grammar_is_shown() -> None:
    assert str(Episode((), (Example(("dax",), ("RED",)),))) == "queries:\n  dax → RED"
