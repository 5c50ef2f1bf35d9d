"""`biml interpret`: what a grammar says that inputs stand for."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from biml.episodes.text_format import GRAMMAR
from biml.errors import FormatError
from biml.grammar import Grammar, GrammarError
from biml.io import read_text

SUMMARY = "Print the output that a grammar gives to each input, one a line."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    parser.add_argument(
        "--grammar",
        required=True,
        type=Path,
        metavar="FILE",
        help="rules, one a line, such as 'u1 lug x1 -> [x1] [u1]'; or an episode file, of which "
        "the grammar is used",
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="words in one argument, such as 'dax lug wif'; standard input (UTF-8), one input a "
        "line, where none is given",
    )


def run(args: argparse.Namespace) -> None:
    """Print one line for each input; an empty input gives an empty line."""
    grammar = read_grammar(args.grammar)
    inputs: Iterable[str] = args.inputs or _stdin_lines()
    for number, line in enumerate(inputs, 1):
        try:
            output = grammar.interpret(line.split())
        except GrammarError as error:
            raise GrammarError(f"{args.grammar}: {error} (input {number})") from None
        print(" ".join(output), flush=not args.inputs)


def _stdin_lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise FormatError(
                "not UTF-8 text; convert to UTF-8 what is piped in",
                source="standard input",
                line=number,
            ) from None


def read_grammar(path: Path) -> Grammar:
    """The grammar in a file of rules, or in the last section of an episode file.

    Raises:
        FormatError: there is no valid grammar in it.
        BimlError: the file cannot be read.
    """
    text = read_text(path)
    lines = text.splitlines()
    start = 0
    for number, line in enumerate(lines, 1):
        if line.strip() == GRAMMAR:
            start = number
    if start and not any(line.strip() for line in lines[start:]):
        raise FormatError(
            f"nothing stands below '{GRAMMAR}'; this episode has no grammar",
            source=str(path),
            line=start,
        )
    return Grammar.parse("\n".join(lines[start:]), source=str(path), first_line=start + 1)
