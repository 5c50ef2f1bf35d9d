"""Changes to episodes before they are shown: each a function from episode to episode.

An episode type composes them in the order of the paper (Methods): shuffle and keep study
examples, change the queries' targets by biases and then by noise, and show the study examples as
queries too. Biases and noise leave copied queries alone, so that they may also come last.
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
from biml.vocabulary import UNDEFINED

Transform = Callable[[Episode, Random], Episode]
"""One change to an episode, such as shuffling its study examples."""


def apply_transforms(transforms: Sequence[Transform], episode: Episode, rng: Random) -> Episode:
    """The episode after all steps, in order."""
    for step in transforms:
        episode = step(episode, rng)
    return episode


# === Changes to episodes before they are shown: each a function from episode to episode.


def shuffle_study(episode: Episode, rng: Random) -> Episode:
    """Show the study examples in a random order."""
    return replace(episode, study=tuple(rng.sample(episode.study, len(episode.study))))


def keep_study(episode: Episode, min_ns: int, max_ns: int, rng: Random) -> Episode:
    """Keep a random `min_ns` to `max_ns` study examples (each number as likely), in their order.

    Raises:
        UsageError: the bounds are not 0 <= min_ns <= max_ns <= the number of study examples.
    """
    have = len(episode.study)
    if not 0 <= min_ns <= max_ns <= have:
        raise UsageError(
            f"cannot keep {min_ns} to {max_ns} of the {have} study examples of {episode.name}"
        )
    kept = sorted(rng.sample(range(have), rng.randint(min_ns, max_ns)))
    return replace(episode, study=tuple([episode.study[i] for i in kept]))


def append_study_queries(episode: Episode) -> Episode:
    """Put the study examples before the queries as well, marked as copied (the copy task)."""
    copies = [Example(e.input, e.output, in_study=True) for e in episode.study]
    return replace(episode, queries=(*copies, *episode.queries))


def add_biases(
    episode: Episode,
    rng: Random,
    p: float = 0.2,
    symbols: Sequence[str] = COLOURS,
    max_output: int = 8,
) -> Episode:
    """Give some queries the answer that people's inductive biases would give (paper, Methods).

    Each query that is not copied is changed with probability `p`: by a fair coin to its
    one-to-one translation or to the output of the grammar with flipped rules.

    Args:
        episode: must have its grammar.
        rng: the source of everything random.
        p: probability of a change, for each query on its own.
        symbols: what words of no known meaning translate to.
        max_output: flipped rules are not used where their output is longer than this.

    Raises:
        UsageError: the episode has no grammar.
    """
    grammar = _require_grammar(episode, "biases")
    known = primitive_meanings(episode.study)
    queries = []
    for query in episode.queries:
        if not query.in_study and rng.random() < p:
            if rng.random() < 0.5:
                output = _one_to_one_output(query, known, symbols, rng)
            else:
                output = swap_random_arguments(grammar, rng).interpret(query.input)
                if len(output) > max_output:
                    output = query.output
            query = Example(query.input, output)
        queries.append(query)
    return replace(episode, queries=tuple(queries))


def add_slips(
    episode: Episode,
    rng: Random,
    rates: SlipRates = HUMAN_RATES,
    symbols: Sequence[str] = COLOURS,
    max_output: int = 8,
) -> Episode:
    """Give some queries an answer with slips, the more likely the longer the query is.

    A query that is not copied is translated one-to-one, or else is answered by the grammar as it is
    misread for this query, rule by rule.

    Args:
        episode: must have its grammar.
        rng: the source of everything random.
        rates: of each kind of slip.
        symbols: what misread words and words of no known meaning translate to.
        max_output: misread rules are not used where their output is longer than this.

    Raises:
        UsageError: the episode has no grammar.
    """
    readings = rates.rule_variants(_require_grammar(episode, "slips"), symbols)
    known = primitive_meanings(episode.study)
    queries = []
    for query in episode.queries:
        if not query.in_study:
            if rng.random() < rates.one_to_one_probability(query.input):
                query = Example(query.input, _one_to_one_output(query, known, symbols, rng))
            elif grammar := sample_perturbed_grammar(readings, rng):
                output = grammar.interpret(query.input)
                if len(output) <= max_output:
                    query = Example(query.input, output)
        queries.append(query)
    return replace(episode, queries=tuple(queries))


def _require_grammar(episode: Episode, purpose: str) -> Grammar:
    if episode.grammar is None:
        raise UsageError(f"{episode.name or 'the episode'}: {purpose} need the episode's grammar")
    return episode.grammar


def primitive_meanings(study: Sequence[Example]) -> dict[str, str]:
    """The symbol of each word that a study example shows alone, with one symbol."""
    return {e.input[0]: e.output[0] for e in study if len(e.input) == len(e.output) == 1}


def _one_to_one_output(
    query: Example, known: dict[str, str], symbols: Sequence[str], rng: Random
) -> tuple[str, ...]:
    """Each word's symbol where study shows it; else one drawn for that word and this query."""
    meanings = dict(known)
    for word in query.input:
        if word not in meanings:
            meanings[word] = rng.choice(symbols)
    return tuple([meanings[word] for word in query.input])


