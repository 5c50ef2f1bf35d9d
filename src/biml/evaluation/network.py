"""A trained network behind the protocol of everything that answers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from biml.episodes.episode import Episode, Example
from biml.evaluation.likelihood import check_lapse
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Response
from biml.networks.base import Batch, EpisodeNetwork
from biml.vocabulary import Vocabulary


@dataclass(frozen=True)
class DistinctQueries:
    """The distinct questions of a list of episodes.

    A question is a study set in one order, the words of a query and the pool its answer may use;
    the 217 human few-shot responses answer 10 of them.

    Attributes:
        episodes: one a study set and pool, with each of its queries once, and without targets.
        asked: for each query of each given episode the number of its question.
        number: the number of query q of `episodes[e]`, by (e, q).
    """

    episodes: list[Episode]
    query_index: list[list[int]]
    index_of: dict[tuple[int, int], int]

    def __len__(self) -> int:
        return len(self.index_of)

    def rows_of(self, batch: Batch) -> list[int]:
        """The question that each row of a batch of `episodes` asks."""
        return [self.index_of[origin] for origin in batch.indices]

    def output_mask(
        self, batch: Batch, vocabulary: Vocabulary, *, always_excluded: Sequence[int]
    ) -> Tensor:
        """Which output entries the row's answer may not use, BoolTensor [rows, output vocabulary].

        Args:
            everyone: entries that no row may use.
        """
        pools = [self.episodes[episode].pool for episode, _ in batch.indices]
        return output_mask(pools, vocabulary, always_excluded=always_excluded).to(
            batch.target.device
        )


def output_mask(
    pools: Sequence[tuple[str, ...] | None],
    vocabulary: Vocabulary,
    *,
    always_excluded: Sequence[int],
) -> Tensor:
    """Which output entries answers may not use, given the pool of each row.

    Args:
        everyone: entries that no row may use.
    Returns:
        BoolTensor [rows, output vocabulary].
    """
    masks = {pool: _pool_mask(pool, vocabulary, always_excluded) for pool in dict.fromkeys(pools)}
    return torch.stack([masks[pool] for pool in pools])


def deduplicate(episodes: Sequence[Episode]) -> DistinctQueries:
    """The distinct questions of the episodes.

    >>> study = (Example(("dax",), ("RED",)),)
    >>> query = Example(("dax",), ("RED",))
    >>> deduplicate([Episode(study, (query, query)), Episode(study, (query,))]).query_index
    [[0, 0], [0]]
    """
    groups: dict[tuple[object, object], tuple[Episode, dict[tuple[str, ...], int]]] = {}
    questions = 0
    asked: list[list[int]] = []
    for episode in episodes:
        _, known = groups.setdefault((episode.study, episode.pool), (episode, {}))
        for query in episode.queries:
            if query.input not in known:
                known[query.input] = questions
                questions += 1
        asked.append([known[query.input] for query in episode.queries])
    merged: list[Episode] = []
    number: dict[tuple[int, int], int] = {}
    for episode, known in groups.values():
        for place, question in enumerate(known.values()):
            number[len(merged), place] = question
        queries = tuple(Example(words, ()) for words in known)
        merged.append(Episode(episode.study, queries, pool=episode.pool, name=episode.name))
    return DistinctQueries(merged, asked, number)


def _pool_mask(
    pool: tuple[str, ...] | None, vocabulary: Vocabulary, always_excluded: Sequence[int]
) -> Tensor:
    language = vocabulary.output
    mask = torch.zeros(len(language), dtype=torch.bool)
    if pool is not None:
        mask[:] = True
        mask[[*language.encode(pool), language.eos]] = False
    mask[list(always_excluded)] = True
    return mask


# === Answers of a network: the likeliest symbol at each step, or drawn symbols.


MAX_TOKENS = 8192
"""Source tokens computed together; more gains nothing on a CPU, where 16,384 are slower."""

_MAX_ROWS_PER_BATCH = 512
"""Answers drawn together: each holds a copy of its question's keys and values."""

ChooseTokens = Callable[[Tensor, Tensor, int], Tensor]
"""(logits [rows, vocabulary], numbers of the rows [rows], step) -> tokens [rows]."""


