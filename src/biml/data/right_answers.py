"""What is right in a few-shot task of one's own: its grammar, or one that lists the right answers.

Behaviour and symbolic models take a grammar.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from biml.episodes.episode import COLOURS, WORDS, Episode, Example
from biml.episodes.transforms import symbols_used
from biml.errors import FormatError
from biml.grammar import Grammar, GrammarError, Rule


def with_target_grammars(study: Sequence[Episode]) -> list[Episode]:
    """The study files of a few-shot task, each with a grammar that gives its examples.

    Files without a grammar get one that lists their pairs as rules without variables: those of all
    files, so that the task has one grammar, unless they contradict each other or are too many names
    for a model.

    Raises:
        FormatError: a grammar does not give an example of its file, or pairs contradict each other.
    """
    for episode in study:
        if episode.grammar is not None:
            check_grammar(episode, (*episode.study, *episode.queries))
    if all(episode.grammar is not None for episode in study):
        return list(study)
    every = Episode((), tuple(pair for e in study for pair in (*e.study, *e.queries)))
    words, symbols = symbols_used(every)
    agree = len({pair.input for pair in every.queries}) == len(set(every.queries))
    joint = agree and len(words) <= len(WORDS) and len(symbols) <= len(COLOURS)
    return [
        replace(
            episode,
            grammar=episode.grammar
            or lookup_grammar(
                every.queries if joint else (*episode.study, *episode.queries), episode.name
            ),
        )
        for episode in study
    ]


def lookup_grammar(pairs: Iterable[Example], source: str) -> Grammar:
    """A grammar of one rule a pair.

    Raises:
        FormatError: two pairs contradict each other, or a word cannot stand in a rule.

    >>> print(lookup_grammar([Example(("wug", "twice"), ("■", "■"))], "here"))
    wug twice -> ■ ■
    """
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for words, symbols, _ in pairs:
        if known.setdefault(words, symbols) != symbols:
            raise FormatError(
                f"'{' '.join(words)}' stands for '{' '.join(known[words])}' and for "
                f"'{' '.join(symbols)}'; keep the right one",
                source=source,
            )
    try:
        rules = tuple(Rule(words, symbols) for words, symbols in known.items())
    except GrammarError as error:
        raise FormatError(str(error), source=source) from None
    for rule in rules:
        if rule.variables:
            raise FormatError(
                f"the word '{rule.variables[0]}' looks like a variable, u or x and a number; "
                "rename it",
                source=source,
            )
    return Grammar(rules)


def check_grammar(episode: Episode, pairs: Iterable[Example]) -> None:
    """Make sure that the grammar of a file gives its pairs.

    Raises:
        FormatError: it has none, or gives other answers.
    """
    for words, symbols, _ in pairs:
        made = target_of(episode, words)
        if made != symbols:
            raise FormatError(
                f"its grammar makes '{' '.join(made)}' of '{' '.join(words)}', not "
                f"'{' '.join(symbols)}'; mend the rules or the example",
                source=episode.name,
            )


def target_of(episode: Episode, words: Sequence[str]) -> tuple[str, ...]:
    """What the grammar of a file makes of an input.

    Raises:
        FormatError: it has none, or one that does not come to an end.
    """
    if episode.grammar is None:
        raise FormatError(
            "nothing tells which answers are right; write the rules below *GRAMMAR*, or import a "
            "table of answers with --study",
            source=episode.name,
        )
    try:
        return episode.grammar.interpret(words)
    except GrammarError as error:
        raise FormatError(f"'{' '.join(words)}': {error}", source=episode.name) from None
