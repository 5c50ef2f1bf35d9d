"""Symbolic (oracle): the gold grammar, which answers every query rightly (paper, Methods)."""

from dataclasses import dataclass

from biml.episodes.episode import COLOURS, Episode
from biml.errors import UsageError
from biml.grammar import GOLD, Grammar
from biml.symbolic.mixture import ResponseMixture
from biml.symbolic.stepwise import NextTokenFn, TokenwiseModel


@dataclass(frozen=True)
class Oracle(TokenwiseModel):
    """Gives the grammar's output; past its end every symbol is as likely.

    At each place it expects its own symbol whatever came before. With the lapse of
    `biml.evaluation.likelihood.lapse` this is the published model: λ/|S| for a symbol that is not
    the gold one, and 1/|S| past the end.

    Attributes:
        grammar: of episodes that do not hold their own, in canonical names (the human few-shot
            files do not).
        symbols: the output symbols that a lapse picks from.

    >>> from biml.episodes.recipes import gold_episode
    >>> (answers,) = Oracle(symbols=GOLD.symbols).respond([gold_episode()])
    >>> answers[0]
    ('DAX', '3')
    """

    grammar: Grammar = GOLD
    symbols: tuple[str, ...] = COLOURS

    def next_token_fn(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...]
    ) -> NextTokenFn:
        grammar = episode_grammar(episode, self.grammar)
        return ResponseMixture({grammar.interpret(words): 1.0}, choices)


def episode_grammar(episode: Episode, default: Grammar) -> Grammar:
    """The grammar of an episode in the episode's names.

    Args:
        otherwise: in canonical names, for an episode without a grammar.
    Raises:
        UsageError: the episode has none, and the other one does not give its study examples.
    """
    if episode.grammar is not None:
        return episode.grammar
    grammar = default
    if episode.remapping is not None:
        grammar = default.remap(episode.remapping.words, episode.remapping.symbols)
    for example in episode.study:
        if grammar.interpret(example.input) != example.output:
            raise UsageError(
                f"{episode.name or 'the episode'} holds no grammar, and the one of the symbolic "
                f"model does not give its study example {' '.join(example.input)!r}; "
                "give the model the grammar of this task"
            )
    return grammar