def greedy_decode(
    network: EpisodeNetwork,
    episodes: Sequence[Episode],
    max_length: int = DEFAULT_MAX_LENGTH,
    *,
    device: torch.device | str | None = None,
    max_tokens: int = MAX_TOKENS,
) -> list[list[Response]]:
    """The likeliest symbol at each step, for every query of every episode.

    An answer ends at EOS or is cut at `max_length` symbols. SOS and PAD, to which a softmax over
    all output entries leaves a trace of probability, are never answered, nor is a symbol
    outside an episode's pool. The targets of the queries are not looked at.

    Args:
        device: where to compute; where the network is by default.
        max_tokens: how much is computed together.
    Raises:
        UsageError: a symbol is not in the network's vocabulary.
    """
    questions = deduplicate(episodes)
    answers: list[Response] = [()] * len(questions)
    with inference_mode(network):
        for batch in network.micro_batches(questions.episodes, max_tokens):
            batch = batch.to(resolve_device(network, device))
            tokens = _decode(
                network,
                network.encode(batch),
                questions.output_mask(
                    batch, network.vocabulary, always_excluded=_special_tokens(network)
                ),
                max_length,
                lambda logits, _rows, _step: logits.argmax(dim=1),
            )
            for question, answer in zip(questions.rows_of(batch), tokens.tolist(), strict=True):
                answers[question] = network.vocabulary.output.decode(answer)
    return [[answers[question] for question in asked] for asked in questions.query_index]


def sample_decode(
    network: EpisodeNetwork,
    episodes: Sequence[Episode],
    max_length: int = DEFAULT_MAX_LENGTH,
    *,
    generator: torch.Generator,
    n: int = 1,
    p_lapse: float = 0.0,
    device: torch.device | str | None = None,
    max_tokens: int = MAX_TOKENS,
) -> list[list[list[Response]]]:
    """`n` drawn answers to every query of every episode, each symbol from the network's softmax.

    Ends and exclusions are as in `greedy`, the remaining probabilities renormalised. The draws
    are made beforehand in the order of the queries, so that they depend on the generator and not
    on how rows are cut into batches; queries that ask the same question get answers of their own.

    Args:
        generator: of the draws, on the CPU.
        p_lapse: the probability that a symbol is none of the network's choosing but any that may be
            answered, or the end.
    Raises:
        UsageError: that is none, or a symbol is not in the network's vocabulary.
    """
    check_lapse(p_lapse)
    questions = deduplicate(episodes)
    draws = torch.rand(
        (n * sum(map(len, questions.query_index)), max_length),
        generator=generator,
        dtype=torch.float64,
    )
    wanted = _sample_indices_by_query(questions, n)
    answers: list[Response] = [()] * len(draws)
    with inference_mode(network):
        for batch in network.micro_batches(questions.episodes, max_tokens):
            batch = batch.to(resolve_device(network, device))
            memory = network.encode(batch)
            forbidden = questions.output_mask(
                batch, network.vocabulary, always_excluded=_special_tokens(network)
            )
            pairs = [
                (row, draw)
                for row, question in enumerate(questions.rows_of(batch))
                for draw in wanted[question]
            ]
            for start in range(0, len(pairs), _MAX_ROWS_PER_BATCH):
                some = pairs[start : start + _MAX_ROWS_PER_BATCH]
                rows = torch.tensor([row for row, _ in some], device=batch.target.device)
                numbers = [draw for _, draw in some]
                tokens = _decode(
                    network,
                    memory.select(rows),
                    forbidden[rows],
                    max_length,
                    _inverse_cdf_sampling(draws[numbers].to(batch.target.device), p_lapse),
                )
                for number, answer in zip(numbers, tokens.tolist(), strict=True):
                    answers[number] = network.vocabulary.output.decode(answer)
    drawn = iter(answers)
    return [[[next(drawn) for _ in range(n)] for _ in asked] for asked in questions.query_index]


def resolve_device(network: EpisodeNetwork, device: torch.device | str | None) -> torch.device:
    """The device asked for, or the one the network is on."""
    return next(network.parameters()).device if device is None else torch.device(device)


@contextmanager
def inference_mode(network: EpisodeNetwork) -> Iterator[None]:
    """Without dropout and without gradients; the network is left in the mode it was in."""
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        network.train(was_training)


def _decode(
    network: EpisodeNetwork,
    state: object,
    output_mask: Tensor,
    max_length: int,
    choose: ChooseTokens,
) -> Tensor:
    """Tokens [rows, max_length]; what stands behind a row's first EOS means nothing."""
    output = network.vocabulary.output
    tokens = output_mask.new_full((len(output_mask),), output.sos, dtype=torch.long)
    answers = torch.full((len(output_mask), max_length), output.eos)
    rows = torch.arange(len(output_mask), device=output_mask.device)
    open_rows = torch.ones_like(rows, dtype=torch.bool)
    for step in range(max_length):
        logits = network.decode_step(state, tokens).masked_fill(output_mask, -torch.inf)
        tokens = choose(logits, rows, step)
        answers[rows.cpu(), step] = tokens.cpu()
        open_rows &= tokens != output.eos
        left = int(open_rows.sum())
        if not left or step + 1 == max_length:
            break
        # Leaving rows out copies the memory of the others, which only pays where many have ended.
        if left <= 0.7 * len(rows):
            keep = open_rows.nonzero()[:, 0]
            state = state.select(keep)  # type: ignore[attr-defined]
            tokens, rows, output_mask = tokens[keep], rows[keep], output_mask[keep]
            open_rows = open_rows[keep]
    return answers


