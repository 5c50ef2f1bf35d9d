"""Whether greedy answers are exact, without answering."""

from collections.abc import Sequence

import torch

from biml.episodes.episode import Episode
from biml.evaluation.decode import MAX_TOKENS, inference_mode, resolve_device
from biml.evaluation.questions import output_mask
from biml.evaluation.responder import DEFAULT_MAX_LENGTH
from biml.networks.base import EpisodeNetwork


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
