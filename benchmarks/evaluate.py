"""How fast a network of the paper's size is evaluated.

    python benchmarks/evaluate.py [--model NAME] [--data_dir FOLDER] [--threads N] [--rounds N]

Log-likelihood of people's 217 few-shot answers under 100 renamings, and greedy answers to the gold
episode under 100 renamings (2,400 queries); start-up is not counted. Each is timed beside the
published way, in alternation: PyTorch's own layers, every query read on its own, in batches of 25
episodes, and at each of ten decoding steps the whole decoder anew. Without `--model` the network is
untrained: its answers never end before the tenth symbol, so greedy decoding takes longer than for a
trained one.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from biml.episodes.episode import Episode
from biml.episodes.episode_type import PUBLISHED_VOCAB
from biml.episodes.registry import episode_type
from biml.evaluation.network import NetworkResponder
from biml.networks.checkpoint import load_model
from biml.networks.registry import build_network
from biml.networks.seq2seq import Seq2SeqBatch, Seq2SeqTransformer
from biml.paths import DataFolders, resolve_model

PASSES = 100

PUBLISHED_PASSES = 25
"""The published way is timed on so many passes and multiplied up."""

BATCH_SIZE = 25
"""Episodes of a batch, as published."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a trained model's file name or path")
    parser.add_argument("--data_dir", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    data = DataFolders(args.data_dir)
    network = (
        load_model(resolve_model(args.model)).network
        if args.model
        else build_network("paper", {}, PUBLISHED_VOCAB)
    )
    if not isinstance(network, Seq2SeqTransformer):
        parser.error(f"{args.model} is another network than the published one; leave out --model")
    responder = NetworkResponder(network)
    human = episode_type("few_shot_human").open_evaluation(data, 0)
    gold = episode_type("few_shot_gold").open_evaluation(data, 0).repeat(0)

    def likelihood() -> None:
        responder.log_prob([episode for n in range(PASSES) for episode in human.repeat(n)])

    def likelihood_as_published() -> None:
        score_as_published(network, [e for n in range(PUBLISHED_PASSES) for e in human.repeat(n)])

    def greedy() -> None:
        responder.respond(gold)

    def greedy_as_published() -> None:
        respond_as_published(network, gold[:PUBLISHED_PASSES])

    tasks: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "likelihood": (likelihood, likelihood_as_published),
        "greedy": (greedy, greedy_as_published),
    }
    print(f"{args.threads} threads, median of {args.rounds} rounds")
    for name, (ours, published) in tasks.items():
        ours(), published()
        scale = PASSES / PUBLISHED_PASSES
        rounds = [(timed(ours), timed(published) * scale) for _ in range(args.rounds)]
        seconds = median(own for own, _ in rounds)
        ratio = median(slow / own for own, slow in rounds)
        print(
            f"{name:<10}  {seconds:6.2f} s for {PASSES} passes; the published way takes "
            f"{ratio:.1f} times as long"
        )


def timed(task: Callable[[], None]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def encoded_batches(
    network: Seq2SeqTransformer, episodes: Sequence[Episode]
) -> Iterator[tuple[Seq2SeqBatch, Tensor, Tensor]]:
    """Batches of episodes, their encoded sources and the masks of padding."""
    for start in range(0, len(episodes), BATCH_SIZE):
        batch = network.collate(episodes[start : start + BATCH_SIZE])
        padding = batch.source == network.vocabulary.input.pad
        source = network.input_embedding(batch.source) + network.positions[: padding.shape[1]]
        yield batch, network.transformer.encoder(source, src_key_padding_mask=padding), padding


def decode(network: Seq2SeqTransformer, tokens: Tensor, memory: Tensor, padding: Tensor) -> Tensor:
    """Logits at all positions of the responses so far."""
    n = tokens.shape[1]
    decoded = network.transformer.decoder(
        network.output_embedding(tokens) + network.positions[:n],
        memory,
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(n),
        memory_key_padding_mask=padding,
    )
    return network.out(decoded)


@torch.no_grad()
def score_as_published(network: Seq2SeqTransformer, episodes: Sequence[Episode]) -> None:
    network.eval()
    for batch, memory, padding in encoded_batches(network, episodes):
        decode(network, batch.decoder_input, memory, padding).log_softmax(-1)


@torch.no_grad()
def respond_as_published(
    network: Seq2SeqTransformer, episodes: Sequence[Episode], max_length: int = 10
) -> None:
    network.eval()
    for batch, memory, padding in encoded_batches(network, episodes):
        tokens = torch.full((len(batch.indices), 1), network.vocabulary.output.sos)
        for _ in range(max_length):
            best = decode(network, tokens, memory, padding)[:, -1].argmax(-1, keepdim=True)
            tokens = torch.cat((tokens, best), 1)


if __name__ == "__main__":
    main()
