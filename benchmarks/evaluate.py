"""How fast a network of the paper's size is evaluated.

    python benchmarks/evaluate.py [--model NAME] [--data_dir FOLDER] [--threads N] [--rounds N]

Log-likelihood of people's 217 few-shot answers under 100 renamings, and greedy answers to the gold
episode under 100 renamings (2,400 queries); start-up is not counted. Each is timed beside the
plain way in the same run: every row read on its own, as a batch of whole sequences, nothing
cached. Without `--model` the network is untrained: its answers never end before the tenth symbol,
so greedy decoding takes longer than for a trained one.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch

from biml.episodes.episode import Episode
from biml.episodes.episode_type import PUBLISHED_VOCAB
from biml.episodes.registry import episode_type
from biml.evaluation.network import NetworkResponder
from biml.networks.base import EpisodeNetwork
from biml.networks.checkpoint import load_model
from biml.networks.registry import build_network
from biml.networks.seq2seq import Seq2SeqTransformer
from biml.paths import DataFolders, resolve_model

PASSES = 100
PUBLISHED_SECONDS = {"likelihood": 106, "greedy": 32}
"""The method's published implementation on a machine of 2 cores, on another day."""

PLAIN_PASSES = 2
"""The plain way is timed on so many passes and multiplied up."""


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

    def likelihood_plainly() -> None:
        forward_all(network, [e for n in range(PLAIN_PASSES) for e in human.repeat(n)])

    def greedy() -> None:
        responder.respond(gold)

    def greedy_plainly() -> None:
        greedy_all(network, gold[:PLAIN_PASSES])

    tasks: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "likelihood": (likelihood, likelihood_plainly),
        "greedy": (greedy, greedy_plainly),
    }
    print(f"{args.threads} threads, median of {args.rounds} rounds")
    for name, (ours, plain) in tasks.items():
        ours(), plain()
        rounds = [(timed(ours), timed(plain) * PASSES / PLAIN_PASSES) for _ in range(args.rounds)]
        seconds = median(own for own, _ in rounds)
        ratio = median(slow / own for own, slow in rounds)
        print(
            f"{name:<10}  {seconds:6.2f} s for {PASSES} passes; the plain way takes {ratio:.1f} "
            f"times as long, the published implementation took {PUBLISHED_SECONDS[name]} s"
        )


def timed(task: Callable[[], None]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


@torch.no_grad()
def forward_all(network: EpisodeNetwork, episodes: Sequence[Episode]) -> None:
    """Log-probabilities of all targets, each with a source sequence of its own."""
    network.eval()
    for episode in episodes:
        network(network.collate([episode])).log_softmax(-1)


@torch.no_grad()
def greedy_all(network: EpisodeNetwork, episodes: Sequence[Episode], max_length: int = 10) -> None:
    """Greedy answers without cached keys and values: the answer is read anew for each symbol."""
    network.eval()
    output = network.vocabulary.output
    for episode in episodes:
        batch = network.collate([episode])
        tokens = torch.full((len(batch.indices), 1), output.sos)
        for _ in range(max_length):
            batch = type(batch)(**{**vars(batch), "decoder_input": tokens})
            best = network(batch)[:, -1].argmax(-1, keepdim=True)
            tokens = torch.cat((tokens, best), 1)


if __name__ == "__main__":
    main()
