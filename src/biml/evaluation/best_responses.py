"""The most probable responses to a query, by a search over prefixes.

Prefixes are extended as long as they are more probable than the k-th response found, which is exact
unless more than `MAX_PREFIXES` remain at some length.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from biml.episodes.episode import Episode
from biml.evaluation.network import (
    MAX_TOKENS,
    NetworkResponder,
    answers_by_parts,
    deduplicate,
    inference_mode,
)
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Responder, Response
from biml.networks.devices import exact_float

MAX_PREFIXES = 100
"""Prefixes of one length that are extended."""

Extend = Callable[[list[int], list[Response]], Float[np.ndarray, "prefixes choices+1"]]
"""(number of each prefix's parent among those before, prefixes) -> log-probabilities of the next
symbol, of each choice and of the end last."""


def best_responses(
    responder: Responder,
    episode: Episode,
    k: int,
    max_length: int = DEFAULT_MAX_LENGTH,
    least: float = 0.0,
) -> list[list[tuple[Response, float]]]:
    """For each query the `k` most probable responses with their probabilities, the best first.

    Those less probable than `least` are left out, with every prefix that is less probable.
    """
    choices = responder.symbols if episode.pool is None else episode.pool
    if isinstance(responder, NetworkResponder) and _has_one_token_per_symbol(responder):
        extensions = _extend_by_decoding(responder, episode, choices)
    else:
        extensions = [
            _extend_by_log_prob(responder, replace(episode, queries=(query,)), choices)
            for query in episode.queries
        ]
    with np.errstate(divide="ignore"):
        return [_search(extend, choices, k, max_length, np.log(least)) for extend in extensions]


def _search(
    extend: Extend, choices: Sequence[str], k: int, max_length: int, least: float
) -> list[tuple[Response, float]]:
    found: list[tuple[float, Response]] = []
    prefixes: list[tuple[float, Response]] = [(0.0, ())]
    parents = [0]
    for length in range(max_length + 1):
        scores = extend(parents, [prefix for _, prefix in prefixes])
        totals = scores + np.array([[p] for p, _ in prefixes])
        ends = zip(totals[:, -1].tolist(), [prefix for _, prefix in prefixes], strict=True)
        found = sorted([*found, *ends], key=lambda pair: -pair[0])[:k]
        worst = max(least, found[-1][0]) if len(found) == k else least
        if length == max_length:
            break
        flat = totals[:, :-1].ravel()
        order = np.argsort(-flat, kind="stable")[:MAX_PREFIXES]
        kept = [divmod(int(i), len(choices)) for i in order if flat[i] > worst]
        if not kept:
            break
        parents = [parent for parent, _ in kept]
        prefixes = [(float(totals[i, j]), (*prefixes[i][1], choices[j])) for i, j in kept]
    return [(response, float(np.exp(p))) for p, response in found if p > -np.inf and p >= least]


def _extend_by_log_prob(responder: Responder, episode: Episode, choices: tuple[str, ...]) -> Extend:
    """Score every extension as a response of its own, which any responder can."""
    (query,) = episode.queries

    def extend(parents: list[int], prefixes: list[Response]) -> np.ndarray:
        extended = [(*prefix, symbol) for prefix in prefixes for symbol in choices]
        queries = tuple(query._replace(output=response) for response in (*extended, *prefixes))
        (scores,) = responder.log_prob([replace(episode, queries=queries)])
        symbols = np.array([score[-2] for score in scores[: len(extended)]])
        ends = np.array([score[-1] for score in scores[len(extended) :]])
        return np.column_stack((symbols.reshape(len(prefixes), -1), ends))

    return extend


def _has_one_token_per_symbol(responder: NetworkResponder) -> bool:
    network = responder.network
    return not (answers_by_parts(network) or network.vocabulary.output.sequences)


def _extend_by_decoding(
    responder: NetworkResponder, episode: Episode, choices: tuple[str, ...]
) -> list[Extend]:
    """Decode one more symbol of each prefix; the queries are encoded once."""
    network = responder.network
    output = network.vocabulary.output
    columns = [*output.encode(choices), output.eos]
    distinct = deduplicate([episode])
    states = {}
    with inference_mode(network, len(distinct)):
        for numbers, state, mask in distinct.encode(network, MAX_TOKENS, mask_special=False):
            for row, number in enumerate(numbers):
                index = torch.tensor([row], device=mask.device)
                states[number] = state.select(index), mask[index]

    def extension(number: int) -> Extend:
        state, mask = states[number]

        def extend(parents: list[int], prefixes: list[Response]) -> np.ndarray:
            nonlocal state
            rows = torch.tensor(parents, device=mask.device)
            last = [output.encode(prefix[-1:])[0] if prefix else output.sos for prefix in prefixes]
            with inference_mode(network, len(prefixes)):
                state = state.select(rows)
                tokens = torch.tensor(last, device=mask.device)
                logits = network.decode_step(state, tokens).masked_fill(mask, -torch.inf)
                exact = logits.to(exact_float(logits.device)).log_softmax(dim=1)
            return exact[:, columns].cpu().double().numpy()

        return extend

    return [extension(number) for number in distinct.query_index[0]]
