"""How probable a network finds given responses, symbol by symbol."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from biml.episodes.episode import Episode
from biml.evaluation.decode import MAX_TOKENS, answering, device_of
from biml.evaluation.questions import distinct
from biml.networks.base import EpisodeNetwork

_MOST_RESPONSES = 512
"""Responses scored together: each may hold a copy of its question's keys and values."""

Response = tuple[int, ...]
"""Numbers of the symbols of a response, EOS last."""


def log_prob(
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
    questions = distinct(episodes)
    output = network.vocabulary.output
    responses = [
        [(*output.encode(query.symbols), output.eos) for query in episode.queries]
        for episode in episodes
    ]
    scores: list[dict[Response, np.ndarray]] = [{} for _ in range(len(questions))]
    for asked, given in zip(questions.asked, responses, strict=True):
        for question, response in zip(asked, given, strict=True):
            scores[question][response] = np.empty(0)
    with answering(network):
        for batch in network.chunks(questions.episodes, max_tokens):
            batch = batch.to(device_of(network, device))
            memory = network.remember(batch)
            forbidden = questions.forbidden(batch, network.vocabulary, everyone=())
            numbers = questions.of(batch)
            pairs = [(row, r) for row, question in enumerate(numbers) for r in scores[question]]
            for start in range(0, len(pairs), _MOST_RESPONSES):
                some = pairs[start : start + _MOST_RESPONSES]
                scored = _score(network, memory, forbidden, some)
                for (row, response), score in zip(some, scored, strict=True):
                    scores[numbers[row]][response] = score
    return [
        [scores[question][response] for question, response in zip(asked, given, strict=True)]
        for asked, given in zip(questions.asked, responses, strict=True)
    ]


def _score(
    network: EpisodeNetwork, memory: Any, forbidden: Tensor, pairs: list[tuple[int, Response]]
) -> list[np.ndarray]:
    """Log-probabilities of the symbols of each (row of `memory`, response).

    One decoding row stands for all responses to a question that have begun alike so far.
    """
    begun = {(row, ()): None for row, _ in pairs}
    node: dict[tuple[int, Response], int] = {key: number for number, key in enumerate(begun)}
    rows = torch.tensor([row for row, _ in node], device=forbidden.device)
    memory, forbidden = memory.take(rows), forbidden[rows]
    tokens = torch.full_like(rows, network.vocabulary.output.sos)
    scores: list[list[float]] = [[] for _ in pairs]
    step = 0
    while True:
        logits = network.next_logits(memory, tokens).masked_fill(forbidden, -torch.inf)
        log_probs = logits.double().log_softmax(dim=1).cpu().numpy()
        following: dict[tuple[int, Response], int] = {}
        parents: list[int] = []
        for (row, response), score in zip(pairs, scores, strict=True):
            if step < len(response):
                parent = node[row, response[:step]]
                score.append(log_probs[parent, response[step]])
                if step + 1 < len(response) and (row, response[: step + 1]) not in following:
                    following[row, response[: step + 1]] = len(following)
                    parents.append(parent)
        if not following:
            return [np.array(score) for score in scores]
        if parents != list(range(len(node))):
            rows = torch.tensor(parents, device=forbidden.device)
            memory, forbidden = memory.take(rows), forbidden[rows]
        tokens = torch.tensor([begin[-1] for _, begin in following], device=forbidden.device)
        node = following
        step += 1