def _inverse_cdf_sampling(uniforms: Tensor, p_lapse: float) -> ChooseTokens:
    """Tokens by inversion of the cumulative probabilities; `draws` are uniform, [rows, steps]."""

    def choose(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        probabilities = logits.double().softmax(dim=1)
        if p_lapse:
            choices = ~logits.isneginf()
            chance = choices / choices.sum(dim=1, keepdim=True)
            probabilities = (1 - p_lapse) * probabilities + p_lapse * chance
        reached = probabilities.cumsum(dim=1)
        drawn = uniforms[rows, step, None] * reached[:, -1:]
        return (reached <= drawn).sum(dim=1).clamp(max=logits.shape[1] - 1)

    return choose


def _sample_indices_by_query(distinct_queries: DistinctQueries, n: int) -> list[list[int]]:
    """For each question the numbers of the draws that answer it: n a query, in order of queries."""
    wanted: list[list[int]] = [[] for _ in range(len(distinct_queries))]
    draw = 0
    for asked in distinct_queries.query_index:
        for question in asked:
            wanted[question].extend(range(draw, draw + n))
            draw += n
    return wanted


def _special_tokens(network: EpisodeNetwork) -> list[int]:
    output = network.vocabulary.output
    return [output.sos, output.pad]


# === How probable a network finds given responses, symbol by symbol.


_MAX_RESPONSES_PER_BATCH = 512
"""Responses scored together: each may hold a copy of its question's keys and values."""

TokenIds = tuple[int, ...]
"""Numbers of the symbols of a response, EOS last."""


def response_log_probs(
    network: EpisodeNetwork,
    episodes: Sequence[Episode],
    *,
    device: torch.device | str | None = None,
    max_tokens: int = MAX_TOKENS,
) -> list[list[np.ndarray]]:
    """Natural log-probability of each symbol of each query's target, EOS last.

    The softmax is over all output entries, SOS and PAD too, as it was in training; in an episode
    with a pool it is over the pool and EOS, and a symbol outside has probability zero.

    Each distinct question is read once, and of the responses to it each distinct beginning is
    computed once: 217 human few-shot responses begin in fewer ways than they have symbols.

    Args:
        device: where to compute; where the network is by default.
        max_tokens: how much is computed together.
    Returns:
        For each episode and query a float64 array [symbols of the target + 1].
    Raises:
        UsageError: a symbol is not in the network's vocabulary.
    """
    questions = deduplicate(episodes)
    output = network.vocabulary.output
    responses = [
        [(*output.encode(query.output), output.eos) for query in episode.queries]
        for episode in episodes
    ]
    scores: list[dict[TokenIds, np.ndarray]] = [{} for _ in range(len(questions))]
    for asked, given in zip(questions.query_index, responses, strict=True):
        for question, response in zip(asked, given, strict=True):
            scores[question][response] = np.empty(0)
    with inference_mode(network):
        for batch in network.micro_batches(questions.episodes, max_tokens):
            batch = batch.to(resolve_device(network, device))
            memory = network.encode(batch)
            forbidden = questions.output_mask(batch, network.vocabulary, always_excluded=())
            numbers = questions.rows_of(batch)
            pairs = [(row, r) for row, question in enumerate(numbers) for r in scores[question]]
            for start in range(0, len(pairs), _MAX_RESPONSES_PER_BATCH):
                some = pairs[start : start + _MAX_RESPONSES_PER_BATCH]
                scored = _score_responses(network, memory, forbidden, some)
                for (row, response), score in zip(some, scored, strict=True):
                    scores[numbers[row]][response] = score
    return [
        [scores[question][response] for question, response in zip(asked, given, strict=True)]
        for asked, given in zip(questions.query_index, responses, strict=True)
    ]


def _score_responses(
    network: EpisodeNetwork,
    state: Any,
    output_mask: Tensor,
    row_responses: list[tuple[int, TokenIds]],
) -> list[np.ndarray]:
    """Log-probabilities of the symbols of each (row of `memory`, response).

    One decoding row stands for all responses to a question that have begun alike so far.
    """
    begun = {(row, ()): None for row, _ in row_responses}
    node: dict[tuple[int, TokenIds], int] = {key: number for number, key in enumerate(begun)}
    rows = torch.tensor([row for row, _ in node], device=output_mask.device)
    state, output_mask = state.select(rows), output_mask[rows]
    tokens = torch.full_like(rows, network.vocabulary.output.sos)
    scores: list[list[float]] = [[] for _ in row_responses]
    step = 0
    while True:
        logits = network.decode_step(state, tokens).masked_fill(output_mask, -torch.inf)
        log_probs = logits.double().log_softmax(dim=1).cpu().numpy()
        following: dict[tuple[int, TokenIds], int] = {}
        parents: list[int] = []
        for (row, response), score in zip(row_responses, scores, strict=True):
            if step < len(response):
                parent = node[row, response[:step]]
                score.append(log_probs[parent, response[step]])
                if step + 1 < len(response) and (row, response[: step + 1]) not in following:
                    following[row, response[: step + 1]] = len(following)
                    parents.append(parent)
        if not following:
            return [np.array(score) for score in scores]
        if parents != list(range(len(node))):
            rows = torch.tensor(parents, device=output_mask.device)
            state, output_mask = state.select(rows), output_mask[rows]
        tokens = torch.tensor([begin[-1] for _, begin in following], device=output_mask.device)
        node = following
        step += 1


# === Whether greedy answers are exact, without answering.


def teacher_forced_exact_match(
    network: EpisodeNetwork,
    episodes: Sequence[Episode],
    max_length: int = DEFAULT_MAX_LENGTH,
    *,
    max_tokens: int = MAX_TOKENS,
) -> list[list[bool]]:
    """For each episode and query whether `decode.greedy` would give its target.

    It does if and only if the likeliest symbol is right after every correct beginning, which one
    pass over the targets tells: several times as fast as answering symbol by symbol.

    Raises:
        UsageError: a symbol is not in the network's vocabulary.
    """
    right = [[False] * len(episode.queries) for episode in episodes]
    output = network.vocabulary.output
    pools = [episode.pool for episode in episodes]
    with inference_mode(network):
        for batch in network.micro_batches(episodes, max_tokens):
            batch = batch.to(resolve_device(network, None))
            of_rows = [pools[episode] for episode, _ in batch.indices]
            never = output_mask(
                of_rows, network.vocabulary, always_excluded=(output.sos, output.pad)
            )
            logits = network(batch)
            never = never.to(logits.device)[:, None]
            likeliest = logits.masked_fill(never, -torch.inf).argmax(-1)
            # An answer of `max_length` symbols is cut there and needs no end.
            place = torch.arange(batch.target.shape[1], device=logits.device)
            beyond = (batch.target == output.pad) | (
                (place == max_length) & (batch.target == output.eos)
            )
            likeliest[:, max_length:] = output.pad
            found = ((likeliest == batch.target) | beyond).all(1).tolist()
            for (episode, query), is_right in zip(batch.indices, found, strict=True):
                right[episode][query] = is_right
    return right


# === A trained network behind the protocol of everything that answers.


@dataclass(frozen=True)
class NetworkResponder:
    """A network of any architecture; it computes where its parameters are.

    Attributes:
        network: the network.
        max_tokens: so many source tokens are computed together.
        batch_size: at most so many episodes are computed together; by default any number.
        precision: "fp32", or "bf16" for automatic mixed precision.
    """

    network: EpisodeNetwork
    max_tokens: int = MAX_TOKENS
    batch_size: int | None = None
    precision: str = "fp32"

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.network.vocabulary.output.symbols

    def log_prob(self, episodes: Sequence[Episode]) -> list[list[np.ndarray]]:
        with self._autocast():
            return [
                of_episode
                for some in self._batches(episodes)
                for of_episode in response_log_probs(self.network, some, max_tokens=self.max_tokens)
            ]

    def respond(
        self, episodes: Sequence[Episode], max_length: int = DEFAULT_MAX_LENGTH
    ) -> list[list[Response]]:
        with self._autocast():
            return [
                of_episode
                for some in self._batches(episodes)
                for of_episode in greedy_decode(
                    self.network, some, max_length, max_tokens=self.max_tokens
                )
            ]

    def sample(
        self,
        episodes: Sequence[Episode],
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> list[list[list[Response]]]:
        return self.sample_with_lapse(episodes, 0.0, seed=seed, n=n, max_length=max_length)

    def sample_with_lapse(
        self,
        episodes: Sequence[Episode],
        p_lapse: float,
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> list[list[list[Response]]]:
        """See `biml.evaluation.likelihood.SamplesLapsing`."""
        # One generator for all batches, whose draws do not depend on how many there are.
        generator = torch.Generator().manual_seed(seed)
        with self._autocast():
            return [
                of_episode
                for some in self._batches(episodes)
                for of_episode in sample_decode(
                    self.network,
                    some,
                    max_length,
                    generator=generator,
                    n=n,
                    p_lapse=p_lapse,
                    max_tokens=self.max_tokens,
                )
            ]

    def _batches(self, episodes: Sequence[Episode]) -> list[Sequence[Episode]]:
        size = self.batch_size or max(1, len(episodes))
        return [episodes[start : start + size] for start in range(0, len(episodes), size)]

    def _autocast(self) -> AbstractContextManager[object]:
        device = next(self.network.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16")
