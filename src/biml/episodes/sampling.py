"""Episodes of rules that are held out from training (supplement, novel rules)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice, product
from random import Random

from biml.episodes.episode import Episode, Example
from biml.errors import BimlError
from biml.grammar import Grammar, MetaGrammar, Rule
from biml.grammar.meta_grammar import HELD_OUT_PATTERNS, with_rhs_pattern
from biml.rng import generator

MAX_INPUT_TRIES = 5_000
"""Inputs drawn for one grammar before giving it up; the published meta-grammar needs about 50."""

MAX_SIMPLE_LENGTH = 3
"""Words of the longest use of one function between primitives."""

OVERSAMPLING = 4
"""Inputs drawn for each that is to be longer than that; about a third are."""

MAX_QUERIES_PER_FUNCTION, MAX_QUERIES_IF_SHOWN = 8, 3
"""Uses of a function that `draw_deductions` asks for, and of one whose plain use is shown."""

MAX_GRAMMAR_TRIES = 100
"""Grammars drawn for one episode before giving up the meta-grammar."""


def sample_episode(meta: MetaGrammar, rng: Random, name: str = "") -> Episode:
    """Draw a grammar and an episode of it.

    A grammar with too few inputs within the limits is drawn anew. (With the published sizes
    every grammar has enough.)

    Args:
        meta: the distribution of grammars, and the sizes and limits of the episode.
        rng: the source of everything random.
        name: what to call the episode in messages.

    Returns:
        An episode with `n_study` study and `n_query` query examples, all inputs different.

    Raises:
        BimlError: no grammar of the meta-grammar has enough inputs.

    >>> from biml.rng import generator
    >>> episode = sample_episode(MetaGrammar(), generator(0, "example"))
    >>> len(episode.study), len(episode.queries)
    (14, 10)
    """
    wanted = meta.n_study + meta.n_query
    for _ in range(MAX_GRAMMAR_TRIES):
        grammar = meta.sample_grammar(rng)
        examples = sample_examples(grammar, meta, rng)
        if len(examples) == wanted:
            study, queries = examples[: meta.n_study], examples[meta.n_study :]
            return Episode(tuple(study), tuple(queries), grammar=grammar, name=name)
    raise BimlError(
        f"no grammar drawn had {wanted} different inputs of at most {meta.max_input} words and "
        f"{meta.max_output} symbols; ask for fewer examples or allow longer ones"
    )


def sample_single_function_episode(meta: MetaGrammar, rng: Random, name: str = "") -> Episode:
    """Draw a grammar and an episode of its functions' plainest uses.

    Every primitive stands alone in the study set; all other inputs are one function between
    primitives. So what a function does with its arguments is all there is to find out.

    Args:
        meta, rng, name: as for `draw_episode`.

    Returns:
        An episode with at most `n_study` study examples, at most half of the uses among them, and
        at most `n_query` query examples.
    """
    grammar = meta.sample_grammar(rng)
    plain = _simple_inputs(grammar, rng)
    # Half of the uses are to ask for, where there are only a few.
    n_study = min(meta.n_study, (len(grammar.primitives) + len(plain)) // 2)
    examples = _interpret_inputs(grammar, plain, meta, n_study + meta.n_query)
    return Episode(examples[:n_study], examples[n_study:], grammar=grammar, name=name)


def sample_long_query_episode(meta: MetaGrammar, rng: Random, name: str = "") -> Episode:
    """Draw a grammar and an episode that asks for long inputs, with plain ones to learn them from.

    Every primitive stands alone in the study set; half of the rest is uses of one function between
    primitives. The other half, and the queries, are longer inputs, so that the order of rules
    shows too.

    Args:
        meta, rng, name: as for `draw_episode`.

    Returns:
        An episode with at most `n_study` study examples, and at most `n_query` query examples.
    """
    grammar = meta.sample_grammar(rng)
    n_plain = (meta.n_study + len(grammar.primitives)) // 2
    plain = _interpret_inputs(grammar, _simple_inputs(grammar, rng), meta, n_plain)
    wanted = meta.n_study - len(plain) + meta.n_query
    drawn = sample_examples(grammar, replace(meta, n_study=0, n_query=OVERSAMPLING * wanted), rng)
    long = [example for example in drawn if len(example.input) > MAX_SIMPLE_LENGTH]
    n_long = min(meta.n_study - len(plain), len(long) // 2)
    queries = long[n_long:][: meta.n_query]
    return Episode((*plain, *long[:n_long]), tuple(queries), grammar=grammar, name=name)


def sample_inference_episode(meta: MetaGrammar, rng: Random, name: str = "") -> Episode:
    """Draw an ordinary study set, and ask for the plainest inputs that it does not show.

    They are the primitives that do not stand alone, and uses of one function between primitives:
    more of a function whose plain uses are not shown at all. So what a word means is to be deduced
    from longer inputs.

    Args:
        meta, rng, name: as for `draw_episode`.

    Returns:
        An episode with `n_study` study examples, or fewer if they could not be found, and at most
        twice `n_query` query examples.
    """
    grammar = meta.sample_grammar(rng)
    study = tuple(sample_examples(grammar, replace(meta, n_query=1), rng)[: meta.n_study])
    shown = {example.input for example in study}
    primitives = [rule.lhs for rule in grammar.primitives]
    asked = [words for words in primitives if words not in shown]
    for function in grammar.functions:
        uses = list(_simple_applications(function, primitives))
        rng.shuffle(uses)
        most = MAX_QUERIES_IF_SHOWN if shown.intersection(uses) else MAX_QUERIES_PER_FUNCTION
        asked.extend([words for words in uses if words not in shown][:most])
    rng.shuffle(asked)
    queries = _interpret_inputs(grammar, asked, meta, 2 * meta.n_query)
    return Episode(study, queries, grammar=grammar, name=name)


def _simple_inputs(grammar: Grammar, rng: Random) -> list[tuple[str, ...]]:
    """Every primitive alone, then the uses of functions between primitives in random order."""
    primitives = [rule.lhs for rule in grammar.primitives]
    uses = [words for rule in grammar.functions for words in _simple_applications(rule, primitives)]
    rng.shuffle(uses)
    return [*primitives, *uses]


def _interpret_inputs(
    grammar: Grammar, inputs: Iterable[tuple[str, ...]], meta: MetaGrammar, limit: int
) -> tuple[Example, ...]:
    """The first inputs, `most` at most, whose outputs are not too long."""
    examples = (Example(words, grammar.interpret(words)) for words in inputs)
    short = (example for example in examples if len(example.output) <= meta.max_output)
    return tuple(islice(short, limit))


def _simple_applications(
    function: Rule, primitives: Sequence[tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    """A function's left side with every choice of primitives for its arguments."""
    items = zip(function.lhs, function.lhs_pattern, strict=True)
    arguments = [[(item,)] if kind == "." else primitives for item, kind in items]
    return (tuple(word for (word,) in choice) for choice in product(*arguments))


