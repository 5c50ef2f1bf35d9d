"""Symbolic (oracle/slips) for the few-shot task: the gold grammar, misread now and then."""

from dataclasses import dataclass

from biml.episodes.episode import COLOURS, Episode
from biml.evaluation.responder import Answer
from biml.grammar import GOLD, Grammar
from biml.grammar.slips import PEOPLE, SlipRates, misread_grammars
from biml.symbolic.biased import one_to_one
from biml.symbolic.mixture import Mixture, collect
from biml.symbolic.oracle import grammar_of
from biml.symbolic.stepwise import Next, StepwiseResponder


@dataclass(frozen=True)
class SlippingOracle(StepwiseResponder):
    """The mixture of answers that `biml.episodes.transforms.add_slips` draws from.

    Every draw is enumerated: one-to-one translations, and the outputs of the grammar with each set
    of its rules misread that the query uses.

    Attributes:
        grammar: of episodes that do not hold their own, in canonical names.
        symbols: the output symbols that slips and a lapse pick from.
        rates: of each kind of slip.
        max_output: misread rules are not used where their output is longer than this.
    """

    grammar: Grammar = GOLD
    symbols: tuple[str, ...] = COLOURS
    rates: SlipRates = PEOPLE
    max_output: int = 8

    def reader(self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...]) -> Next:
        return Mixture(self.answers(episode, words, choices), choices)

    def answers(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...] | None = None
    ) -> dict[Answer, float]:
        """Every answer that the mixture gives, and its probability.

        Args:
            choices: the symbols to choose from; those of the episode's pool, or of this model.
        Raises:
            UsageError: there is no grammar that fits the episode.
        """
        grammar = grammar_of(episode, self.grammar)
        choices = choices or episode.pool or self.symbols
        right = grammar.interpret(words)
        translated = list(one_to_one(words, episode.study, choices))
        share = self.rates.translated(words)
        readings = [
            # Rules of other words are not used, however they are read.
            each if set(rule.words) <= set(words) else ((rule, 1.0),)
            for rule, each in zip(grammar.rules, self.rates.readings(grammar, choices), strict=True)
        ]
        misread = [(g.interpret(words), p) for g, p in misread_grammars(readings)]
        return collect(
            [
                *((answer, share / len(translated)) for answer in translated),
                *(
                    (answer if len(answer) <= self.max_output else right, (1 - share) * p)
                    for answer, p in misread
                ),
            ]
        )
