"""What episodes' grammars tell a network in training, as numbers beside their tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biml.episodes.episode import Episode, Explanation, Origins
from biml.grammar import Rule
from biml.networks.moving import moved
from biml.networks.ragged import flat, ragged, table
from biml.vocabulary import Language, Vocabulary

UNKNOWN = -1

TEMPLATE = 8
"""Items of a right side that are told; the meta-grammar's have no more."""

VARIABLES = 2
"""Variables of a left side that are told."""


@dataclass
class Guides:
    """Where attention should look, and what words mean.

    Attributes:
        study: LongTensor [3, n], for output symbols of known origin in study examples the episode,
            the token, and the token that it stands for.
        answers: LongTensor [3, n], for target symbols and EOS the query, the token that predicts
            it, and the token that it stands for, by their places in the query; EOS stands for IO.
        meanings: LongTensor [rules, 1 + TEMPLATE + VARIABLES], the meaning of each word of each
            episode: its output symbol; the items of its right side, 0 for none, else the number of
            the variable from 1; for each variable 0 if it stands for one word, 1 for any string.
            UNKNOWN, -1, for what a word does not have.
        study_words: LongTensor [episodes, S], the row of `meanings` of each token, or UNKNOWN.
    """

    study: Tensor
    answers: Tensor
    meanings: Tensor
    study_words: Tensor

    def to(self, device: torch.device) -> "Guides":
        return moved(self, device)


@dataclass(frozen=True)
class EpisodeGuides:
    """The guides of one episode, each list as long as its tokens of that name.

    Attributes:
        study: for each study token the one that it stands for, or UNKNOWN.
        answers: for each target symbol and EOS the token of the query that it stands for.
        meanings: the rows of `Guides.meanings`.
        study_words: for each study token its row of `meanings`.
    """

    study: list[int]
    answers: list[int]
    meanings: list[list[int]]
    study_words: list[int]


def encode_guides(episode: Episode, vocabulary: Vocabulary) -> EpisodeGuides:
    """Number what an episode's grammar tells, in the order of `encoded.encode`."""
    nothing = Explanation((None,) * len(episode.study), (None,) * len(episode.queries), {})
    told = episode.explanation or nothing
    number = {word: row for row, word in enumerate(told.rules)}
    meanings = [meaning(rule, vocabulary.output) for rule in told.rules.values()]
    guides = EpisodeGuides([UNKNOWN], [], meanings, [UNKNOWN])
    for (words, symbols, _), origins in zip(episode.study, told.study, strict=True):
        start = len(guides.study)
        guides.study.extend([UNKNOWN] * (len(words) + 1))
        guides.study.extend(_known(origins, len(symbols), start))
        guides.study.append(UNKNOWN)
        guides.study_words.extend([number.get(word, UNKNOWN) for word in words])
        guides.study_words.extend([UNKNOWN] * (len(symbols) + 2))
    for (words, symbols, _), origins in zip(episode.queries, told.queries, strict=True):
        guides.answers.extend(_known(origins, len(symbols)))
        guides.answers.append(UNKNOWN if origins is None else len(words))
    return guides


def _known(origins: Origins, symbols: int, start: int = 0) -> list[int]:
    return [UNKNOWN] * symbols if origins is None else [start + place for place in origins]


def meaning(rule: Rule, language: Language) -> list[int]:
    """A row of `Guides.meanings`; all UNKNOWN for rules that it cannot hold.

    Raises:
        UsageError: its output symbol is not in the language.

    >>> from biml.vocabulary import Language
    >>> meaning(Rule.parse("dax -> BLUE"), Language(("RED", "BLUE")))[0]
    1
    >>> meaning(Rule.parse("u1 fep x1 -> [x1] [u1]"), Language(("RED", "BLUE")))
    [-1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    """
    row = [UNKNOWN] * (1 + TEMPLATE + VARIABLES)
    if rule.kinds == ".":
        if len(rule.rhs) == 1:
            row[:1] = language.encode(rule.rhs)
        return row
    items = [place + 1 for place in rule.places if isinstance(place, int)]
    kinds = [int(kind == "x") for kind in rule.kinds if kind != "."]
    if len(items) == len(rule.places) <= TEMPLATE and len(kinds) <= VARIABLES:
        row[1 : 1 + TEMPLATE] = items + [0] * (TEMPLATE - len(items))
        row[1 + TEMPLATE : 1 + TEMPLATE + len(kinds)] = kinds
    return row


def pack_guides(
    guides: Sequence[EpisodeGuides], words: np.ndarray, symbols: np.ndarray
) -> Guides | None:
    """The guides of a batch; None if no grammar tells anything.

    Args:
        guides: of all its episodes.
        words, symbols: input words and target symbols of each query.
    """
    if not any(each.meanings for each in guides):
        return None
    study, _ = table([each.study for each in guides], UNKNOWN)
    told = np.nonzero(study != UNKNOWN)
    answers = flat([each.answers for each in guides])
    row, column = ragged(symbols + 1)
    looks = np.stack((row, words[row] + column, answers))[:, answers != UNKNOWN]
    starts = np.cumsum([0, *(len(each.meanings) for each in guides)])
    return Guides(
        study=torch.from_numpy(np.stack((*told, study[told]))),
        answers=torch.from_numpy(looks),
        meanings=torch.tensor([row for each in guides for row in each.meanings]),
        study_words=_from(starts, [each.study_words for each in guides]),
    )


def _from(starts: np.ndarray, rows: Sequence[Sequence[int]]) -> Tensor:
    """Numbers within each episode as numbers within the batch, a row for each episode."""
    numbers, _ = table(rows, UNKNOWN)
    return torch.from_numpy(np.where(numbers == UNKNOWN, UNKNOWN, numbers + starts[:-1, None]))
