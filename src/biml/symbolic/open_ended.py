"""The *biases* model of the open-ended task: one word, one colour, and no colour twice."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from biml.episodes.episode import COLOURS, Episode
from biml.symbolic.stepwise import NextTokenFn, TokenwiseModel


@dataclass(frozen=True)
class OpenEndedBiasModel(TokenwiseModel):
    """Translates word by word from left to right, each word to the colours it had before.

    The paper's sentence is: each word in proportion to the colours that it was aligned with
    before, a new word to an unused colour. It is read so:

    - A word is *aligned* with the symbol at its own place in the output, for every study example
      in which there is such a place; what an output has beyond its input is aligned with nothing.
    - *Before* includes the places before this one in the same answer: in `fep fep` the second
      word is translated as the first one was.
    - A word without any alignment is new. A colour is *unused* if no study example's output and
      no place before in this answer has it, aligned or not. Unused colours are equally likely; if
      none is left, all colours are.
    - The answer ends where the input ends. Beyond that (after a lapse) every symbol is as likely,
      as it is past the end of the oracle's answer.

    Attributes:
        symbols: the output symbols.

    >>> from biml.episodes.episode import Example
    >>> study = (Example(("dax",), ("RED",)),)
    >>> model = OpenEndedBiasModel(symbols=("RED", "BLUE"))
    >>> model.respond([Episode(study, (Example(("lug", "dax", "lug"), ()),))])
    [[('BLUE', 'RED', 'BLUE')]]
    """

    symbols: tuple[str, ...] = COLOURS

    def next_token_fn(
        self, episode: Episode, words: tuple[str, ...], choices: tuple[str, ...]
    ) -> NextTokenFn:
        aligned = Counter(
            pair
            for example in episode.study
            for pair in zip(example.input, example.output, strict=False)
        )
        used = {symbol for example in episode.study for symbol in example.output}

        def following(begun: tuple[int, ...]) -> np.ndarray:
            # What is outside a pool is aligned as it stands, with a symbol that nothing else has.
            answer = [choices[n] if n < len(choices) else "" for n in begun]
            if len(answer) > len(words):
                return np.full(len(choices) + 1, 1 / (len(choices) + 1))
            if len(answer) == len(words):
                return _normalised([0] * len(choices) + [1])
            before = aligned + Counter(zip(words, answer, strict=False))
            counts = [before[words[len(answer)], symbol] for symbol in choices]
            if not any(counts):
                counts = _unused(choices, used.union(answer))
            return _normalised([*counts, 0])

        return following


def _unused(choices: Sequence[str], used: Iterable[str]) -> list[int]:
    """One for each choice that is not used; for every choice if all are."""
    unused = set(choices).difference(used) or choices
    return [int(symbol in unused) for symbol in choices]


def _normalised(counts: Sequence[int]) -> np.ndarray:
    return np.array(counts) / sum(counts)
