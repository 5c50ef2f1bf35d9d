"""Drawing episodes from the meta-grammar (paper, Methods: meta-training procedure)."""

from random import Random

from biml.episodes.episode import Episode, Example
from biml.errors import BimlError
from biml.grammar import Grammar, MetaGrammar

TRIES = 20_000
"""Inputs drawn for one grammar before giving it up; the published meta-grammar needs about 100."""

REDRAWS = 100
"""Grammars drawn for one episode before giving up the meta-grammar."""


def draw_episode(meta: MetaGrammar, rng: Random, *, name: str = "") -> Episode:
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
    >>> episode = draw_episode(MetaGrammar(), generator(0, "example"))
    >>> len(episode.study), len(episode.queries)
    (14, 10)
    """
    wanted = meta.n_study + meta.n_query
    for _ in range(REDRAWS):
        grammar = meta.draw_grammar(rng)
        examples = draw_examples(grammar, meta, rng)
        if len(examples) == wanted:
            study, queries = examples[: meta.n_study], examples[meta.n_study :]
            return Episode(tuple(study), tuple(queries), grammar=grammar, name=name)
    raise BimlError(
        f"no grammar drawn had {wanted} different inputs of at most {meta.max_input} words and "
        f"{meta.max_output} symbols; ask for fewer examples or allow longer ones"
    )


def draw_examples(grammar: Grammar, meta: MetaGrammar, rng: Random) -> list[Example]:
    """Draw different inputs of a grammar from its PCFG, with their outputs, in random order.

    The PCFG starts at `X`, which becomes `U` or the left side of any rule of several items, each
    as likely as the others; `U` becomes any primitive. Inputs of more than `meta.max_input` words
    are rejected, and so are outputs of more than `meta.max_output` symbols.

    Returns:
        `meta.n_study + meta.n_query` examples, or fewer if they could not be found.
    """
    interpreter = grammar.interpreter
    results = interpreter.results(meta.max_output)
    productions = [form for form in interpreter.forms if len(form) > 1]
    primitives = [interpreter.codes[rule.lhs[0]] for rule in grammar.primitives]
    wanted = meta.n_study + meta.n_query
    outputs: dict[str, str] = {}
    rejected = set()
    for _ in range(TRIES):
        string = _draw_input(productions, primitives, meta.max_input, rng)
        if string and string not in outputs and string not in rejected:
            output = results[string]
            if len(output) > meta.max_output:
                rejected.add(string)
                continue
            outputs[string] = output
            if len(outputs) == wanted:
                break
    names = {code: name for name, code in interpreter.codes.items()}.__getitem__
    examples = [Example(tuple(map(names, i)), tuple(map(names, o))) for i, o in outputs.items()]
    rng.shuffle(examples)
    return examples


def _draw_input(productions: list[str], primitives: list[str], longest: int, rng: Random) -> str:
    """One string of the PCFG in codes, or nothing where it grows too long."""
    random = rng.random
    n = len(productions) + 1
    form = "X"
    while "X" in form:
        choice = int(random() * n)
        form = form.replace("X", productions[choice] if choice < n - 1 else "U", 1)
        if len(form) > longest:
            return ""
    m = len(primitives)
    while "U" in form:
        form = form.replace("U", primitives[int(random() * m)], 1)
    return form
