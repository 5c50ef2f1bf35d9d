"""The interface of language models: continue texts, and give log-probabilities of continuations."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

from biml.errors import BimlError
from biml.llm.prompts import Prompt


@dataclass(frozen=True)
class Request:
    """A prompt to be answered.

    Attributes:
        prefix: the beginning of the answer, which the model continues.
        stop: the text at which the answer ends, besides the end of the model's own; empty for none.
        seed: of a sampled answer at temperature 1; None for the best answer.
    """

    prompt: Prompt
    prefix: str
    max_tokens: int
    stop: str
    seed: int | None


class Completion(NamedTuple):
    """An answer without its prefix, None where a server gave none, and what it cost."""

    text: str | None
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class ScoreRequest:
    """A prompt with an answer in pieces, one a symbol.

    `end` is the text that ends the answer; empty for the model's own end of a message.
    """

    prompt: Prompt
    prefix: str
    pieces: tuple[str, ...]
    end: str


class Scores(NamedTuple):
    """The summed log-probabilities of the tokens of each piece and of the end, and their cost."""

    log_probs: tuple[float, ...]
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


class Backend(Protocol):
    """A language model that runs here or on a server.

    Answers are yielded as they come, with the number of their request. If the model fails, those
    that it has given are yielded before the BimlError.
    """

    @property
    def model(self) -> str:
        """Its name with everything that identifies its weights."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What else its answers depend on."""

    @property
    def family(self) -> str:
        """For reports: the architecture, or that it runs on a server."""

    def complete(self, requests: Sequence[Request], /) -> Iterator[tuple[int, Completion]]: ...

    def score(self, requests: Sequence[ScoreRequest], /) -> Iterator[tuple[int, Scores]]: ...

    def why_no_log_probs(self, template_is_chat: bool, /) -> str:
        """Why `score` is not possible; empty if it is."""

    def count_tokens(self, prompt: Prompt, /) -> int:
        """The tokens of a prompt, estimated where the tokenizer is not known."""


JOINED = (
    "the tokenizer joins the end of the prompt with the beginning of the answer; end the template "
    "(--prompt) with a word or sign that is a token of its own"
)


def sum_by_piece(
    pieces: Sequence[str],
    start: int,
    tokens: Iterable[tuple[int, int, float]],
) -> tuple[float, ...]:
    """Sum log-probabilities of tokens by the pieces of an answer, in which they end.

    Args:
        pieces: the texts of the answer's symbols and of its end.
        start: where the answer begins in the text.
        tokens: where each token begins and ends in the text, and its log-probability; those before
            the answer and after it count nowhere.
    Raises:
        BimlError: a token begins before the answer and ends in it.

    >>> sum_by_piece([" RED", "\\n"], 2, [(0, 2, -9.0), (2, 5, -1.0), (5, 6, -0.5), (6, 7, -2.0)])
    (-1.5, -2.0)
    """
    ends = list(accumulate(map(len, pieces), initial=start))[1:]
    sums = [0.0] * len(pieces)
    for begin, end, log_prob in tokens:
        if begin < start < end:
            raise BimlError(JOINED)
        if start < end <= ends[-1]:
            sums[bisect_left(ends, end)] += log_prob
    return tuple(sums)
