"""Auxiliary losses on inner layers, from grammar labels (training only; docs/staged-network.md).

Alignment: an attention head looks from an output symbol at the word that it stands for. Meaning:
the lexicon slot of a word predicts its rule.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from biml.episodes.episode import Episode, GrammarLabels, SourcePositions
from biml.grammar import Rule
from biml.networks.batching import RaggedRows, TensorData, flatten, pad_array, ragged_index
from biml.networks.staged_layers import RMSNormLinear
from biml.vocabulary import TokenVocab, Vocabulary

IGNORE_INDEX = -1

MAX_RHS = 8  # items of a right-hand side in a label; the meta-grammar's have no more
MAX_ARGS = 2  # variables of a left-hand side in a label
LABEL_SIZE = 1 + MAX_RHS + MAX_ARGS
RULE_LOGIT_SIZES = (MAX_RHS * (MAX_ARGS + 1), MAX_ARGS * 2)  # right-hand side, variable types

MEANING_WEIGHT = 3.0  # relative to alignment: all uses of a word share one slot
RHS_WEIGHT = 0.25  # of each item of a function's rule, relative to an output symbol


@dataclass
class AuxLabels(TensorData):
    """Labels of a batch; columns of alignments are (row, token, token to attend to)."""

    study_alignment: Int[Tensor, "3 n"]  # rows are episodes; from output symbols to words
    answer_alignment: Int[Tensor, "3 n"]  # rows are queries; from IO and symbols to words or IO
    meanings: Int[Tensor, "slot label"]  # see `rule_label`


@dataclass(frozen=True)
class EpisodeAuxLabels:
    study_alignment: list[int]  # the word of each token, or IGNORE_INDEX
    answer_alignment: list[int]  # of the symbols and EOS of each query
    meanings: list[list[int]]


def encode_aux_labels(
    episode: Episode, slot_words: Iterable[str], vocabulary: Vocabulary
) -> EpisodeAuxLabels:
    """Label an episode, in the token order of `tokenize_episode`."""
    unlabelled = GrammarLabels((None,) * len(episode.study), (None,) * len(episode.queries), {})
    known = episode.grammar_labels or unlabelled
    meanings = [rule_label(known.rules.get(word), vocabulary.output) for word in slot_words]
    labels = EpisodeAuxLabels([IGNORE_INDEX], [], meanings)
    for (words, symbols, *_), sources in zip(episode.study, known.study, strict=True):
        start = len(labels.study_alignment)
        labels.study_alignment.extend([IGNORE_INDEX] * (len(words) + 1))
        labels.study_alignment.extend(_alignment(sources, symbols, vocabulary.output, start))
        labels.study_alignment.append(IGNORE_INDEX)
    for (words, symbols, *_), sources in zip(episode.queries, known.queries, strict=True):
        labels.answer_alignment.extend(_alignment(sources, symbols, vocabulary.output))
        labels.answer_alignment.append(IGNORE_INDEX if sources is None else len(words))
    return labels


def _alignment(
    sources: SourcePositions, symbols: Sequence[str], output: TokenVocab, start: int = 0
) -> list[int]:
    """The source of each token; one that stands for several symbols has none."""
    tokens = output.merge(symbols) if output.sequences else symbols
    if sources is None:
        return [IGNORE_INDEX] * len(tokens)
    if tokens is symbols:
        return [start + at if at >= 0 else IGNORE_INDEX for at in sources]
    labels, number = [], 0
    for token in tokens:
        width = 1 + str(token).count(" ")
        known = width == 1 and sources[number] >= 0
        labels.append(start + sources[number] if known else IGNORE_INDEX)
        number += width
    return labels


def rule_label(rule: Rule | None, output: TokenVocab) -> list[int]:
    """Encode a word's rule: output symbol, right-hand side, variable types.

    Right-hand sides are numbers of variables from 1, then 0; types are 0 for one word, 1 for any
    string. What a rule does not have is `IGNORE_INDEX`, and so is all of a rule that does not fit.

    >>> from biml.vocabulary import TokenVocab
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
            row[:1] = output.encode(rule.rhs)
        return row
    items = [item + 1 for item in rule.rhs_template if isinstance(item, int)]
    kinds = [int(kind == "x") for kind in rule.lhs_pattern if kind != "."]
    if len(items) == len(rule.rhs_template) <= MAX_RHS and len(kinds) <= MAX_ARGS:
        row[1 : 1 + MAX_RHS] = items + [0] * (MAX_RHS - len(items))
        row[1 + MAX_RHS : 1 + MAX_RHS + len(kinds)] = kinds
    return row


