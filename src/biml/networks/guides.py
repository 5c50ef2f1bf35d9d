"""What episodes' grammars tell a network in training, as numbers beside their tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biml.episodes.episode import Episode, GrammarLabels, SourcePositions
from biml.grammar import Rule
from biml.networks.moving import to_device
from biml.networks.ragged import flatten, ragged_index, pad_array
from biml.networks.rows import RaggedRows
from biml.vocabulary import TokenVocab, Vocabulary

IGNORE_INDEX = -1

MAX_RHS = 8
"""Items of a right side that are told; the meta-grammar's have no more."""

MAX_ARGS = 2
"""Variables of a left side that are told."""

LABEL_SIZE = 1 + MAX_RHS + MAX_ARGS
"""Numbers that say what a word means."""


@dataclass
class AuxLabels:
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

    study_alignment: Tensor
    answer_alignment: Tensor
    meanings: Tensor

    def to(self, device: torch.device) -> "AuxLabels":
        return to_device(self, device)


@dataclass(frozen=True)
class EpisodeAuxLabels:
    """The guides of one episode.

    Attributes:
        study: for each study token the one that it stands for, or UNKNOWN.
        answers: for each target symbol and EOS the token of the query that it stands for.
        meanings: the rows of `Guides.meanings`.
    """

    study_alignment: list[int]
    answer_alignment: list[int]
    meanings: list[list[int]]


def encode_aux_labels(
    episode: Episode, slot_words: Iterable[str], vocabulary: Vocabulary
) -> EpisodeAuxLabels:
    """Number what an episode's grammar tells, in the order of `encoded.encode`.

    Args:
        entries: the words of its study examples, as the lexicon has them.

    Raises:
        UsageError: an output symbol is not in the vocabulary.
    """
    nothing = GrammarLabels((None,) * len(episode.study), (None,) * len(episode.queries), {})
    told = episode.grammar_labels or nothing
    meanings = [rule_label(told.rules.get(word), vocabulary.output) for word in slot_words]
    guides = EpisodeAuxLabels([IGNORE_INDEX], [], meanings)
    for (words, symbols, _), origins in zip(episode.study, told.study, strict=True):
        start = len(guides.study_alignment)
        guides.study_alignment.extend([IGNORE_INDEX] * (len(words) + 1))
        guides.study_alignment.extend(_alignment(origins, len(symbols), start))
        guides.study_alignment.append(IGNORE_INDEX)
    for (words, symbols, _), origins in zip(episode.queries, told.queries, strict=True):
        guides.answer_alignment.extend(_alignment(origins, len(symbols)))
        guides.answer_alignment.append(IGNORE_INDEX if origins is None else len(words))
    return guides


def _alignment(source_positions: SourcePositions, n_symbols: int, start: int = 0) -> list[int]:
    return (
        [IGNORE_INDEX] * n_symbols
        if source_positions is None
        else [start + place for place in source_positions]
    )


def rule_label(rule: Rule | None, language: TokenVocab) -> list[int]:
    """A row of `Guides.meanings`; all UNKNOWN for no rule, and for those that it cannot hold.

    Raises:
        UsageError: its output symbol is not in the language.

    >>> from biml.vocabulary import Language
    >>> rule_label(Rule.parse("dax -> BLUE"), TokenVocab(("RED", "BLUE")))[0]
    1
    >>> rule_label(Rule.parse("u1 fep x1 -> [x1] [u1]"), TokenVocab(("RED", "BLUE")))
    [-1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    """
    row = [IGNORE_INDEX] * LABEL_SIZE
    if rule is None:
        return row
    if rule.lhs_pattern == ".":
        if len(rule.rhs) == 1:
            row[:1] = language.encode(rule.rhs)
        return row
    items = [place + 1 for place in rule.rhs_template if isinstance(place, int)]
    kinds = [int(kind == "x") for kind in rule.lhs_pattern if kind != "."]
    if len(items) == len(rule.rhs_template) <= MAX_RHS and len(kinds) <= MAX_ARGS:
        row[1 : 1 + MAX_RHS] = items + [0] * (MAX_RHS - len(items))
        row[1 + MAX_RHS : 1 + MAX_RHS + len(kinds)] = kinds
    return row


def pack_aux_labels(
    labels: Sequence[EpisodeAuxLabels], words: RaggedRows, answers: RaggedRows
) -> AuxLabels | None:
    """The guides of a batch; None if no grammar tells anything.

    Args:
        guides: of all its episodes.
        words, answers: the words of each query, and IO and the symbols of each answer.
    """
    study = pad_array([each.study_alignment for each in labels], IGNORE_INDEX)
    sought = flatten([each.answer_alignment for each in labels])
    meanings = flatten([row for each in labels for row in each.meanings]).reshape(-1, LABEL_SIZE)
    if all((numbers == IGNORE_INDEX).all() for numbers in (study, sought, meanings)):
        return None
    told = np.nonzero(study != IGNORE_INDEX)
    row, column = ragged_index(answers.lengths.numpy())
    after = sought == words.lengths.numpy()[row]
    sought = np.where(after, words.unpack.shape[1], sought)
    return AuxLabels(
        study_alignment=torch.from_numpy(np.stack((*told, study[told]))),
        answer_alignment=torch.from_numpy(
            np.stack((row, column, sought))[:, sought != IGNORE_INDEX]
        ),
        meanings=torch.from_numpy(meanings),
    )
