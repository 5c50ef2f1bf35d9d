"""`biml interpret`: the outputs that a grammar gives to inputs."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from biml.episodes.text_format import GRAMMAR
from biml.errors import FormatError
from biml.grammar import Grammar, GrammarError
from biml.io import read_text


def configure(parser: argparse.ArgumentParser) -> None:
    help = (
        "rules, one per line, such as 'u1 lug x1 -> [x1] [u1]'; or an episode file with a grammar"
    )
    parser.add_argument("--grammar", required=True, type=Path, metavar="FILE", help=help)
    help = (
        "words in one argument, such as 'dax lug wif'; without any, one input per line of "
        "standard input (UTF-8)"
    )
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help=help)
    help = "let words that no rule applies to stand for themselves, instead of an error"
    parser.add_argument("--keep_unknown", action="store_true", help=help)


def run(args: argparse.Namespace) -> None:
    """Print one line per input; an empty input gives an empty line."""
    grammar = read_grammar(args.grammar)
    inputs: Iterable[str] = args.inputs or _stdin_lines()
    for number, line in enumerate(inputs, 1):
        try:
            output = grammar.interpret(line, strict=not args.keep_unknown)
        except GrammarError as error:
            raise GrammarError(f"{args.grammar}: {error} (input {number})") from None
        print(" ".join(output), flush=not args.inputs)


def _stdin_lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise FormatError(
                "not UTF-8 text; convert the input to UTF-8",
                source="standard input",
                line=number,
            ) from None


def read_grammar(path: Path) -> Grammar:
    """The grammar in a file of rules, or in the last section of an episode file."""
    text = read_text(path)
    lines = text.splitlines()
    start = 0
    for number, line in enumerate(lines, 1):
        if line.strip() == GRAMMAR:
            start = number
    if start and not any(line.strip() for line in lines[start:]):
        raise FormatError(
            f"there are no rules below '{GRAMMAR}'; name a file with a grammar",
            source=str(path),
            line=start,
        )
    return Grammar.parse("\n".join(lines[start:]), source=str(path), first_line=start + 1)
