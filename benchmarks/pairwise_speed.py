"""Rate of training the published network for SCAN and COGS (`--arch pairwise`), at its sizes.

Steps of `biml train` at the published batch (SCAN: 200 episodes, COGS: 40), by a process for each
core, are taken in alternation with steps of a plain implementation in one thread: all pairs of 25
(COGS: 10) episodes padded to the longest, through PyTorch's own layers, as in the published code.

Printed are episodes a second; since other programs may run beside it, also episodes in a second
that one core computes, and their ratio to the plain implementation; and the peak memory of all
processes together.

    python benchmarks/pairwise_speed.py [--rounds 3] [--precision bf16] [--data_dir FOLDER]
"""

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

from biml.networks.pairwise import PairwiseQuery, PairwiseTransformer
from biml.networks.seq2seq import sinusoidal_positions
from biml.training.config import PRECISIONS, TrainingConfig
from biml.training.distributed import init_process_group
from biml.training.hardware import physical_cores, pick_precision, prepare_cpu
from biml.training.setup import open_training_data
from biml.training.trainer import default_micro_batch_tokens
from train_rate import CPU, Job, Rate, peak_memory

CASES = {"addprim_jump_actions": (200, 25), "cogs_train_targeted": (40, 10)}
"""By episode type: episodes in the published batch, and in one of the plain implementation."""


def plain_logits(network: PairwiseTransformer, items: list[PairwiseQuery]) -> tuple[Tensor, Tensor]:
    """Logits and targets, computed on everything padded to the longest."""
    read, write = network.vocabulary.input.pad, network.vocabulary.output
    layers, width = network.transformer, network.config.emb_size

    def padded(rows: list[list[int]], pad: int) -> Tensor:
        tensors = [torch.tensor(row) for row in rows]
        return nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=pad)

    def embedded(embedding: nn.Embedding, tokens: Tensor) -> Tensor:
        x = embedding(tokens) + sinusoidal_positions(tokens.shape[1], width)
        return nn.functional.dropout(x, network.config.dropout)

    pairs = padded([pair for item in items for pair in item.pairs], read)
    encoded = layers.encoder(
        embedded(network.input_embedding, pairs), src_key_padding_mask=pairs == read
    )
    encoded = encoded.view(len(items), -1, *encoded.shape[1:])
    numbers = layers.example_embedding.weight[: encoded.shape[1], None]
    response = padded([[write.sos, *item.target] for item in items], write.pad)
    decoded = layers.decoder(
        embedded(network.output_embedding, response),
        (encoded + numbers).flatten(1, 2),
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(response.shape[1]),
        memory_key_padding_mask=(pairs == read).view(len(items), -1),
    )
    return network.out(decoded), padded([[*item.target, write.eos] for item in items], write.pad)


def measure_plain(config: TrainingConfig, data_dir: Path | None) -> Rate:
    """Take a step in this process."""
    prepare_cpu()
    torch.set_num_threads(1)
    data = open_training_data(config, data_dir)
    network = data.network
    assert isinstance(network, PairwiseTransformer)
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr)
    episodes = [data.dataset[i] for i in range(config.batch_size)]
    items = [item for i, episode in enumerate(episodes) for item in network.tokenize(i, episode)]
    began, computing = time.perf_counter(), time.process_time()
    logits, target = plain_logits(network, items)
    pad = network.vocabulary.output.pad
    nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=pad).backward()
    optimizer.step()
    computing, seconds = time.process_time() - computing, time.perf_counter() - began
    return Rate(seconds, len(episodes), 0.0, computing, peak_memory())


def measure_training(config: TrainingConfig, workers: int, data_dir: Path | None) -> Rate:
    job = Job(config, 1, data_dir)
    with init_process_group(job, CPU, workers) as group:
        return job.measure(group)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=[pick_precision(CPU)])
    parser.add_argument("--workers", type=int, default=physical_cores())
    parser.add_argument("--max-tokens", type=int, help="(as in training)")
    parser.add_argument("--types", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--data_dir", type=Path)
    args = parser.parse_args()
    rates: dict[tuple[str, str], list[Rate]] = {}
    busy = []
    # Memory is that of a process of its own.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fresh, max_tasks_per_child=1) as process:
        for _ in range(args.rounds):
            for name in args.types:
                published, plain = CASES[name]
                config = TrainingConfig(arch="pairwise", episode_type=name, batch_size=plain)
                busy.append(os.getloadavg()[0])
                rate = process.submit(measure_plain, config, args.data_dir).result()
                rates.setdefault((name, "plain"), []).append(rate)
                for precision in args.precision:
                    tokens = args.max_tokens or default_micro_batch_tokens(
                        "pairwise", CPU, precision
                    )
                    config = TrainingConfig(
                        arch="pairwise",
                        episode_type=name,
                        batch_size=published,
                        precision=precision,
                        micro_batch_tokens=tokens,
                    )
                    training = process.submit(measure_training, config, args.workers, args.data_dir)
                    rates.setdefault((name, precision), []).append(training.result())
    print(f"{physical_cores()} cores; load average {min(busy):.1f} to {max(busy):.1f}")
    for (name, case), found in rates.items():
        best = min(rate.step / rate.episodes for rate in found)
        computing = {
            key: min(rate.computing / rate.episodes for rate in rates[key])
            for key in ((name, "plain"), (name, case))
        }
        print(
            f"{name:20} {case:5} {1 / best:6.2f} episodes/s"
            f"  {1 / computing[name, case]:6.2f} a core"
            f"  {computing[name, 'plain'] / computing[name, case]:5.1f} x plain"
            f"  peak memory {max(rate.peak for rate in found) / 2**30:.2f} GB"
        )


if __name__ == "__main__":
    # The processes that are started find this module by its name, which `__main__` is not.
    from pairwise_speed import main as run

    run()
