"""Small networks, random episodes and an exact oracle, to check evaluation by brute force."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import PUBLISHED_VOCAB
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.networks.seq2seq import Seq2SeqConfig, Seq2SeqTransformer

SMALL = Seq2SeqConfig(nlayers_encoder=1, nlayers_decoder=2, nheads=2, emb_size=16, ff_mult=2)


def small_network(seed: int = 1) -> Seq2SeqTransformer:
    """An untrained network whose answers end after a few symbols and differ between questions."""
    network = Seq2SeqTransformer(SMALL, PUBLISHED_VOCAB, seed)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data *= 2
    network.out.bias.data[PUBLISHED_VOCAB.output.eos] += 0.5
    return network.eval()


def example(words: str, symbols: str) -> Example:
    return Example(tuple(words.split()), tuple(symbols.split()))


def random_episodes(rng, n: int, queries: int = 4, pool: bool = False) -> list[Episode]:
    """Episodes of random pairs; every query occurs several times with different targets."""

    def pair() -> Example:
        return Example(
            tuple(rng.choices(WORDS, k=rng.randint(1, 3))),
            tuple(rng.choices(COLOURS[:4], k=rng.randint(1, 4))),
        )

    episodes = []
    for number in range(n):
        pairs = [pair() for _ in range(queries)]
        again = [Example(query.input, pair().output) for query in pairs]
        episodes.append(
            Episode(
                study=tuple(pair() for _ in range(rng.randint(0, 4))),
                queries=(*pairs, *again, *pairs[:1]),
                pool=tuple(rng.sample(COLOURS[:4], rng.randint(2, 4))) if pool else None,
                name=f"episode {number}",
            )
        )
    return episodes


@dataclass
class Oracle:
    """Symbolic (oracle): certain of the gold output, of nothing past its end."""

    gold: dict[tuple[str, ...], tuple[str, ...]]
    calls: list[int] = field(default_factory=list)
    symbols: tuple[str, ...] = COLOURS

    def log_prob(self, episodes: Sequence[Episode]) -> list[list[np.ndarray]]:
        self.calls.append(len(episodes))
        return [[self._score(episode, query) for query in episode.queries] for episode in episodes]

    def _score(self, episode: Episode, query: Example) -> np.ndarray:
        right = (*self._answer(episode, query), "EOS")
        scores = np.full(len(query.output) + 1, -np.log(len(self.symbols) + 1))
        for position, symbol in enumerate((*query.output, "EOS")[: len(right)]):
            scores[position] = 0.0 if symbol == right[position] else -np.inf
        return scores

    def _answer(self, episode: Episode, query: Example) -> tuple[str, ...]:
        words, symbols = episode.remapping.words, episode.remapping.symbols
        back = {new: old for old, new in words.items()}
        return tuple(symbols[s] for s in self.gold[tuple(back[w] for w in query.input)])

    def respond(self, episodes, max_length=10):
        return [[self._answer(e, q)[:max_length] for q in e.queries] for e in episodes]

    def sample(self, episodes, *, seed, n=1, max_length=10, p_lapse=0.0):
        return [[[a] * n for a in one] for one in self.respond(episodes, max_length)]
