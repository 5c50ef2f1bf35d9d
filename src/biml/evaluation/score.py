"""How probable a network finds given responses, symbol by symbol."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from biml.episodes.episode import Episode
from biml.evaluation.decode import MAX_TOKENS, inference_mode, resolve_device
from biml.evaluation.questions import deduplicate
from biml.networks.base import EpisodeNetwork

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
