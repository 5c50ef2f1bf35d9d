"""Episodes of rules that are held out from training (supplement, novel rules)."""

from functools import lru_cache
from itertools import product
from random import Random

from biml.episodes.draw import sample_examples
from biml.episodes.episode import Episode, Example
from biml.episodes.locate import DataFolders
from biml.episodes.present import EvaluationSet
from biml.episodes.transforms import shuffle_study
from biml.grammar import Grammar, MetaGrammar
from biml.grammar.novel import HELD_OUT_PATTERNS, with_rhs_pattern
from biml.grammar.rules import Rule
from biml.rng import generator

EPISODES_PER_RULE = 5
"""Episodes of each rule, as in the supplement."""

N_DEMONSTRATIONS = 2
"""Study examples that are sure to apply the rule."""


def novel_rules_evaluation(data: DataFolders, seed: int) -> EvaluationSet:
    """The evaluation of an episode type; it needs no data."""
    return EvaluationSet(sample_novel_rule_episodes(), (shuffle_study,), seed)


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
