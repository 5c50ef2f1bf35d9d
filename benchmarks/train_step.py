"""Rate of training the paper's network: forward, backward and AdamW on batches of 25 episodes.

One process with one thread, as the default training has one on each core. Ours is compared, in
alternation, with the same weights run through `nn.Transformer` on the whole batch padded at once.

    python benchmarks/train_step.py [--episodes 25] [--rounds 3] [--max-tokens 8192] [--plain]
"""

import argparse
import os
import resource
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

from biml.episodes.episode import Episode
from biml.episodes.sampling import sample_episode
from biml.episodes.transforms import add_study_queries
from biml.grammar import MetaGrammar
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.networks.seq2seq import (
    Seq2SeqBatch,
    Seq2SeqConfig,
    Seq2SeqTransformer,
    sinusoidal_positions,
)
from biml.rng import generator
from biml.training.hardware import tune_malloc
from biml.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_words_and_symbols(WORDS, COLOURS)


def plain(network: Seq2SeqTransformer, batch: Seq2SeqBatch) -> Tensor:
    """The forward pass by nn.Transformer itself."""
    padding = batch.source == VOCABULARY.input.pad
    x, y = network.input_embedding(batch.source), network.output_embedding(batch.decoder_input)
    x, y = (
        nn.functional.dropout(z + sinusoidal_positions(*z.shape[1:]), network.config.dropout)
        for z in (x, y)
    )
    mask = nn.Transformer.generate_square_subsequent_mask(y.shape[1])
    decoded = network.transformer(
        x,
        y,
        tgt_mask=mask,
        tgt_is_causal=True,
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
    )
    return network.out(decoded).float()


def ours(network: Seq2SeqTransformer, batch: Seq2SeqBatch) -> Tensor:
    return network(batch, torch.Generator().manual_seed(0))


def step(
    network: Seq2SeqTransformer,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Seq2SeqBatch],
    forward: Callable[[Seq2SeqTransformer, Seq2SeqBatch], Tensor],
    bf16: bool,
) -> None:
    pad = VOCABULARY.output.pad
    tokens = sum(int((batch.target != pad).sum()) for batch in batches)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for batch in batches:
            logits = forward(network, batch).flatten(0, 1)
            loss = nn.functional.cross_entropy(
                logits, batch.target.flatten(), ignore_index=pad, reduction="sum"
            )
            (loss / tokens).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, nargs="+", default=[8192])
    parser.add_argument("--plain", action="store_true", help="compare with nn.Transformer (slow)")
    args = parser.parse_args()

    torch.set_num_threads(1)
    tune_malloc()
    network = Seq2SeqTransformer(Seq2SeqConfig(), VOCABULARY).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, betas=(0.9, 0.95))
    episodes: list[Episode] = [
        add_study_queries(sample_episode(MetaGrammar(), generator(0, "benchmark", i)))
        for i in range(args.episodes)
    ]
    began = time.perf_counter()
    cuts = {f"chunks of {n}": network.micro_batches(episodes, n) for n in args.max_tokens}
    assembly = (time.perf_counter() - began) / len(cuts)
    cases = [(name, batches, ours) for name, batches in cuts.items()]
    if args.plain:
        cases.append(("nn.Transformer", [network.collate(episodes)], plain))

    seconds: dict[tuple[str, bool], float] = {}
    for _ in range(args.rounds):
        for name, batches, forward in cases:
            for bf16 in (False, True):
                # Time of this thread: what other processes take meanwhile does not count.
                began = time.thread_time()
                step(network, optimizer, batches, forward, bf16)
                taken = time.thread_time() - began
                seconds[name, bf16] = min(taken, seconds.get((name, bf16), taken))
            if forward is ours:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    for (name, bf16), taken in seconds.items():
        line = f"{name:16} {'bf16' if bf16 else 'fp32'} {args.episodes / taken:6.2f} episodes/s"
        if args.plain:
            line += f" {seconds['nn.Transformer', bf16] / taken:5.1f} x nn.Transformer"
        print(line)
    print(f"assembly of a batch: {100 * assembly / min(seconds.values()):.1f}% of the fastest step")
    print(f"peak memory with chunks: {peak:.2f} GB" if not args.plain else "")


if __name__ == "__main__":
    main()
