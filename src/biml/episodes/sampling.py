"""Sampling of episodes from the meta-grammar: as published, or for a curriculum or a test.

Inputs come from a probabilistic context-free grammar (paper, Methods).
"""

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
"""Inputs sampled from one grammar before giving it up; the published sizes need about 50."""

MAX_GRAMMAR_TRIES, HOPELESS_GRAMMAR_TRIES = 100, 10
"""Grammars sampled before giving up, and before that if none had half of the inputs needed."""

MAX_SIMPLE_LENGTH = 3
"""Words of the longest application of one function to primitives."""

OVERSAMPLING = 4
"""Inputs sampled for each longer one needed; about a third are longer."""

MAX_QUERIES_PER_FUNCTION, MAX_QUERIES_IF_IN_STUDY = 8, 3
"""Applications of one function in the queries of `sample_inference_episode`."""

MAX_STRING_INPUT, MAX_STRING_OUTPUT = 12, 16
"""Words and symbols of the longest queries of `sample_string_episode`."""

N_STRING_QUERIES, MAX_STRING_FUNCTIONS, MAX_STRING_TRIES = 24, 5, 40
"""Its queries, their most function words, and strings tried for each query."""

MAX_SHUFFLED_FUNCTIONS = 2
"""Function words of strings in any order; of those with more hardly any has an output."""

EPISODES_PER_RULE, N_DEMONSTRATIONS = 5, 2
"""Episodes of each held-out rule (supplement), and study examples that surely apply it."""


def sample_episode(
    meta: MetaGrammar | None = None, rng: Random | int | None = None, name: str = "", seed: int = 0
) -> Episode:
    """Sample a grammar, and an episode of different inputs for it.

    By default of the published meta-grammar; a seed may stand for the generator.

    A grammar with too few inputs within the limits is sampled again; with the published sizes
    every grammar has enough.

    >>> from biml.rng import generator
    >>> episode = sample_episode(MetaGrammar(), generator(0, "example"))
    >>> len(episode.study), len(episode.queries)
    (14, 10)
    >>> sample_episode(seed=3) == sample_episode(MetaGrammar(), 3)
    True
    """
    meta = MetaGrammar() if meta is None else meta
    if rng is None or isinstance(rng, int):
        rng = generator(seed if rng is None else rng, "episode")
    needed = meta.n_study + meta.n_query
    most = 0
    for number in range(MAX_GRAMMAR_TRIES):
        if number == HOPELESS_GRAMMAR_TRIES and most < needed / 2:
            break
        grammar = meta.sample_grammar(rng)
        examples = sample_examples(grammar, meta, rng)
        if len(examples) == needed:
            study, queries = examples[: meta.n_study], examples[meta.n_study :]
            return Episode(tuple(study), tuple(queries), grammar=grammar, name=name)
        most = max(most, len(examples))
    raise BimlError(
        f"no sampled grammar has {needed} different inputs of at most {meta.max_input} words and "
        f"{meta.max_output} symbols; reduce the number of examples or allow longer ones"
    )


