"""Attention of a network to the study examples while it gives a response."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from biml.episodes.episode import Episode
from biml.errors import UsageError
from biml.evaluation.network import NetworkResponder, inference_mode
from biml.evaluation.responder import Responder
from biml.networks.attention import record_attention
from biml.vocabulary import EOS, IO

QUERY = -1
"""In place of the number of a study example: the query, or the end of the whole source."""


class SourceToken(NamedTuple):
    """A token that is attended to: a word, a symbol, IO, or the separator after them."""

    label: str
    example: int  #: number of its study example, or QUERY


@dataclass(frozen=True)
class AttentionLayer:
    """The cross-attention of one layer; each row of weights sums to one.

    Attributes:
        part: `decoder`, whose rows are the response, or another part of the network.
    """

    part: str
    weights: Float[np.ndarray, "head row source"]


@dataclass(frozen=True)
class Trace:
    """The cross-attention behind a response, by layer and head.

    Attributes:
        response: labels of the decoder's rows, the end (EOS) last.
        sources: what is attended to.
    """

    response: tuple[str, ...]
    sources: tuple[SourceToken, ...]
    layers: tuple[AttentionLayer, ...]

    @cached_property
    def mean(self) -> Float[np.ndarray, "row source"]:
        """The decoder's weights, averaged over its layers and heads."""
        rows = [layer.weights for layer in self.layers if layer.part == "decoder"]
        return np.concatenate(rows).mean(0)

    def by_example(self, n_study: int) -> Float[np.ndarray, "row n_study"]:
        """The decoder's mean attention to each study example; the rest is on the query."""
        number = np.array([token.example for token in self.sources])
        return np.stack([self.mean[:, number == i].sum(1) for i in range(n_study)], 1)


def trace_attention(responder: Responder, episode: Episode, original: Episode) -> Trace:
    """Record the attention behind the target of an episode's one query.

    Args:
        original: the same episode in the words and symbols of the labels.
    Raises:
        UsageError: the model is no network, or of an architecture without such attention.
    """
    if not isinstance(responder, NetworkResponder):
        raise UsageError("only a network has attention")
    network = responder.network
    if network.vocabulary.output.sequences:
        raise UsageError("attention is not recorded for tokens that stand for several symbols")
    batch = network.collate([episode]).to(next(network.parameters()).device)
    tokens = network.attended_tokens(batch)[0].tolist()
    with inference_mode(network, 1), record_attention() as records:
        network(batch)
    (query,) = original.queries
    separator = network.vocabulary.input.sos
    texts = [query.input, *((*e.input, str(IO), *e.output) for e in original.study)]
    sources, segment, position = [], 0, 0
    for token in tokens:
        if token == separator:
            sources.append(SourceToken("|", segment - 1))
            segment, position = segment + 1, 0
        else:
            at_end = segment == len(texts)
            label = str(EOS) if at_end else texts[segment][position]
            sources.append(SourceToken(label, QUERY if at_end else segment - 1))
            position += 1
    layers = tuple(AttentionLayer(part, w[0].cpu().double().numpy()) for part, w in records)
    return Trace((*query.output, str(EOS)), tuple(sources), layers)