def sample_examples(grammar: Grammar, meta: MetaGrammar, rng: Random) -> list[Example]:
    """Draw different inputs of a grammar from its PCFG, with their outputs, in random order.

    The PCFG starts at `X`, which becomes `U` or the left side of any rule of several items, each
    as likely as the others; `U` becomes any primitive. Inputs of more than `meta.max_input` words
    are rejected, and so are outputs of more than `meta.max_output` symbols.

    Returns:
        `meta.n_study + meta.n_query` examples, or fewer if they could not be found.
    """
    interpreter = grammar.interpreter
    longest, wanted = meta.max_output, meta.n_study + meta.n_query
    results = interpreter.memo_table(longest)
    outputs: dict[str, str] = {}
    for string in islice(
        _sample_inputs(interpreter.lhs_codes, meta.max_input, rng), MAX_INPUT_TRIES
    ):
        if string not in outputs:
            output = results[string]
            if len(output) <= longest:
                outputs[string] = output
                if len(outputs) == wanted:
                    break
    names = {code: name for name, code in interpreter.codes.items()}.__getitem__
    examples = [Example(tuple(map(names, i)), tuple(map(names, o))) for i, o in outputs.items()]
    rng.shuffle(examples)
    return examples


def _sample_inputs(lhs_codes: tuple[str, ...], max_length: int, rng: Random) -> Iterator[str]:
    """Strings of the PCFG in codes, without end; those that grow too long are left out."""
    of_x, of_u = _pcfg_expansions(lhs_codes)
    random, n, m = rng.random, len(of_x), len(of_u)
    while of_x:  # A grammar without primitives has no inputs.
        form = of_x[int(random() * n)]
        while "X" in form and len(form) <= max_length:
            form = form.replace("X", of_x[int(random() * n)], 1)
        if len(form) <= max_length:
            while "U" in form:
                form = form.replace("U", of_u[int(random() * m)], 1)
            yield form


