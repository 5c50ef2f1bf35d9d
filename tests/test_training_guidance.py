"""Guidance: attention is told which word of a query each symbol of its answer stands for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from biml.episodes.episode import Episode, Example
from biml.episodes.locate import DataFolders
from biml.episodes.origins import trace_origins, traced
from biml.episodes.types import PUBLISHED, episode_type
from biml.errors import UsageError
from biml.grammar import GOLD, Grammar
from biml.networks.fast import FastConfig, FastNetwork
from biml.networks.fast_layers import guidance
from biml.training.config import TrainingConfig
from biml.training.material import open_material

SMALL = FastConfig(nlayers_encoder=1, nlayers_decoder=3, nheads=2, emb_size=16, ff_mult=2)


def origins(grammar: Grammar, words: str) -> tuple[int, ...] | None:
    (found,) = grammar.interpreter.origins([words.split()])
    return found


def test_origins_tell_equal_words_apart() -> None:
    assert origins(GOLD, "DAX surround 3 after 1 thrice") == (4, 4, 4, 0, 2, 0)
    assert origins(GOLD, "DAX thrice after DAX") == (3, 0, 0, 0)


def test_a_symbol_that_stands_for_no_primitive_has_no_origin() -> None:
    assert origins(GOLD, "1 unknown") is None
    assert origins(Grammar.parse("dax -> RED\nu1 fep -> [u1] BLUE"), "dax fep") is None


def test_origins_of_drawn_episodes_give_their_targets_back() -> None:
    source = traced(episode_type("algebraic").open_training(DataFolders(), seed=3))
    for index in range(30):
        episode = source.episode(index)
        assert episode.grammar is not None
        assert episode.origins is not None
        for query, places in zip(episode.queries, episode.origins, strict=True):
            assert places is not None
            found = [episode.grammar.interpret([query.words[place]]) for place in places]
            assert [symbol for (symbol,) in found] == list(query.symbols)


def test_targets_that_biases_or_noise_changed_are_not_traced() -> None:
    source = episode_type("algebraic+biases").open_training(DataFolders(), seed=3)
    unknown = known = 0
    for index in range(30):
        episode = trace_origins(source.episode(index))
        assert episode.grammar is not None
        assert episode.origins is not None
        for query, places in zip(episode.queries, episode.origins, strict=True):
            right = query.symbols == episode.grammar.interpret(query.words)
            assert (places is not None) == right
            known, unknown = known + right, unknown + (not right)
    assert known > unknown > 10


def test_guidance_is_the_cross_entropy_of_a_heads_attention() -> None:
    q, k = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    hidden = torch.zeros(2, 3, 3, dtype=torch.bool)
    hidden[1, 2, 0] = True
    guides = torch.tensor([[0, 1], [1, 2], [0, 1]])
    first = F.log_softmax(q[0, 1] @ k[0].T / 2, -1)[0]
    second = F.log_softmax(q[1, 2] @ k[1, 1:].T / 2, -1)[0]
    found = guidance(q, k, hidden, guides)
    assert found is not None
    torch.testing.assert_close(found, -first - second)


def test_a_guided_network_learns_where_to_look() -> None:
    source = traced(episode_type("algebraic").open_training(DataFolders(), seed=3))
    network = FastNetwork(SMALL, PUBLISHED, seed=1).train()
    batch = network.collate([source.episode(index) for index in range(4)])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        network(batch)
        assert network.guidance is not None
        optimizer.zero_grad()
        network.guidance.backward()
        optimizer.step()
        losses.append(float(network.guidance.detach()) / batch.guides.shape[1])
    assert losses[-1] < 0.8 * losses[0]


def test_episodes_without_origins_leave_the_network_unguided() -> None:
    network = FastNetwork(SMALL, PUBLISHED, seed=1).train()
    study = (Example(("dax",), ("RED",)),)
    asked = Episode(study, study)
    network(network.collate([asked]))
    assert network.guidance is None
    network(network.collate([replace(asked, origins=((0,),))]))
    assert network.guidance is not None


def test_guidance_is_refused_where_a_network_has_no_use_for_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--guide"):
        open_material(TrainingConfig(episode_type="algebraic", guide=0.3), tmp_path)
