"""A trained network as a responder: greedy decoding, sampling, scoring and exact match.

Equal queries (same study examples in the same order, same words and pool) are encoded once, and
equal prefixes of their responses decoded once: the 217 human few-shot responses are 46 different
responses to 10 different queries.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from biml.episodes.episode import Episode, Example
from biml.episodes.parts import OPEN, respond_by_parts
from biml.errors import UsageError
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Response, check_lapse
from biml.networks.base import EpisodeNetwork, exact_match, output_mask
from biml.networks.devices import exact_float, inference_threads
from biml.vocabulary import TokenVocab

MAX_TOKENS = 8192
"""Source tokens computed together; more gains nothing on a CPU, where 16,384 are slower."""

_MAX_ROWS_PER_BATCH = 512
"""Responses decoded together, as each holds a copy of its query's keys and values."""

TokenIds = tuple[int, ...]
"""The tokens of a response, EOS last."""

ChooseTokens = Callable[[Float[Tensor, "rows symbols"], Int[Tensor, " rows"], int], Tensor]
"""(logits, numbers of the rows, step) -> tokens [rows]."""

T = TypeVar("T")


@dataclass(frozen=True)
class NetworkResponder:
    """A network of any architecture as a `Responder`; it computes where its parameters are.

    At most `max_tokens` source tokens, and `batch_size` episodes, are computed together; the
    `precision` is "fp32", or "bf16" for automatic mixed precision.
    """

    network: EpisodeNetwork
    max_tokens: int = MAX_TOKENS
    batch_size: int | None = None
    precision: str = "fp32"

    @property
    def symbols(self) -> tuple[str, ...]:
        symbols = self.network.vocabulary.output.symbols
        # Behind it are words, for quotations.
        return symbols[: symbols.index(OPEN)] if answers_by_parts(self.network) else symbols

    def log_prob(self, episodes: Sequence[Episode], /) -> list[list[np.ndarray]]:
        return self._in_batches(response_log_probs, episodes)

    def respond(
        self, episodes: Sequence[Episode], /, *, max_length: int = DEFAULT_MAX_LENGTH
    ) -> list[list[Response]]:
        return self._in_batches(partial(greedy_decode, max_length=max_length), episodes)

    def sample(
        self,
        episodes: Sequence[Episode],
        /,
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
        p_lapse: float = 0.0,
    ) -> list[list[list[Response]]]:
        # One generator for all batches, so that samples do not depend on the batch size.
        generator = torch.Generator().manual_seed(seed)
        decode = partial(
            sample_decode, max_length=max_length, generator=generator, n=n, p_lapse=p_lapse
        )
        return self._in_batches(decode, episodes)

    def _in_batches(self, compute: Callable[..., list[T]], episodes: Sequence[Episode]) -> list[T]:
        size = self.batch_size or max(1, len(episodes))
        device = next(self.network.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16"):
            return [
                of_episode
                for start in range(0, len(episodes), size)
                for of_episode in compute(
                    self.network, episodes[start : start + size], max_tokens=self.max_tokens
                )
            ]


@contextmanager
def inference_mode(network: EpisodeNetwork, n_queries: int) -> Iterator[None]:
    """Compute without dropout and gradients, in threads by the number of queries.

    The training mode and the number of threads are restored afterwards.
    """
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode(), inference_threads(n_queries):
            yield
    finally:
        network.train(was_training)


@dataclass(frozen=True)
class DistinctQueries:
    """The distinct queries of a list of episodes.

    Attributes:
        episodes: one per study set and pool, with each query once and without targets.
        query_index: for each query of each given episode the number of its distinct query.
        index_of: the number of query q of `episodes[e]`, by (e, q).
    """

    episodes: list[Episode]
    query_index: list[list[int]]
    index_of: dict[tuple[int, int], int]

    def __len__(self) -> int:
        return len(self.index_of)

    def encode(
        self, network: EpisodeNetwork, max_tokens: int, *, mask_special: bool
    ) -> Iterator[tuple[list[int], Any, Bool[Tensor, "rows symbols"]]]:
        """For each micro-batch its query numbers, the decoder state and the output mask."""
        device = next(network.parameters()).device
        for batch in network.micro_batches(self.episodes, max_tokens):
            pools = [self.episodes[episode].pool for episode, _ in batch.indices]
            mask = output_mask(pools, network.vocabulary, special=mask_special).to(device)
            numbers = [self.index_of[row] for row in batch.indices]
            yield numbers, network.encode(batch.to(device)), mask


def deduplicate(episodes: Sequence[Episode]) -> DistinctQueries:
    """Find the distinct queries of episodes.

    >>> study = (Example(("dax",), ("RED",)),)
    >>> query = Example(("dax",), ("RED",))
    >>> deduplicate([Episode(study, (query, query)), Episode(study, (query,))]).query_index
    [[0, 0], [0]]
    """
    groups: dict[tuple[object, object], tuple[Episode, dict[tuple[str, ...], int]]] = {}
    n_distinct = 0
    query_index: list[list[int]] = []
    for episode in episodes:
        _, known = groups.setdefault((episode.study, episode.pool), (episode, {}))
        for query in episode.queries:
            if query.input not in known:
                known[query.input] = n_distinct
                n_distinct += 1
        query_index.append([known[query.input] for query in episode.queries])
    merged: list[Episode] = []
    index_of: dict[tuple[int, int], int] = {}
    for episode, known in groups.values():
        index_of |= {(len(merged), i): number for i, number in enumerate(known.values())}
        queries = tuple(Example(words, ()) for words in known)
        merged.append(Episode(episode.study, queries, pool=episode.pool, name=episode.name))
    return DistinctQueries(merged, query_index, index_of)


def greedy_decode(
    network: EpisodeNetwork,
    episodes: Sequence[Episode],
    max_length: int = DEFAULT_MAX_LENGTH,
    *,
    max_tokens: int = MAX_TOKENS,
) -> list[list[Response]]:
    """Take the most probable symbol at each step, for every query of every episode.

    A response ends at EOS or is cut at `max_length` symbols. SOS, PAD and symbols outside an
    episode's pool are never chosen. A network that answers by parts (`biml.episodes.parts`) also
    responds to the phrases that it quotes.
    """
    decode = partial(_greedy_decode, network, max_length=max_length, max_tokens=max_tokens)
    if answers_by_parts(network):
        return respond_by_parts(decode, episodes, max_length)
    return decode(episodes)


def answers_by_parts(network: EpisodeNetwork) -> bool:
    return OPEN in network.vocabulary.output.index


def _require_direct_answers(network: EpisodeNetwork) -> None:
    if answers_by_parts(network):
        raise UsageError(
            "this model answers by parts, so that only its best responses are known, not their "
            "probabilities; use --max"
        )


def _greedy_decode(
    network: EpisodeNetwork, episodes: Sequence[Episode], max_length: int, max_tokens: int
) -> list[list[Response]]:
    distinct = deduplicate(episodes)
    responses: list[Response] = [()] * len(distinct)
    with inference_mode(network, len(distinct)):
        for numbers, state, mask in distinct.encode(network, max_tokens, mask_special=True):
            tokens = _decode(network, state, mask, max_length, lambda logits, *_: logits.argmax(1))
            for number, row in zip(numbers, tokens.tolist(), strict=True):
                responses[number] = network.vocabulary.output.decode(row)[:max_length]
    return [[responses[number] for number in numbers] for numbers in distinct.query_index]


def sample_decode(
    network: EpisodeNetwork,
    episodes: Sequence[Episode],
    max_length: int = DEFAULT_MAX_LENGTH,
    *,
    generator: torch.Generator,
    n: int = 1,
    p_lapse: float = 0.0,
    max_tokens: int = MAX_TOKENS,
) -> list[list[list[Response]]]:
    """Sample `n` responses to every query, symbol by symbol from the network's softmax.

    Ends and exclusions are as in `greedy_decode`, the remaining probabilities renormalised. Uniform
    numbers are drawn beforehand in the order of the queries, so that samples depend on the
    generator (on the CPU) and not on batching; equal queries get samples of their own.
    """
    _require_direct_answers(network)
    check_lapse(p_lapse)
    distinct = deduplicate(episodes)
    n_samples = n * sum(map(len, distinct.query_index))
    uniforms = torch.rand((n_samples, max_length), generator=generator, dtype=torch.float64)
    samples_of: list[list[int]] = [[] for _ in range(len(distinct))]
    first = 0
    for numbers in distinct.query_index:
        for number in numbers:
            samples_of[number].extend(range(first, first + n))
            first += n
    responses: list[Response] = [()] * n_samples
    with inference_mode(network, n_samples):
        for numbers, state, mask in distinct.encode(network, max_tokens, mask_special=True):
            pairs = [(row, i) for row, number in enumerate(numbers) for i in samples_of[number]]
            for start in range(0, len(pairs), _MAX_ROWS_PER_BATCH):
                chunk = pairs[start : start + _MAX_ROWS_PER_BATCH]
                rows = torch.tensor([row for row, _ in chunk], device=mask.device)
                samples = [sample for _, sample in chunk]
                numbers_of = uniforms[samples].to(mask.device, exact_float(mask.device))
                choose = _inverse_cdf_sampling(numbers_of, p_lapse)
                tokens = _decode(network, state.select(rows), mask[rows], max_length, choose)
                for sample, row in zip(samples, tokens.tolist(), strict=True):
                    responses[sample] = network.vocabulary.output.decode(row)[:max_length]
    sampled = iter(responses)
    return [[[next(sampled) for _ in range(n)] for _ in row] for row in distinct.query_index]


def _decode(
    network: EpisodeNetwork,
    state: Any,
    mask: Bool[Tensor, "rows symbols"],
    max_length: int,
    choose: ChooseTokens,
) -> Int[Tensor, "rows max_length"]:
    """Decode step by step; tokens behind a row's first EOS have no meaning."""
    output = network.vocabulary.output
    tokens = mask.new_full((len(mask),), output.sos, dtype=torch.long)
    responses = torch.full((len(mask), max_length), output.eos)
    rows = torch.arange(len(mask), device=mask.device)
    unfinished = torch.ones_like(rows, dtype=torch.bool)
    for step in range(max_length):
        logits = network.decode_step(state, tokens).masked_fill(mask, -torch.inf)
        tokens = choose(logits, rows, step)
        responses[rows.cpu(), step] = tokens.cpu()
        unfinished &= tokens != output.eos
        n_unfinished = int(unfinished.sum())
        if not n_unfinished or step + 1 == max_length:
            break
        # Dropping rows copies the state of the others, which only pays where many have ended.
        if n_unfinished <= 0.7 * len(rows):
            kept = unfinished.nonzero()[:, 0]
            state = state.select(kept)
            tokens, rows, mask = tokens[kept], rows[kept], mask[kept]
            unfinished = unfinished[kept]
    return responses


def _inverse_cdf_sampling(uniforms: Float[Tensor, "rows steps"], p_lapse: float) -> ChooseTokens:
    """Sample by inverting the cumulative probabilities."""

    def choose(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        probabilities = logits.to(uniforms.dtype).softmax(dim=1)
        if p_lapse:
            choices = ~logits.isneginf()
            chance = choices / choices.sum(dim=1, keepdim=True)
            probabilities = (1 - p_lapse) * probabilities + p_lapse * chance
        cumulative = probabilities.cumsum(dim=1)
        threshold = uniforms[rows, step, None] * cumulative[:, -1:]
        return (cumulative <= threshold).sum(dim=1).clamp(max=logits.shape[1] - 1)

    return choose


def response_log_probs(
    network: EpisodeNetwork, episodes: Sequence[Episode], *, max_tokens: int = MAX_TOKENS
) -> list[list[Float[np.ndarray, " length+1"]]]:
    """Natural log-probability (float64) of each symbol of each query's target, EOS last.

    The softmax is over all output entries, SOS and PAD too, as in training; in an episode with a
    pool it is over the pool and EOS, and a symbol outside the pool has probability zero.
    """
    _require_direct_answers(network)
    distinct = deduplicate(episodes)
    output = network.vocabulary.output
    responses = [
        [(*output.encode(query.output), output.eos) for query in episode.queries]
        for episode in episodes
    ]
    scores: list[dict[TokenIds, np.ndarray]] = [{} for _ in range(len(distinct))]
    for numbers, given in zip(distinct.query_index, responses, strict=True):
        for number, response in zip(numbers, given, strict=True):
            scores[number][response] = np.empty(0)
    with inference_mode(network, len(distinct)):
        for numbers, state, mask in distinct.encode(network, max_tokens, mask_special=False):
            pairs = [(row, r) for row, number in enumerate(numbers) for r in scores[number]]
            for start in range(0, len(pairs), _MAX_ROWS_PER_BATCH):
                chunk = pairs[start : start + _MAX_ROWS_PER_BATCH]
                scored = _score_responses(network, state, mask, chunk)
                for (row, response), score in zip(chunk, scored, strict=True):
                    scores[numbers[row]][response] = score
    return [
        [
            _by_symbol(scores[number][response], response, output)
            for number, response in zip(numbers, given, strict=True)
        ]
        for numbers, given in zip(distinct.query_index, responses, strict=True)
    ]


def _by_symbol(
    scores: Float[np.ndarray, " tokens"], response: TokenIds, output: TokenVocab
) -> Float[np.ndarray, " length+1"]:
    """Give the score of a token that stands for several symbols to the first of them."""
    if not output.sequences:
        return scores
    lengths = [len(output.decode([token])) for token in response[:-1]]
    starts = np.cumsum([0, *lengths])
    spread = np.zeros(starts[-1] + 1)
    spread[starts] = scores
    return spread


def _score_responses(
    network: EpisodeNetwork,
    state: Any,
    mask: Bool[Tensor, "rows symbols"],
    row_responses: list[tuple[int, TokenIds]],
) -> list[np.ndarray]:
    """Score (row of `state`, response) pairs, decoding each distinct prefix once."""
    nodes: dict[tuple[int, TokenIds], int] = {}
    for row, _ in row_responses:
        nodes.setdefault((row, ()), len(nodes))
    rows = torch.tensor([row for row, _ in nodes], device=mask.device)
    state, mask = state.select(rows), mask[rows]
    tokens = torch.full_like(rows, network.vocabulary.output.sos)
    scores: list[list[float]] = [[] for _ in row_responses]
    step = 0
    while True:
        logits = network.decode_step(state, tokens).masked_fill(mask, -torch.inf)
        log_probs = logits.to(exact_float(logits.device)).log_softmax(dim=1).cpu().double().numpy()
        children: dict[tuple[int, TokenIds], int] = {}
        parents: list[int] = []
        for (row, response), score in zip(row_responses, scores, strict=True):
            if step < len(response):
                parent = nodes[row, response[:step]]
                score.append(log_probs[parent, response[step]])
                if step + 1 < len(response) and (row, response[: step + 1]) not in children:
                    children[row, response[: step + 1]] = len(children)
                    parents.append(parent)
        if not children:
            return [np.array(score) for score in scores]
        if parents != list(range(len(nodes))):
            rows = torch.tensor(parents, device=mask.device)
            state, mask = state.select(rows), mask[rows]
        tokens = torch.tensor([prefix[-1] for _, prefix in children], device=mask.device)
        nodes = children
        step += 1


def teacher_forced_exact_match(
    network: EpisodeNetwork,
    episodes: Sequence[Episode],
    max_length: int = DEFAULT_MAX_LENGTH,
    *,
    max_tokens: int = MAX_TOKENS,
) -> list[list[bool]]:
    """For each episode and query whether `greedy_decode` would give its target.

    One pass over the targets, several times as fast as decoding (see `networks.base.exact_match`).
    A network that answers by parts decodes.
    """
    if answers_by_parts(network):
        responses = greedy_decode(network, episodes, max_length, max_tokens=max_tokens)
        return [
            [response == query.output for query, response in zip(e.queries, of_one, strict=True)]
            for e, of_one in zip(episodes, responses, strict=True)
        ]
    is_exact = [[False] * len(episode.queries) for episode in episodes]
    device = next(network.parameters()).device
    with inference_mode(network, sum(map(len, is_exact))):
        for batch in network.micro_batches(episodes, max_tokens):
            pools = [episodes[episode].pool for episode, _ in batch.indices]
            mask = output_mask(pools, network.vocabulary).to(device)
            batch = batch.to(device)
            output = network.vocabulary.output
            exact = exact_match(network(batch), batch.target, mask, output, max_length).tolist()
            for (episode, query), value in zip(batch.indices, exact, strict=True):
                is_exact[episode][query] = value
    return is_exact
