"""A responder without training: it copies the output of the most similar study example.

    biml reproduce few-shot --plugin examples/responder.py --models nearest oracle --quick
    biml eval --plugin examples/responder.py --fn_out_model nearest --ll --fit_lapse \
        --episode_type few_shot_human
"""

from difflib import SequenceMatcher

import biml
from biml import COLOURS, Episode
from biml.evaluation.symbolic import NextTokenFn, ResponseMixture, TokenwiseModel


class NearestExample(TokenwiseModel):
    """Copies the study example whose input shares most of the query, in order.

    `TokenwiseModel` makes scoring, greedy responses and sampling of one method: the probabilities
    of the next symbol of a response. A model of another kind implements `biml.Responder` itself.
    """

    def __init__(self, symbols: tuple[str, ...] = COLOURS) -> None:
        self.symbols = symbols

    def next_token_fn(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...]
    ) -> NextTokenFn:
        examples = [e for e in episode.study if e.output and set(e.output) <= set(choices)]
        similarities = [SequenceMatcher(None, e.input, words).ratio() for e in examples]
        best = max(similarities, default=0.0)
        weights: dict[tuple[str, ...], float] = {}
        for example, similarity in zip(examples, similarities, strict=True):
            if similarity == best:  # equally similar examples are equally likely
                weights[example.output] = weights.get(example.output, 0.0) + 1.0
        guesses = {(symbol,): 1.0 for symbol in choices}
        return ResponseMixture(weights or guesses, choices)


biml.register_responder(
    "nearest", NearestExample, "the output of the most similar study example", title="Nearest"
)
