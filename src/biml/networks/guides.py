"""What episodes' grammars tell a network in training, as numbers beside their tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biml.episodes.episode import Episode, Explanation, Origins
from biml.grammar import Rule
from biml.networks.moving import moved
from biml.networks.ragged import flat, ragged, table
from biml.networks.rows import Rows
from biml.vocabulary import Language, Vocabulary

UNKNOWN = -1

TEMPLATE = 8
"""Items of a right side that are told; the meta-grammar's have no more."""

VARIABLES = 2
"""Variables of a left side that are told."""

MEANING = 1 + TEMPLATE + VARIABLES
"""Numbers that say what a word means."""


@dataclass
class Guides:
    """Where attention should look, and what words mean.

    Attributes:
        study: LongTensor [3, n], for output symbols of known origin in study examples the episode,
            the token, and the token that it stands for.
        answers: LongTensor [3, n], for target symbols and EOS the query, the place in its answer
            (IO first) of the token that predicts it, and what it stands for: the place of a word
            in the query, or for EOS that of IO, which comes after the words of the longest query.
        meanings: LongTensor [entries, MEANING], the meaning of each word of the
            lexicon: its output symbol; the items of its right side, 0 for none, else the number of
            the variable from 1; for each variable 0 if it stands for one word, 1 for any string.
            UNKNOWN, -1, for what a word does not have.
    """

    study: Tensor
    answers: Tensor
    meanings: Tensor

    def to(self, device: torch.device) -> "Guides":
        return moved(self, device)


@dataclass(frozen=True)
class EpisodeGuides:
    """The guides of one episode.

    Attributes:
        study: for each study token the one that it stands for, or UNKNOWN.
        answers: for each target symbol and EOS the token of the query that it stands for.
        meanings: the rows of `Guides.meanings`.
    """

    study: list[int]
    answers: list[int]
    meanings: list[list[int]]


def encode_guides(
    episode: Episode, entries: Iterable[str], vocabulary: Vocabulary
) -> EpisodeGuides:
    """Number what an episode's grammar tells, in the order of `encoded.encode`.

    Args:
        entries: the words of its study examples, as the lexicon has them.

    Raises:
        UsageError: an output symbol is not in the vocabulary.
    """
    nothing = Explanation((None,) * len(episode.study), (None,) * len(episode.queries), {})
    told = episode.explanation or nothing
    meanings = [meaning(told.rules.get(word), vocabulary.output) for word in entries]
    guides = EpisodeGuides([UNKNOWN], [], meanings)
    for (words, symbols, _), origins in zip(episode.study, told.study, strict=True):
        start = len(guides.study)
        guides.study.extend([UNKNOWN] * (len(words) + 1))
        guides.study.extend(_known(origins, len(symbols), start))
        guides.study.append(UNKNOWN)
    for (words, symbols, _), origins in zip(episode.queries, told.queries, strict=True):
        guides.answers.extend(_known(origins, len(symbols)))
        guides.answers.append(UNKNOWN if origins is None else len(words))
    return guides


def _known(origins: Origins, symbols: int, start: int = 0) -> list[int]:
    return [UNKNOWN] * symbols if origins is None else [start + place for place in origins]


def meaning(rule: Rule | None, language: Language) -> list[int]:
    """A row of `Guides.meanings`; all UNKNOWN for no rule, and for those that it cannot hold.

    Raises:
        UsageError: its output symbol is not in the language.

    >>> from biml.vocabulary import Language
    >>> meaning(Rule.parse("dax -> BLUE"), Language(("RED", "BLUE")))[0]
    1
    >>> meaning(Rule.parse("u1 fep x1 -> [x1] [u1]"), Language(("RED", "BLUE")))
    [-1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    """
    row = [UNKNOWN] * MEANING
    if rule is None:
        return row
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


def pack_guides(guides: Sequence[EpisodeGuides], words: Rows, answers: Rows) -> Guides | None:
    """The guides of a batch; None if no grammar tells anything.

    Args:
        guides: of all its episodes.
        words, answers: the words of each query, and IO and the symbols of each answer.
    """
    study = table([each.study for each in guides], UNKNOWN)
    sought = flat([each.answers for each in guides])
    meanings = flat([row for each in guides for row in each.meanings]).reshape(-1, MEANING)
    if all((numbers == UNKNOWN).all() for numbers in (study, sought, meanings)):
        return None
    told = np.nonzero(study != UNKNOWN)
    row, column = ragged(answers.lengths.numpy())
    after = sought == words.lengths.numpy()[row]
    sought = np.where(after, words.unpack.shape[1], sought)
    return Guides(
        study=torch.from_numpy(np.stack((*told, study[told]))),
        answers=torch.from_numpy(np.stack((row, column, sought))[:, sought != UNKNOWN]),
        meanings=torch.from_numpy(meanings),
    )