def sample_single_function_episode(meta: MetaGrammar, rng: Random, name: str = "") -> Episode:
    """Sample an episode that shows each function by itself (curriculum).

    The study set has every primitive alone; all other inputs apply one function to primitives. At
    most `n_study` study examples, with at most half of the applications, and `n_query` queries.
    """
    grammar = meta.sample_grammar(rng)
    simple = _simple_inputs(grammar, rng)
    n_study = min(meta.n_study, (len(grammar.primitives) + len(simple)) // 2)
    examples = _interpret_inputs(grammar, simple, meta, n_study + meta.n_query)
    return Episode(examples[:n_study], examples[n_study:], grammar=grammar, name=name)


def sample_long_query_episode(meta: MetaGrammar, rng: Random, name: str = "") -> Episode:
    """Sample an episode with long queries and a simple study set to learn from (curriculum).

    The study set has every primitive alone; half of the rest are applications of one function to
    primitives. The other half, and the queries, are longer, so that the order of rules matters.
    At most `n_study` study examples and `n_query` queries.
    """
    grammar = meta.sample_grammar(rng)
    n_simple = (meta.n_study + len(grammar.primitives)) // 2
    simple = _interpret_inputs(grammar, _simple_inputs(grammar, rng), meta, n_simple)
    needed = meta.n_study - len(simple) + meta.n_query
    sampled = sample_examples(grammar, replace(meta, n_study=0, n_query=OVERSAMPLING * needed), rng)
    long = [example for example in sampled if len(example.input) > MAX_SIMPLE_LENGTH]
    n_long = min(meta.n_study - len(simple), len(long) // 2)
    queries = long[n_long:][: meta.n_query]
    return Episode((*simple, *long[:n_long]), tuple(queries), grammar=grammar, name=name)


def sample_inference_episode(meta: MetaGrammar, rng: Random, name: str = "") -> Episode:
    """Sample an ordinary study set, with the simplest inputs not in it as queries (curriculum).

    These are primitives alone, and applications of one function to primitives, more of them where
    the study set has none. So the meanings of words are to be inferred from longer inputs. At most
    `n_study` study examples and twice `n_query` queries.
    """
    grammar = meta.sample_grammar(rng)
    study = tuple(sample_examples(grammar, replace(meta, n_query=1), rng)[: meta.n_study])
    in_study = {example.input for example in study}
    primitives = [rule.lhs for rule in grammar.primitives]
    inputs = [words for words in primitives if words not in in_study]
    for function in grammar.functions:
        applications = list(_simple_applications(function, primitives))
        rng.shuffle(applications)
        known = in_study.intersection(applications)
        limit = MAX_QUERIES_IF_IN_STUDY if known else MAX_QUERIES_PER_FUNCTION
        inputs.extend([words for words in applications if words not in in_study][:limit])
    rng.shuffle(inputs)
    queries = _interpret_inputs(grammar, inputs, meta, 2 * meta.n_query)
    return Episode(study, queries, grammar=grammar, name=name)


def sample_string_episode(meta: MetaGrammar, rng: Random, name: str = "") -> Episode:
    """Sample an ordinary study set, with any strings of its words as queries.

    The other samplers draw queries as they draw study inputs: most are short, a phrase is an
    argument only where the rule says so, and none has more than `meta.max_input` words or
    `meta.max_output` symbols. Here the number of function words is drawn uniformly, then a string
    with so many (up to two in any order; more nested in each other), until the grammar gives it an
    output of symbols alone.
    """
    grammar = meta.sample_grammar(rng)
    study = tuple(sample_examples(grammar, replace(meta, n_query=1), rng)[: meta.n_study])
    interpreter = grammar.interpreter
    codes = interpreter.codes
    memo = interpreter.memo_table(MAX_STRING_OUTPUT)
    symbols = frozenset(codes[symbol] for symbol in grammar.symbols)
    seen = {"".join([codes[word] for word in example.input]) for example in study}
    names = {code: name for name, code in codes.items()}.__getitem__
    queries = []
    for _ in range(N_STRING_QUERIES):
        n_functions = rng.randint(0, MAX_STRING_FUNCTIONS if grammar.functions else 0)
        shuffled = n_functions < MAX_SHUFFLED_FUNCTIONS + (rng.random() < 0.5)
        sample_string = _shuffled_string if shuffled else _nested_string
        for _ in range(MAX_STRING_TRIES):
            string = sample_string(grammar, n_functions, rng)
            if not string or string in seen or len(string) > MAX_STRING_INPUT:
                continue
            output = memo[string]
            if len(output) <= MAX_STRING_OUTPUT and symbols.issuperset(output):
                seen.add(string)
                queries.append(Example(tuple(map(names, string)), tuple(map(names, output))))
                break
    return Episode(study, tuple(queries), grammar=grammar, name=name)


def _shuffled_string(grammar: Grammar, n_functions: int, rng: Random) -> str:
    """Codes of a string in any order; empty if an argument is missing at its start or end."""
    codes = grammar.interpreter.codes
    functions = rng.choices(grammar.functions, k=n_functions) if n_functions else []
    words = rng.choices(grammar.primitives, k=rng.randint(1, MAX_STRING_INPUT - n_functions))
    order = rng.sample([*words, *functions], len(words) + n_functions)
    arities = [len(order[0].variables), len(order[-1].variables)]
    return "" if arities[0] > 0 or arities[1] > 1 else "".join([codes[r.words[0]] for r in order])


def _nested_string(grammar: Grammar, n_functions: int, rng: Random) -> str:
    """Codes of a string in which functions are arguments; empty if the rules allow no such one."""
    codes = grammar.interpreter.codes
    applications = [
        code for code in grammar.interpreter.lhs_codes if len(code) > 1 and code != "UX"
    ]
    form = "X"
    for _ in range(n_functions):
        places = [at for at, code in enumerate(form) if code == "X"]
        if not places:
            return ""
        at = rng.choice(places)
        form = form[:at] + rng.choice(applications) + form[at + 1 :]
    form = "".join(["U" * rng.choice((1, 1, 1, 2, 3)) if code == "X" else code for code in form])
    words = [codes[rule.words[0]] for rule in grammar.primitives]
    return "".join([rng.choice(words) if code == "U" else code for code in form])


def _simple_inputs(grammar: Grammar, rng: Random) -> list[tuple[str, ...]]:
    """Every primitive alone, then shuffled applications of functions to primitives."""
    primitives = [rule.lhs for rule in grammar.primitives]
    applications = [w for rule in grammar.functions for w in _simple_applications(rule, primitives)]
    rng.shuffle(applications)
    return [*primitives, *applications]


def _interpret_inputs(
    grammar: Grammar, inputs: Iterable[tuple[str, ...]], meta: MetaGrammar, limit: int
) -> tuple[Example, ...]:
    """The first inputs, up to `limit`, with outputs of at most `meta.max_output` symbols."""
    examples = (Example(words, grammar.interpret(words)) for words in inputs)
    short = (example for example in examples if len(example.output) <= meta.max_output)
    return tuple(islice(short, limit))


def _simple_applications(
    function: Rule, primitives: Sequence[tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    """A function's left-hand side with every choice of primitives for its arguments."""
    items = zip(function.lhs, function.lhs_pattern, strict=True)
    arguments = [[(item,)] if kind == "." else primitives for item, kind in items]
    return (tuple(word for (word,) in choice) for choice in product(*arguments))


def sample_examples(grammar: Grammar, meta: MetaGrammar, rng: Random) -> list[Example]:
    """Sample different inputs of a grammar, with their outputs, in random order.

    The PCFG starts at `X`, which becomes `U` or the left-hand side of any rule of several items
    with equal probability; `U` becomes any primitive. Inputs over `meta.max_input` words and
    outputs over `meta.max_output` symbols are rejected. There are `meta.n_study + meta.n_query`
    examples, or fewer after `MAX_INPUT_TRIES` inputs.
    """
    interpreter = grammar.interpreter
    max_output, needed = meta.max_output, meta.n_study + meta.n_query
    memo = interpreter.memo_table(max_output)
    outputs: dict[str, str] = {}
    inputs = _sample_inputs(interpreter.lhs_codes, meta.max_input, rng)
    for string in islice(inputs, MAX_INPUT_TRIES):
        if string not in outputs:
            output = memo[string]
            if len(output) <= max_output:
                outputs[string] = output
                if len(outputs) == needed:
                    break
    names = {code: name for name, code in interpreter.codes.items()}.__getitem__
    examples = [Example(tuple(map(names, i)), tuple(map(names, o))) for i, o in outputs.items()]
    rng.shuffle(examples)
    return examples


def _sample_inputs(lhs_codes: tuple[str, ...], max_length: int, rng: Random) -> Iterator[str]:
    """Yield strings of the PCFG in codes, without those that grow too long."""
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
    """Equally likely expansions of X, with their first U expanded too, and of U.

    Sampling production and primitive at once from a table of all pairs halves the time.
    """
    of_u = [form for form in dict.fromkeys(lhs_codes) if len(form) == 1 and form not in "UX"]
    productions = ["U", *[form for form in lhs_codes if len(form) > 1]]
    return [form.replace("U", word, 1) for form in productions for word in of_u], of_u


@lru_cache(maxsize=1)
def sample_novel_rule_episodes() -> tuple[Episode, ...]:
    """Return the 26 × 5 held-out-rule episodes (supplement), which depend on no seed.

    >>> episodes = sample_novel_rule_episodes()
    >>> len(episodes), len(episodes[0].study), len(episodes[0].queries)
    (130, 14, 16)
    """
    episodes = []
    for pattern, number in product(HELD_OUT_PATTERNS, range(EPISODES_PER_RULE)):
        rng = generator(0, "novel rules", pattern, number)
        name = f"rule {pattern}, episode {number + 1}"
        episodes.append(sample_novel_rule_episode(pattern, rng, name=name))
    return tuple(episodes)


def sample_novel_rule_episode(pattern: str, rng: Random, *, name: str = "") -> Episode:
    """Sample an episode in which one function has a right-hand side of that argument pattern.

    The study set determines every query: it has each primitive alone and two applications of the
    function to different primitives. The other eight examples are sampled as usual, and may apply
    it too. The queries apply the function to all combinations of primitives; those that are study
    examples are marked `in_study`, and so do not count as novel.
    """
    meta = MetaGrammar()
    while True:
        grammar = meta.sample_grammar(rng)
        replaced = rng.choice(grammar.functions)
        if len(replaced.variables) == len(set(pattern)):
            break
    rule = with_rhs_pattern(replaced, pattern)
    grammar = Grammar(tuple([rule if each is replaced else each for each in grammar.rules]))
    inputs = _simple_applications(rule, [each.lhs for each in grammar.primitives])
    applied = [Example(words, grammar.interpret(words)) for words in inputs]
    distinct = [example for example in applied if len(set(example.input)) == len(example.input)]
    primitives = [Example(each.words, each.symbols) for each in grammar.primitives]
    study = [*primitives, *rng.sample(distinct, N_DEMONSTRATIONS)]
    others = [e for e in sample_examples(grammar, meta, rng) if e not in study]
    study += others[: meta.n_study - len(study)]
    rng.shuffle(study)
    in_study = {example.input for example in study}
    queries = [example._replace(in_study=example.input in in_study) for example in applied]
    return Episode(tuple(study), tuple(queries), grammar=grammar, name=name)