@lru_cache(maxsize=2048)
def _pcfg_expansions(lhs_codes: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """What X and what U become, equally likely entries, given the left sides of a grammar.

    An X takes two draws, the production and the primitive of its first U; as one draw from a
    table of all pairs it costs half.
    """
    of_u = [form for form in dict.fromkeys(lhs_codes) if len(form) == 1 and form not in "UX"]
    productions = ["U", *[form for form in lhs_codes if len(form) > 1]]
    return [form.replace("U", word, 1) for form in productions for word in of_u], of_u


# === Episodes of rules that are held out from training (supplement, novel rules).


EPISODES_PER_RULE = 5
"""Episodes of each rule, as in the supplement."""

N_DEMONSTRATIONS = 2
"""Study examples that are sure to apply the rule."""


@lru_cache(maxsize=1)
def sample_novel_rule_episodes() -> tuple[Episode, ...]:
    """The 26 × 5 episodes, the same whatever the seed of a run is.

    >>> episodes = sample_novel_rule_episodes()
    >>> len(episodes), len(episodes[0].study), len(episodes[0].queries)
    (130, 14, 16)
    """
    return tuple(
        sample_novel_rule_episode(
            pattern,
            generator(0, "novel rules", pattern, number),
            name=f"rule {pattern}, episode {number + 1}",
        )
        for pattern in HELD_OUT_PATTERNS
        for number in range(EPISODES_PER_RULE)
    )


def sample_novel_rule_episode(pattern: str, rng: Random, *, name: str = "") -> Episode:
    """An episode of the meta-grammar with the right side of one function fixed.

    The study examples tell enough to answer every query: each primitive stands alone in one, and
    two apply the function to two different primitives. The other eight are drawn as in any
    episode, and may apply it too. The queries apply it to all combinations of primitives. Those
    that are study examples are marked as copied, and so do not count as novel.

    Args:
        pattern: which argument stands where on the right side, such as `12212122`.
        rng: the source of everything random.
        name: what to call the episode in messages.
    """
    meta = MetaGrammar()
    wanted = len(set(pattern))
    while True:
        grammar = meta.sample_grammar(rng)
        old = rng.choice(grammar.functions)
        if len(old.variables) == wanted:
            break
    rule = with_rhs_pattern(old, pattern)
    grammar = Grammar(tuple([rule if one is old else one for one in grammar.rules]))
    applied = _applied_examples(rule, grammar)
    telling = [example for example in applied if len(set(example.input)) == len(example.input)]
    primitives = [Example(one.words, one.symbols) for one in grammar.primitives]
    study = [*primitives, *rng.sample(telling, N_DEMONSTRATIONS)]
    others = [e for e in sample_examples(grammar, meta, rng) if e not in study]
    study += others[: meta.n_study - len(study)]
    rng.shuffle(study)
    shown = {example.input for example in study}
    queries = [example._replace(in_study=example.input in shown) for example in applied]
    return Episode(tuple(study), tuple(queries), grammar=grammar, name=name)


def _applied_examples(rule: Rule, grammar: Grammar) -> list[Example]:
    """The function applied to all combinations of primitives, with outputs."""
    words = [primitive.words[0] for primitive in grammar.primitives]
    examples = []
    for arguments in product(words, repeat=len(rule.variables)):
        matched = dict(zip(rule.variables, arguments, strict=True))
        said = tuple([matched.get(item, item) for item in rule.lhs])
        examples.append(Example(said, grammar.interpret(said)))
    return examples