def swap_random_arguments(grammar: Grammar, rng: Random) -> Grammar:
    """The grammar with each function of two arguments flipped with probability 0.5.

    A flipped function has the roles of its two variables exchanged on its right side.
    """
    return Grammar(
        tuple(
            [
                swap_arguments(r) if is_binary_function(r) and rng.random() < 0.5 else r
                for r in grammar.rules
            ]
        )
    )


def add_noise(
    episode: Episode, rng: Random, p: float = 0.01, symbols: Sequence[str] = COLOURS
) -> Episode:
    """Replace each target symbol of queries that are not copied with probability `p`.

    The replacement is any of `symbols` or the end of the sequence, which cuts the target there;
    the first symbol is only replaced by a symbol, so that no target is empty.
    """
    queries = list(episode.queries)
    for i, query in enumerate(queries):
        if not query.in_study:
            queries[i] = Example(query.input, _corrupt_target(query.output, p, symbols, rng))
    return replace(episode, queries=tuple(queries))


def _corrupt_target(
    target: tuple[str, ...], p: float, symbols: Sequence[str], rng: Random
) -> tuple[str, ...]:
    hit = [i for i in range(len(target)) if rng.random() < p]
    if not hit:
        return target
    noisy = list(target)
    for i in hit:
        choice = rng.randrange(len(symbols) + (i > 0))
        if choice == len(symbols):
            return tuple(noisy[:i])
        noisy[i] = symbols[choice]
    return tuple(noisy)


def remap(episode: Episode, words: Sequence[str], symbols: Sequence[str], rng: Random) -> Episode:
    """Rename the episode's input words and output symbols to different ones at random.

    Examples, grammar and pool are renamed alike; the renaming is kept in `remapping`, by which
    `unmap_symbols` shows answers in the episode's own names.

    Raises:
        UsageError: the episode has more words or symbols than there are names to draw from.

    >>> from biml.rng import generator
    >>> episode = Episode((), (Example(("1", "thrice"), ("1", "1", "1")),))
    >>> mapped = remap(episode, ["dax", "lug"], ["RED"], generator(0))
    >>> mapped.queries[0].output, undo_remapping(mapped, ["RED", "BLUE"])
    (('RED', 'RED', 'RED'), ('1', 'undefined_action'))
    """
    own_words, own_symbols = symbols_used(episode)
    to_words = _sample_names(own_words, words, "words", episode, rng)
    to_symbols = _sample_names(own_symbols, symbols, "symbols", episode, rng)

    def renamed(example: Example) -> Example:
        return Example(
            tuple([to_words[w] for w in example.input]),
            tuple([to_symbols[s] for s in example.output]),
            example.in_study,
        )

    return replace(
        episode,
        study=tuple(map(renamed, episode.study)),
        queries=tuple(map(renamed, episode.queries)),
        grammar=episode.grammar and episode.grammar.remap(to_words, to_symbols),
        pool=episode.pool and tuple([to_symbols[s] for s in episode.pool]),
        remapping=Remapping(to_words, to_symbols),
    )


def undo_remapping(episode: Episode, symbols: Sequence[str]) -> tuple[str, ...]:
    """Answers to a remapped episode in its own names; `undefined_action` for any other symbol.

    An episode that was not remapped has its symbols as they are.
    """
    if episode.remapping is None:
        return tuple(symbols)
    back = {new: old for old, new in episode.remapping.symbols.items()}
    return tuple([back.get(symbol, UNDEFINED) for symbol in symbols])


def symbols_used(episode: Episode) -> tuple[list[str], list[str]]:
    """All input words and all output symbols of an episode, in order of mention."""
    words: dict[str, None] = {}
    symbols: dict[str, None] = {}
    for example in (*episode.study, *episode.queries):
        words.update(dict.fromkeys(example.input))
        symbols.update(dict.fromkeys(example.output))
    if episode.grammar is not None:
        words.update(dict.fromkeys(episode.grammar.words))
        symbols.update(dict.fromkeys(episode.grammar.symbols))
    symbols.update(dict.fromkeys(episode.pool or ()))
    return list(words), list(symbols)


def _sample_names(
    old_names: Sequence[str], new_names: Sequence[str], kind: str, episode: Episode, rng: Random
) -> dict[str, str]:
    if len(old_names) > len(new_names):
        raise UsageError(
            f"{episode.name or 'the episode'} has {len(old_names)} {kind} ({' '.join(old_names)}), more than "
            f"the {len(new_names)} to rename them to ({' '.join(new_names)})"
        )
    return dict(zip(old_names, rng.sample(new_names, len(old_names)), strict=True))


