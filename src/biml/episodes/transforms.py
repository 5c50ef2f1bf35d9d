"""Episode transforms: functions of an episode and a random generator that return a new episode.

An episode type lists them in the order of the paper (Methods): shuffle or subsample the study
examples, add study-example queries, then change the other queries' targets by biases and noise.
Options are bound by `functools.partial`, so that datasets can be sent to worker processes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random

from biml.episodes.episode import Episode, Example, GrammarLabels, Remapping, SourcePositions
from biml.errors import BimlError, UsageError
from biml.grammar import Grammar
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.grammar.perturbations import (
    HUMAN_RATES,
    SlipRates,
    is_binary_function,
    sample_perturbed_grammar,
    swap_arguments,
)
from biml.vocabulary import NO_SYMBOL, UNDEFINED

Transform = Callable[[Episode, Random], Episode]

Symbols = tuple[str, ...]

MAX_RANDOM_STUDY = 6
"""Most study examples of an open-ended training episode (paper, Methods)."""


def apply_transforms(transforms: Sequence[Transform], episode: Episode, rng: Random) -> Episode:
    for transform in transforms:
        episode = transform(episode, rng)
    return episode


# Study examples and queries


def shuffle_study(episode: Episode, rng: Random) -> Episode:
    return replace(episode, study=tuple(rng.sample(episode.study, len(episode.study))))


def shuffle_queries(episode: Episode, rng: Random) -> Episode:
    return replace(episode, queries=tuple(rng.sample(episode.queries, len(episode.queries))))


def subsample_study(episode: Episode, rng: Random, *, max_n: int, min_n: int = 0) -> Episode:
    """Keep `min_n` to `max_n` random study examples (each number as likely), in their order."""
    have = len(episode.study)
    if not 0 <= min_n <= min(max_n, have):
        raise UsageError(
            f"cannot keep {min_n} to {max_n} of the {have} study examples of {episode.name}"
        )
    kept = sorted(rng.sample(range(have), rng.randint(min_n, min(max_n, have))))
    return replace(episode, study=tuple([episode.study[i] for i in kept]))


def add_study_queries(episode: Episode, rng: Random | None = None) -> Episode:
    """Query the study examples too, before the other queries (the copy task)."""
    copies = [Example(example.input, example.output, in_study=True) for example in episode.study]
    return replace(episode, queries=(*copies, *episode.queries))


def only_study_queries(episode: Episode, rng: Random | None = None) -> Episode:
    """Query the study examples and nothing else."""
    return add_study_queries(replace(episode, queries=()))


def limit_study_queries(episode: Episode, rng: Random, *, limit: int) -> Episode:
    """Keep at most `limit` random study-example queries."""
    copied = [number for number, query in enumerate(episode.queries) if query.in_study]
    left_out = set(rng.sample(copied, max(0, len(copied) - limit)))
    kept = [query for number, query in enumerate(episode.queries) if number not in left_out]
    return replace(episode, queries=tuple(kept))


def drop_study(episode: Episode, rng: Random | None = None) -> Episode:
    """Remove the study examples (basic seq2seq)."""
    return replace(episode, study=())


def drop_undefined_responses(episode: Episode, rng: Random | None = None) -> Episode:
    """Remove responses with a symbol that the canonical vocabulary lacks."""
    return replace(episode, queries=tuple(q for q in episode.queries if UNDEFINED not in q.output))


def drop_pool(episode: Episode, rng: Random | None = None) -> Episode:
    """Allow every symbol."""
    return replace(episode, pool=None)


DETERMINISTIC = {
    add_study_queries,
    only_study_queries,
    drop_study,
    drop_undefined_responses,
    drop_pool,
}
"""Transforms that draw nothing at random."""


# Corrupted targets. Study-example queries keep theirs, so that these may come in any order.


def add_biases(
    episode: Episode, rng: Random, p: float = 0.2, symbols: Symbols = COLOURS, max_output: int = 8
) -> Episode:
    """Give novel queries the output of human inductive biases with probability `p` (Methods).

    By a fair coin that is the one-to-one translation, or the output of the grammar with swapped
    arguments unless it is longer than `max_output`. Words without a known meaning are translated to
    a random one of `symbols`, drawn anew for each occurrence.
    """
    grammar = _require_grammar(episode, "biases")
    known = primitive_meanings(episode.study)

    def biased(query: Example) -> Symbols:
        if rng.random() >= p:
            return query.output
        if rng.random() < 0.5:
            return tuple([known.get(word) or rng.choice(symbols) for word in query.input])
        output = swap_random_arguments(grammar, rng).interpret(query.input)
        return output if len(output) <= max_output else query.output

    return _replace_novel_targets(episode, biased)


def add_slips(
    episode: Episode,
    rng: Random,
    rates: SlipRates = HUMAN_RATES,
    symbols: Sequence[str] = COLOURS,
    max_output: int = 8,
) -> Episode:
    """Give novel queries a response with slips, which are likelier in longer queries.

    A query is translated one-to-one, or answered by a grammar perturbed rule by rule for this
    query, unless that output is longer than `max_output`. Misread words, and those without a known
    meaning, are translated to a random one of `symbols`, the same throughout a query.
    """
    variants = rates.rule_variants(_require_grammar(episode, "slips"), symbols)
    known = primitive_meanings(episode.study)

    def with_slips(query: Example) -> Symbols:
        if rng.random() < rates.one_to_one_probability(query.input):
            meanings = dict(known)
            for word in query.input:
                if word not in meanings:
                    meanings[word] = rng.choice(symbols)
            return tuple([meanings[word] for word in query.input])
        if grammar := sample_perturbed_grammar(variants, rng):
            output = grammar.interpret(query.input)
            if len(output) <= max_output:
                return output
        return query.output

    return _replace_novel_targets(episode, with_slips)


def add_noise(
    episode: Episode, rng: Random, p: float = 0.01, symbols: Sequence[str] = COLOURS
) -> Episode:
    """Replace each target symbol of novel queries with probability `p`.

    The replacement is one of `symbols` or the end of the sequence, which cuts the target; the first
    symbol is only replaced by a symbol, so that no target is empty.
    """

    def noisy(query: Example) -> Symbols:
        hit = [i for i in range(len(query.output)) if rng.random() < p]
        if not hit:
            return query.output
        output = list(query.output)
        for i in hit:
            choice = rng.randrange(len(symbols) + (i > 0))
            if choice == len(symbols):
                return tuple(output[:i])
            output[i] = symbols[choice]
        return tuple(output)

    return _replace_novel_targets(episode, noisy)


def _replace_novel_targets(episode: Episode, target: Callable[[Example], Symbols]) -> Episode:
    queries = list(episode.queries)
    for i, query in enumerate(queries):
        if not query.in_study and (output := target(query)) is not query.output:
            queries[i] = query._replace(output=output)
    return replace(episode, queries=tuple(queries))


def _require_grammar(episode: Episode, purpose: str) -> Grammar:
    if episode.grammar is None:
        raise UsageError(f"{episode.name or 'the episode'}: {purpose} need the episode's grammar")
    return episode.grammar


def primitive_meanings(study: Sequence[Example]) -> dict[str, str]:
    """The symbol of each word that a study example shows alone, with one symbol."""
    return {e.input[0]: e.output[0] for e in study if len(e.input) == len(e.output) == 1}


def swap_random_arguments(grammar: Grammar, rng: Random) -> Grammar:
    """Swap the variables on the right-hand side of each binary function with probability 0.5."""
    rules = [
        swap_arguments(rule) if is_binary_function(rule) and rng.random() < 0.5 else rule
        for rule in grammar.rules
    ]
    return Grammar(tuple(rules))


# Remapping of words and symbols


def remap(
    episode: Episode, rng: Random, words: Sequence[str] = WORDS, symbols: Sequence[str] = COLOURS
) -> Episode:
    """Give the episode's words and symbols distinct random names among `words` and `symbols`.

    Examples, grammar and pool are renamed alike; `undo_remapping` restores the original names.

    >>> from biml.rng import generator
    >>> episode = Episode((), (Example(("1", "thrice"), ("1", "1", "1")),))
    >>> mapped = remap(episode, generator(0), ["dax", "lug"], ["RED"])
    >>> mapped.queries[0].output, undo_remapping(mapped, ["RED", "BLUE"])
    (('RED', 'RED', 'RED'), ('1', 'undefined_action'))
    """
    own_words, own_symbols = symbols_used(episode)
    return rename(
        episode,
        _sample_names(own_words, words, "words", episode, rng),
        _sample_names(own_symbols, symbols, "symbols", episode, rng),
    )


def rename(episode: Episode, words: dict[str, str], symbols: dict[str, str]) -> Episode:
    """Rename every word and symbol of an episode, each of which must be a key."""

    def renamed(example: Example) -> Example:
        return Example(
            tuple([words[w] for w in example.input]),
            tuple([symbols[s] for s in example.output]),
            *example[2:],
        )

    return replace(
        episode,
        study=tuple(map(renamed, episode.study)),
        queries=tuple(map(renamed, episode.queries)),
        grammar=episode.grammar and episode.grammar.remap(words, symbols),
        pool=episode.pool and tuple([symbols[s] for s in episode.pool]),
        remapping=Remapping(words, symbols),
    )


def undo_remapping(episode: Episode, symbols: Sequence[str]) -> Symbols:
    """Restore the original names of output symbols; others become `undefined_action`.

    `NO_SYMBOL` stays, and so do all symbols of an episode that was not remapped.
    """
    if episode.remapping is None:
        return tuple(symbols)
    back = {new: old for old, new in episode.remapping.symbols.items()}
    back[NO_SYMBOL] = NO_SYMBOL
    return tuple([back.get(symbol, UNDEFINED) for symbol in symbols])


def original_words(episode: Episode, words: Sequence[str]) -> Symbols:
    """Restore the original names of input words of an episode."""
    if episode.remapping is None:
        return tuple(words)
    back = {new: old for old, new in episode.remapping.words.items()}
    return tuple([back[word] for word in words])


def symbols_used(episode: Episode) -> tuple[list[str], list[str]]:
    """All input words and all output symbols of an episode, in order of first use."""
    words: list[str] = []
    symbols: list[str] = []
    for example in (*episode.study, *episode.queries):
        words += example.input
        symbols += example.output
    if episode.grammar is not None:
        words += episode.grammar.words
        symbols += episode.grammar.symbols
    return list(dict.fromkeys(words)), list(dict.fromkeys((*symbols, *(episode.pool or ()))))


def _sample_names(
    old_names: Sequence[str], new_names: Sequence[str], kind: str, episode: Episode, rng: Random
) -> dict[str, str]:
    if len(old_names) > len(new_names):
        raise UsageError(
            f"{episode.name or 'the episode'} has {len(old_names)} {kind} ({' '.join(old_names)}), "
            f"more than the {len(new_names)} to rename them to ({' '.join(new_names)})"
        )
    return dict(zip(old_names, rng.sample(new_names, len(old_names)), strict=True))


# Labels of the auxiliary losses


def add_grammar_labels(episode: Episode, rng: Random | None = None) -> Episode:
    """Label examples and words by the episode's grammar, where it has one.

    >>> grammar = Grammar.parse("dax -> RED\\nwif -> BLUE\\nu1 fep u2 -> [u2] [u1] [u2]")
    >>> query = Example(("dax", "fep", "wif"), ("BLUE", "RED", "BLUE"))
    >>> noisy = Example(("dax", "fep", "wif"), ("BLUE", "PINK", "BLUE"))
    >>> add_grammar_labels(Episode((), (query, noisy), grammar=grammar)).grammar_labels.queries
    ((2, 0, 2), None)
    """
    grammar = episode.grammar
    if grammar is None:
        return episode
    rules = {rule.words[0]: rule for rule in grammar.rules if len(rule.words) == 1}
    study = _source_positions(grammar, episode.study)
    queries = _source_positions(grammar, episode.queries)
    return replace(episode, grammar_labels=GrammarLabels(study, queries, rules))


def _source_positions(grammar: Grammar, examples: Sequence[Example]) -> tuple[SourcePositions, ...]:
    """For each output symbol the position of its word; None where the grammar gives another."""
    symbols = {rule.lhs[0]: rule.rhs[0] for rule in grammar.primitives}
    every = grammar.interpreter.source_positions(example.input for example in examples)
    return tuple(
        at if at is not None and tuple([symbols[input[i]] for i in at]) == output else None
        for (input, output, *_), at in zip(examples, every, strict=True)
    )


# The open-ended and the probe task


def random_study_query_split(episode: Episode, rng: Random) -> Episode:
    """Make a random 0 to 6 of a participant's pairs study examples and the others queries."""
    pairs = rng.sample(episode.queries, len(episode.queries))
    n = rng.randint(0, min(MAX_RANDOM_STUDY, len(pairs) - 1))
    return replace(episode, study=tuple(pairs[:n]), queries=tuple(pairs[n:]))


def autoregressive_episodes(episode: Episode) -> Iterator[Episode]:
    """Yield an episode for each query, in order, with the earlier pairs as study examples.

    >>> a, b = Example(("dax",), ("RED",)), Example(("lug",), ("BLUE",))
    >>> [(len(e.study), e.queries[0].input) for e in autoregressive_episodes(Episode((), (a, b)))]
    [(0, ('dax',)), (1, ('lug',))]
    """
    for i, query in enumerate(episode.queries):
        # Without item and participant, so that participants of equal responses share a study set.
        earlier = [Example(pair.input, pair.output) for pair in episode.queries[:i]]
        study = (*episode.study, *earlier)
        yield replace(episode, study=study, queries=(query,))


def add_pool_to_study(episode: Episode, rng: Random) -> Episode:
    """Put the pool before the study examples, as one without input, its symbols in random order.

    (Files list the symbols of the study examples first, which would give them away.)
    """
    if episode.pool is None:
        problem = "a probe trial must list its 'allowed outputs:' below '*GRAMMAR*'"
        raise BimlError(f"{episode.name}: {problem}")
    pool = Example((), tuple(rng.sample(episode.pool, len(episode.pool))))
    return replace(episode, study=(pool, *episode.study))
