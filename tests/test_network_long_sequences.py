"""Both architectures train on and decode 500 tokens with a vocabulary of 750 words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from biml.episodes.episode import Episode, Example
from biml.episodes.registry import EPISODE_TYPES, episode_type
from biml.networks import checkpoint
from biml.networks.registry import build_network
from biml.rng import generator
from biml.training.config import TrainingConfig
from biml.training.setup import network_config
from biml.vocabulary import Vocabulary

WORDS = [f"word{n}" for n in range(750)]
SYMBOLS = [f"SYMBOL{n}" for n in range(50)]
VOCABULARY = Vocabulary.from_words_and_symbols(WORDS, SYMBOLS)
LENGTH = 500
SIZES = {"nlayers_encoder": 1, "nlayers_decoder": 1, "nheads": 2, "emb_size": 16, "ff_mult": 1}
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("paper", SIZES),
    ("staged", SIZES),
    ("staged", SIZES | {"max_positions": LENGTH, "rotary_base": 1000.0}),
]


def long_episode() -> Episode:
    rng = generator(0, "long")

    def example(n_words: int, n_symbols: int) -> Example:
        return Example(
            tuple(rng.choices(WORDS, k=n_words)), tuple(rng.choices(SYMBOLS, k=n_symbols))
        )

    study = (example(LENGTH, LENGTH), example(3, 20))
    return Episode(study, (example(LENGTH, 30), example(2, LENGTH)))


@pytest.mark.parametrize(("arch", "config"), NETWORKS)
def test_long_sequences_are_trained_on_and_decoded(arch: str, config: dict[str, Any]) -> None:
    network = build_network(arch, config, VOCABULARY)
    network.train()
    batch = network.collate([long_episode()])
    assert batch.target.shape == (2, LENGTH + 1)
    logits = network(batch)
    loss = F.cross_entropy(logits.transpose(1, 2), batch.target, ignore_index=VOCABULARY.output.pad)
    loss.backward()
    for name, weight in network.named_parameters():
        if weight.grad is not None:
            assert weight.grad.isfinite().all(), name
    network.eval()
    with torch.no_grad():
        forced, state = network(batch), network.encode(batch)
        steps = [network.decode_step(state, tokens) for tokens in batch.decoder_input.unbind(1)]
    real = batch.target != VOCABULARY.output.pad
    torch.testing.assert_close(torch.stack(steps, 1)[real], forced[real], atol=1e-3, rtol=1e-3)


def test_positions_beyond_the_configured_ones_share_the_last() -> None:
    network = build_network("staged", SIZES | {"max_positions": 3}, VOCABULARY)
    query = Example(("word1",) * 6, ("SYMBOL1",) * 6)
    batch: Any = network.collate([Episode((), (query,))])
    assert batch.query_positions.tolist() == [0, 1, 2, 2, 2, 2, 3, 4, 5, 5, 5, 5, 5]


def test_the_number_of_positions_is_kept_in_a_checkpoint(tmp_path: Path) -> None:
    network = build_network("staged", SIZES | {"max_positions": 300}, VOCABULARY)
    checkpoint.save_checkpoint(tmp_path / "n.pt", checkpoint.checkpoint_of(network, "algebraic"))
    loaded = checkpoint.load_model(tmp_path / "n.pt").network
    assert loaded.config == network.config
    assert loaded.get_parameter("position_embedding").shape == (602, 16)


@pytest.mark.parametrize(
    ("longest_input", "longest_output", "positions"), [(8, 10, 20), (30, 10, 30), (8, 48, 49)]
)
def test_training_makes_as_many_positions_as_the_episode_type_needs(
    longest_input: int, longest_output: int, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(episode_type("algebraic"), max_input=longest_input, max_output=longest_output)
    monkeypatch.setitem(EPISODE_TYPES, "algebraic", row)
    staged = network_config(TrainingConfig(arch="staged", episode_type="algebraic"))
    assert staged["max_positions"] == positions
    assert "max_positions" not in network_config(TrainingConfig(arch="paper"))
