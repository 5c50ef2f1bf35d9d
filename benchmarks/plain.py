"""Interpretation and drawing written down plainly, with tuples of words and nothing remembered.

What `draw_episode.py` measures against, and what the tests compare the library's answers with.
"""

from collections.abc import Iterator
from random import Random

from biml.episodes.episode import Episode, Example
from biml.grammar import Grammar, MetaGrammar, Rule

Words = tuple[str, ...]


def interpret(grammar: Grammar, words: Words, longest: int = 10_000) -> Words:
    """The output of the first rule that matches all words; the words themselves if none does.

    Not continued beyond `longest` symbols.
    """
    for rule in grammar.rules:
        for bound in matches(rule.lhs, rule.lhs_pattern, words):
            output: Words = ()
            for item in rule.rhs:
                variable = item.strip("[]")
                if item == variable:
                    output += (item,)
                elif len(output) <= longest:
                    output += interpret(grammar, bound[variable], longest)
            return output
    return words


def matches(lhs: Words, kinds: str, words: Words) -> Iterator[dict[str, Words]]:
    """All ways to match, those first in which earlier variables take more words."""
    if not lhs:
        if not words:
            yield {}
        return
    longest = len(words) if kinds[0] == "x" else min(1, len(words))
    for length in range(longest, 0, -1):
        if kinds[0] != "." or words[0] == lhs[0]:
            for rest in matches(lhs[1:], kinds[1:], words[length:]):
                yield {lhs[0]: words[:length], **rest}


def draw_episode(meta: MetaGrammar, rng: Random) -> Episode:
    """An episode of the same distribution as the library's; a grammar that runs dry never ends."""
    grammar = meta.sample_grammar(rng)
    outputs: dict[Words, Words] = {}
    while len(outputs) < meta.n_study + meta.n_query:
        words = draw_input(grammar, "x1", rng, meta.max_input)
        if len(words) <= meta.max_input and words not in outputs:
            output = interpret(grammar, words, meta.max_output)
            if len(output) <= meta.max_output:
                outputs[words] = output
    examples = [Example(words, output) for words, output in outputs.items()]
    rng.shuffle(examples)
    study, queries = examples[: meta.n_study], examples[meta.n_study :]
    return Episode(tuple(study), tuple(queries), grammar=grammar)


def draw_input(grammar: Grammar, item: str, rng: Random, longest: int) -> Words:
    """What a variable of the PCFG becomes; not continued far beyond the longest wanted."""
    primitives: list[Rule] = list(grammar.primitives)
    longer = [rule for rule in grammar.rules if len(rule.lhs) > 1]
    rule = rng.choice([None, *longer]) if item[0] == "x" else None
    if rule is None:
        return rng.choice(primitives).lhs
    words: Words = ()
    for part, kind in zip(rule.lhs, rule.lhs_pattern, strict=True):
        if len(words) <= longest:
            words += (part,) if kind == "." else draw_input(grammar, part, rng, longest)
    return words
