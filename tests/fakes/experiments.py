"""A small custom experiment with its own words and symbols."""

import csv
from collections.abc import Sequence
from pathlib import Path

STUDY = """*SUPPORT*
IN: wug OUT: ■
IN: blick OUT: ▲
IN: toma OUT: ●
IN: wug twice OUT: ■ ■
IN: wug then blick OUT: ▲ ■

*QUERY*
IN: blick twice OUT: ▲ ▲
IN: blick then toma OUT: ● ▲

*GRAMMAR*
wug -> ■
blick -> ▲
toma -> ●
u1 twice -> [u1] [u1]
x1 then x2 -> [x2] [x1]
u1 x1 -> [u1] [x1]
"""

OPEN = """*SUPPORT*

*QUERY*
IN: wug OUT: ■
IN: wug blick OUT: ■ ▲
IN: blick toma OUT: ▲ ●

*GRAMMAR*
"""

TRIAL = """*SUPPORT*
IN: wug OUT: ■

*QUERY*
IN: blick OUT: ▲

*GRAMMAR*
allowed outputs:
■ ▲
"""

HEADER = ("participant", "item", "query", "response")

ANSWERS = (
    ("Ann", "one", "blick twice", "▲ ▲"),
    ("Ann", "two", "blick then toma", "● ▲"),
    ("Bo/b", "one", "blick twice", "▲ ■"),
    ("Bo/b", "two", "blick then toma", "▲ ●"),
)

RESPONSE_SETS = tuple(
    (f"P{n}", words, words, answer)
    for n in range(6)
    for words, answer in (("wug", "■"), ("wug blick", "■ ▲"), ("blick toma", "▲ ●"))
)


def write_table(
    path: Path, rows: Sequence[Sequence[str]] = ANSWERS, header: Sequence[str] = HEADER
) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_text(path: Path, text: str = STUDY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path
