"""What a network computes while it gives a response: its activations and attention, by name.

The names are those of `biml.networks.hooks`, such as `decoder.1.cross_attention`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float

from biml.episodes.episode import Episode, Example
from biml.errors import UsageError, unknown_name
from biml.evaluation.network import NetworkResponder, inference_mode
from biml.evaluation.responder import Responder
from biml.networks.base import EpisodeNetwork
from biml.networks.hooks import Hook, unknown_activation, use_hooks
from biml.vocabulary import EOS, IO, SOS, Token

QUERY = -1
"""In place of the number of a study example: the query, or the end of the whole source."""


class SourceToken(NamedTuple):
    """A token that is attended to: a word, a symbol, IO, or the separator after them."""

    label: str
    example: int  #: number of its study example, or QUERY


@dataclass(frozen=True)
class Trace:
    """The activations behind a response; `trace[name]` is one of them.

    Attention is [head, token, key], its rows summing to one; `heads` are [head, token, size] and
    all others [token, emb]. Token i of the decoder is the one that predicts symbol i of the
    response.

    Attributes:
        query: words of the query.
        response: labels of the decoder's tokens, the end (EOS) last.
        sources: what the encoder reads and the decoder attends to.
        lexicon: the words of the study examples, in order.
        activations: by name, in the order of the data flow.
    """

    query: tuple[str, ...]
    response: tuple[str, ...]
    sources: tuple[SourceToken, ...]
    lexicon: tuple[str, ...]
    activations: Mapping[str, Float[np.ndarray, "..."]]

    def __getitem__(self, name: str) -> Float[np.ndarray, "..."]:
        if name not in self.activations:
            raise unknown_activation(name, [*self.activations])
        return self.activations[name]

    def tokens(self, name: str) -> tuple[str, ...]:
        """Labels of the tokens of an activation."""
        part = name.partition(".")[0]
        sources = tuple([token.label for token in self.sources])
        known = {"encoder": sources, "query_encoder": self.query, "lexicon": self.lexicon}
        known["decoder"] = self.response
        return known.get(part) or tuple(map(str, range(self[name].shape[-2])))

    def keys(self, name: str) -> tuple[str, ...]:
        """Labels of what is attended to.

        In the decoder's self-attention that is what was read before each prediction: the symbols of
        the response so far behind SOS or, in the staged network, behind the query and IO.
        """
        if name.endswith("cross_attention"):
            return self.tokens("encoder")
        if not name.startswith("decoder."):
            return self.tokens(name)
        read = (str(SOS), *self.response[:-1])
        return read if self[name].shape[-1] == len(read) else (*self.query, str(IO), *read[1:])

    @property
    def decoder_layers(self) -> list[int]:
        """The layers of the decoder with attention to the sources."""
        names = [name.split(".") for name in self.activations]
        return [int(n) for part, n, *of in names if (part, *of) == ("decoder", "cross_attention")]

    def decoder_attention(
        self, layer: int | None = None, head: int | None = None
    ) -> Float[np.ndarray, "row source"]:
        """The decoder's attention to the sources: of a layer or head, or their mean.

        Raises:
            UsageError: there is no such layer with cross-attention, or no such head.
        """
        layers = self.decoder_layers
        if not layers:
            raise UsageError("the network has no `decoder.*.cross_attention`")
        if layer is not None and layer not in layers:
            raise unknown_name("decoder layer", str(layer), map(str, layers))
        names = [f"decoder.{i}.cross_attention" for i in layers if layer in (None, i)]
        weights = np.stack([self[name] for name in names])
        if head is not None and not 0 <= head < weights.shape[1]:
            raise unknown_name("head", str(head), map(str, range(weights.shape[1])))
        return weights.mean((0, 1)) if head is None else weights[:, head].mean(0)

    def by_example(
        self, weights: Float[np.ndarray, "*rows source"]
    ) -> Float[np.ndarray, "*rows example"]:
        """Sum attention over the tokens of each study example; the rest is on the query."""
        number = np.array([token.example for token in self.sources])
        return weights @ (number[:, None] == np.arange(len(self.examples)))

    @property
    def examples(self) -> tuple[str, ...]:
        """The study examples as texts, such as `dax fep → RED RED`."""
        texts: dict[int, list[str]] = {}
        for label, example in self.sources:
            if example != QUERY and label != "|":
                texts.setdefault(example, []).append("→" if label == str(IO) else label)
        return tuple([" ".join(text) for text in texts.values()])


def trace_response(responder: Responder, episode: Episode, original: Episode) -> Trace:
    """Record all activations behind the target of an episode's one query.

    Args:
        original: the same episode in the words and symbols of the labels.
    Raises:
        UsageError: the model is no network, or of an architecture whose tokens have no names.
    """
    network = network_of(responder)
    if len(episode.queries) != 1:
        raise UsageError(f"a trace is of one query, but there are {len(episode.queries)}")
    batch = network.collate([episode]).to(next(network.parameters()).device)
    ids, examples = network.source_tokens(batch)
    found: dict[str, np.ndarray] = {}

    def find(name: str) -> list[Hook]:
        return [lambda x, _: found.update({name: x[0].float().cpu().numpy()})]

    with inference_mode(network, 1), use_hooks(network, find):
        network(batch)
    words, symbols = _original_names(episode, original)
    vocabulary = network.vocabulary
    read = (*vocabulary.input.tokens, "|", EOS)
    labels = [_label(read[i], words | symbols) for i in ids.tolist()]
    (query,) = original.queries
    target = vocabulary.output.encode(episode.queries[0].output)
    response = [_label(vocabulary.output.tokens[i], symbols) for i in target]
    return Trace(
        query=query.input,
        response=(*response, str(EOS)),
        sources=tuple(map(SourceToken, labels, examples.tolist())),
        lexicon=tuple(dict.fromkeys(word for example in original.study for word in example.input)),
        activations=found,
    )


def _original_names(episode: Episode, original: Episode) -> tuple[dict[str, str], dict[str, str]]:
    """The words and the symbols of an episode, each with its name in the other one."""
    words: dict[str, str] = {}
    symbols: dict[str, str] = {}
    for new, old in zip(
        (*episode.study, *episode.queries), (*original.study, *original.queries), strict=True
    ):
        words.update(zip(new.input, old.input, strict=True))
        symbols.update(zip(new.output, old.output, strict=True))
    return words, symbols


def _label(token: Token, names: Mapping[str, str]) -> str:
    """A token in the names of the user; one with spaces stands for several symbols."""
    return " ".join(names.get(name, name) for name in str(token).split(" "))


def network_of(responder: Responder) -> EpisodeNetwork:
    if not isinstance(responder, NetworkResponder):
        raise UsageError("only a network has activations and attention")
    return responder.network


def activation_names(network: EpisodeNetwork) -> tuple[str, ...]:
    """The names of all activations, in the order of the data flow."""
    if network in _NAMES:
        return _NAMES[network]
    word, symbol = network.vocabulary.input.symbols[0], network.vocabulary.output.symbols[0]
    example = Example((word,), (symbol,))
    batch = network.collate([Episode((example,), (example,))])
    names: dict[str, None] = {}

    def find(name: str) -> list[Hook]:
        names[name] = None
        return []

    with inference_mode(network, 1), use_hooks(network, find):
        network(batch.to(next(network.parameters()).device))
    return _NAMES.setdefault(network, tuple(names))


_NAMES: WeakKeyDictionary[EpisodeNetwork, tuple[str, ...]] = WeakKeyDictionary()
