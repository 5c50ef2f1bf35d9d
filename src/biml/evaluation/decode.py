"""Answers of a network: the likeliest symbol at each step, or drawn symbols."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from biml.episodes.episode import Episode
from biml.evaluation.likelihood import check_lapse
from biml.evaluation.questions import DistinctQueries, deduplicate
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Response
from biml.networks.base import EpisodeNetwork

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