# === The steps that episode types are composed of, each a function of an episode and a generato


def subsample_study(max_ns: int, min_ns: int = 0) -> Transform:
    """Keep a random number of study examples between the bounds (or all, where they are fewer)."""

    def step(episode: Episode, rng: Random) -> Episode:
        return keep_study(episode, min_ns, min(max_ns, len(episode.study)), rng)

    return step


def add_study_queries(episode: Episode, rng: Random) -> Episode:
    """Ask for the study examples as well (the copy task)."""
    return append_study_queries(episode)


def only_study_queries(episode: Episode, rng: Random) -> Episode:
    """Ask for the study examples and nothing else."""
    return append_study_queries(replace(episode, queries=()))


def limit_study_queries(limit: int) -> Transform:
    """Ask for a few of the study examples only, drawn at random."""

    def step(episode: Episode, rng: Random) -> Episode:
        copied = [number for number, query in enumerate(episode.queries) if query.in_study]
        left_out = set(rng.sample(copied, max(0, len(copied) - limit)))
        kept = [query for number, query in enumerate(episode.queries) if number not in left_out]
        return replace(episode, queries=tuple(kept))

    return step


def remap_to(words: Sequence[str], symbols: Sequence[str]) -> Transform:
    """Give words and symbols random ones of these names."""
    return lambda episode, rng: remap(episode, words, symbols, rng)


remap_published = remap_to(WORDS, COLOURS)
"""Give words and symbols random ones of the published names."""


def drop_study(episode: Episode, rng: Random) -> Episode:
    """Show no study examples (basic seq2seq)."""
    return replace(episode, study=())


def drop_undefined_responses(episode: Episode, rng: Random) -> Episode:
    """Leave out responses with a symbol that the canonical vocabulary does not have."""
    return replace(episode, queries=tuple(q for q in episode.queries if UNDEFINED not in q.output))


# === What an episode's grammar tells beside its targets, to guide a network in training.


def add_grammar_labels(episode: Episode, rng: Random | None = None) -> Episode:
    """The episode with what its grammar tells, where it has one.

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
    study, queries = (
        _source_positions(grammar, episode.study),
        _source_positions(grammar, episode.queries),
    )
    return replace(episode, grammar_labels=GrammarLabels(study, queries, rules))


def _source_positions(grammar: Grammar, examples: Sequence[Example]) -> tuple[SourcePositions, ...]:
    symbols = {rule.lhs[0]: rule.rhs[0] for rule in grammar.primitives}
    places = grammar.interpreter.source_positions(example.input for example in examples)
    return tuple(
        found
        if found is not None and [symbols[example.input[i]] for i in found] == list(example.output)
        else None
        for example, found in zip(examples, places, strict=True)
    )


# === The open-ended task: seven inputs that each participant answered without any study example


MAX_RANDOM_STUDY = 6


def shuffle_queries(episode: Episode, rng: Random) -> Episode:
    """Put the queries in a random order."""
    return replace(episode, queries=tuple(rng.sample(episode.queries, len(episode.queries))))


def random_study_query_split(episode: Episode, rng: Random) -> Episode:
    """Make a random 0 to 6 of the pairs study examples and the others queries."""
    pairs = rng.sample(episode.queries, len(episode.queries))
    n = rng.randint(0, min(MAX_RANDOM_STUDY, len(pairs) - 1))
    return replace(episode, study=tuple(pairs[:n]), queries=tuple(pairs[n:]))


def autoregressive_episodes(episode: Episode) -> Iterator[Episode]:
    """An episode for each query, in order, whose study examples are the earlier pairs.

    All have the participant's name, so that their log-likelihoods can be added up.

    >>> from biml.episodes.episode import Example
    >>> a, b = Example(("dax",), ("RED",)), Example(("lug",), ("BLUE",))
    >>> [(len(e.study), e.queries[0].input) for e in autoregressive_episodes(Episode((), (a, b)))]
    [(0, ('dax',)), (1, ('lug',))]
    """
    for i, query in enumerate(episode.queries):
        study = (*episode.study, *episode.queries[:i])
        yield replace(episode, study=study, queries=(query,))


# === The probe task: one small study set, one query, and a pool of symbols to answer with.


def add_pool_to_study(episode: Episode, rng: Random) -> Episode:
    """Show the pool as one more study example, whose input is empty and whose output is the pool.

    The pool's symbols come in random order, as files list first those that the study examples use,
    which would give them away.

    Raises:
        BimlError: the episode has no pool.
    """
    if episode.pool is None:
        raise BimlError(
            f"{episode.name}: a probe trial must list its 'allowed outputs:' below '*GRAMMAR*'"
        )
    pool = Example((), tuple(rng.sample(episode.pool, len(episode.pool))))
    return replace(episode, study=(*episode.study, pool))