def pack_aux_labels(
    labels: Sequence[EpisodeAuxLabels], words: RaggedRows, answers: RaggedRows
) -> AuxLabels | None:
    """Join the labels of a batch; None if all are ignored."""
    study = pad_array([each.study_alignment for each in labels], IGNORE_INDEX)
    source = flatten([each.answer_alignment for each in labels])
    meanings = flatten([row for each in labels for row in each.meanings]).reshape(-1, LABEL_SIZE)
    if all((numbers == IGNORE_INDEX).all() for numbers in (study, source, meanings)):
        return None
    labelled = np.nonzero(study != IGNORE_INDEX)
    row, column = ragged_index(answers.lengths.numpy())
    source = np.where(source == words.lengths.numpy()[row], words.unpack.shape[1], source)
    answer = np.stack((row, column, source))[:, source != IGNORE_INDEX]
    return AuxLabels(
        study_alignment=torch.from_numpy(np.stack((*labelled, study[labelled]))),
        answer_alignment=torch.from_numpy(answer),
        meanings=torch.from_numpy(meanings),
    )


def n_meaning_logits(n_symbols: int) -> int:
    return n_symbols + sum(RULE_LOGIT_SIZES)


class AuxiliaryLoss:
    """Sums weighted cross-entropies (in nats) over the layers of one forward pass."""

    def __init__(self, labels: AuxLabels) -> None:
        self.labels = labels
        self.total: Tensor | None = None

    def add_attention_loss(
        self,
        q: Float[Tensor, "row tok head"],
        k: Float[Tensor, "row key head"],
        blocked: Bool[Tensor, "row tok key"],
        targets: Int[Tensor, "3 n"],
    ) -> None:
        """Add the loss of one attention head, which should attend to the targets."""
        if not targets.shape[1]:
            return
        row, column, source = targets
        scores = torch.bmm(q, k.transpose(1, 2))[row, column].float() * q.shape[-1] ** -0.5
        scores = scores.masked_fill(blocked[row, column], float("-inf"))
        self._add(F.cross_entropy(scores, source, reduction="sum"))

    def add_meaning_loss(
        self,
        slots: Float[Tensor, "slot emb"],
        norm: RMSNormLinear,
        out_weight: Float[Tensor, "logits emb"],
    ) -> None:
        """Add the loss of the lexicon's slots, which should predict their words' rules."""
        meanings = self.labels.meanings
        with torch.autocast(slots.device.type, enabled=False):
            logits = norm(slots.float(), out_weight)
        n_symbols = logits.shape[1] - sum(RULE_LOGIT_SIZES)
        symbol, items, kinds = logits.split((n_symbols, *RULE_LOGIT_SIZES), -1)
        rhs = _summed_cross_entropy(items, meanings[:, 1 : 1 + MAX_RHS])
        variables = _summed_cross_entropy(kinds, meanings[:, 1 + MAX_RHS :])
        primitive = _summed_cross_entropy(symbol, meanings[:, :1])
        self._add(MEANING_WEIGHT * (primitive + RHS_WEIGHT * (rhs + variables)))

    def _add(self, loss: Tensor) -> None:
        self.total = loss if self.total is None else self.total + loss


def _summed_cross_entropy(
    logits: Float[Tensor, "n columns"], labels: Int[Tensor, "n labels"]
) -> Float[Tensor, ""]:
    classes = logits.unflatten(-1, (labels.shape[1], -1)).flatten(0, 1)
    return F.cross_entropy(classes, labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
