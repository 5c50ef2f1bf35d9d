"""Reference interpreter and episode sampler: plain tuples of words, no caching.

`sample_episode.py` measures the library's speed against it, and tests compare outputs with it.
"""

from collections.abc import Iterator
from random import Random

from biml.episodes.episode import Episode, Example
from biml.grammar import Grammar, MetaGrammar, Rule

Words = tuple[str, ...]


def interpret(grammar: Grammar, words: Words, longest: int = 10_000) -> Words:
    """Apply the first rule that matches all words, recursively; stop beyond `longest` symbols.

    Words that no rule matches are returned as they are.
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
    """Yield all variable bindings, longest bindings of earlier variables first."""
    if not lhs:
        if not words:
            yield {}
        return
    longest = len(words) if kinds[0] == "x" else min(1, len(words))
    for length in range(longest, 0, -1):
        if kinds[0] != "." or words[0] == lhs[0]:
            for rest in matches(lhs[1:], kinds[1:], words[length:]):
                yield {lhs[0]: words[:length], **rest}


def sample_episode(meta: MetaGrammar, rng: Random) -> Episode:
    """Sample from the library's distribution; never returns if a grammar has too few inputs."""
    grammar = meta.sample_grammar(rng)
    outputs: dict[Words, Words] = {}
    while len(outputs) < meta.n_study + meta.n_query:
        words = sample_input(grammar, "x1", rng, meta.max_input)
        if len(words) <= meta.max_input and words not in outputs:
            output = interpret(grammar, words, meta.max_output)
            if len(output) <= meta.max_output:
                outputs[words] = output
    examples = [Example(words, output) for words, output in outputs.items()]
    rng.shuffle(examples)
    study, queries = examples[: meta.n_study], examples[meta.n_study :]
    return Episode(tuple(study), tuple(queries), grammar=grammar)


def sample_input(grammar: Grammar, item: str, rng: Random, longest: int) -> Words:
    """Expand a variable of the PCFG; stop soon after `longest` words."""
    primitives: list[Rule] = list(grammar.primitives)
    longer = [rule for rule in grammar.rules if len(rule.lhs) > 1]
    rule = rng.choice([None, *longer]) if item[0] == "x" else None
    if rule is None:
        return rng.choice(primitives).lhs
    words: Words = ()
    for part, kind in zip(rule.lhs, rule.lhs_pattern, strict=True):
        if len(words) <= longest:
            words += (part,) if kind == "." else sample_input(grammar, part, rng, longest)
    return words
