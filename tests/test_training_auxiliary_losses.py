"""Auxiliary losses on inner layers: source positions and word meanings."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from biml.episodes.datasets import with_grammar_labels
from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import PUBLISHED_VOCAB
from biml.episodes.registry import episode_type
from biml.episodes.transforms import add_grammar_labels
from biml.errors import UsageError
from biml.grammar import GOLD, Grammar, Rule
from biml.networks.auxiliary_loss import (
    MEANING_WEIGHT,
    AuxiliaryLoss,
    AuxLabels,
    n_meaning_logits,
    rule_label,
)
from biml.networks.staged import StagedNetwork
from biml.networks.staged_layers import RMSNormLinear, StagedConfig
from biml.paths import DataFolders
from biml.training.config import TrainingConfig
from biml.training.setup import open_training_data

SMALL = StagedConfig(
    nlayers_encoder=1, nlayers_query=1, nlayers_decoder=3, nheads=2, emb_size=16, ff_mult=2
)


def origins(grammar: Grammar, words: str) -> tuple[int, ...] | None:
    (found,) = grammar.interpreter.source_positions([words.split()])
    return found


def test_source_positions_distinguish_equal_words() -> None:
    assert origins(GOLD, "DAX surround 3 after 1 thrice") == (4, 4, 4, 0, 2, 0)
    assert origins(GOLD, "DAX thrice after DAX") == (3, 0, 0, 0)


def test_a_symbol_without_a_primitive_has_no_source_position() -> None:
    assert origins(GOLD, "1 unknown") is None
    assert origins(Grammar.parse("dax -> RED\nu1 fep -> [u1] BLUE"), "dax fep") is None


def test_source_positions_of_sampled_episodes_reproduce_their_targets() -> None:
    source = with_grammar_labels(episode_type("algebraic").open_training(DataFolders(), seed=3))
    for index in range(30):
        episode = source[index]
        labels = episode.grammar_labels
        assert episode.grammar is not None
        assert labels is not None
        examples = (*episode.study, *episode.queries)
        for example, places in zip(examples, (*labels.study, *labels.queries), strict=True):
            assert places is not None
            found = [episode.grammar.interpret([example.input[position]]) for position in places]
            assert [symbol for (symbol,) in found] == list(example.output)


def test_targets_changed_by_biases_or_noise_have_no_grammar_labels() -> None:
    source = episode_type("algebraic+biases").open_training(DataFolders(), seed=3)
    unknown = known = 0
    for index in range(30):
        episode = add_grammar_labels(source[index])
        assert episode.grammar is not None
        assert episode.grammar_labels is not None
        for query, places in zip(episode.queries, episode.grammar_labels.queries, strict=True):
            right = query.output == episode.grammar.interpret(query.input)
            assert (places is not None) == right
            known, unknown = known + right, unknown + (not right)
    assert known > unknown > 10


GRAMMAR = Grammar.parse(
    """dax -> RED
wif -> BLUE
u1 fep x1 -> [x1] [u1] [x1]
u1 x1 -> [u1] [x1]"""
)
EPISODE = add_grammar_labels(
    Episode(
        (Example(("dax",), ("RED",)), Example(("dax", "fep", "wif"), ("BLUE", "RED", "BLUE"))),
        (Example(("wif", "fep", "dax"), ("RED", "BLUE", "RED")), Example(("wif",), ("PINK",))),
        grammar=GRAMMAR,
    )
)


def test_auxiliary_labels_align_symbols_with_words_and_words_with_meanings() -> None:
    labels = StagedNetwork(SMALL, PUBLISHED_VOCAB).collate([EPISODE]).aux_labels
    assert labels is not None
    # SOS dax IO RED SOS dax fep wif IO BLUE RED BLUE SOS
    assert labels.study_alignment.t().tolist() == [[0, 3, 1], [0, 9, 7], [0, 10, 5], [0, 11, 7]]
    # wif fep dax | IO RED BLUE RED, each predicted by the token before it, and EOS by the last,
    # which stands for IO; the second query is not what the grammar says.
    assert labels.answer_alignment.t().tolist() == [[0, 0, 2], [0, 1, 0], [0, 2, 2], [0, 3, 3]]
    red, blue = (PUBLISHED_VOCAB.output.index[symbol] for symbol in ("RED", "BLUE"))
    # dax, fep, wif, as the study examples first show them
    assert labels.meanings.tolist() == [
        [red, *[-1] * 10],
        [-1, 2, 1, 2, 0, 0, 0, 0, 0, 0, 1],
        [blue, *[-1] * 10],
    ]


def test_auxiliary_labels_of_an_episode_do_not_depend_on_its_batch() -> None:
    network = StagedNetwork(SMALL, PUBLISHED_VOCAB)
    source = with_grammar_labels(episode_type("algebraic").open_training(DataFolders(), seed=3))
    bare = Episode(EPISODE.study, EPISODE.queries)
    first = source[0]
    alone, batch = (network.collate(e) for e in ([EPISODE], [first, bare, EPISODE]))
    assert alone.aux_labels is not None
    assert batch.aux_labels is not None
    words = len(alone.aux_labels.meanings)
    assert len(batch.aux_labels.meanings) == len(batch.lexicon_index.uses.lengths) - 1
    assert torch.equal(batch.aux_labels.meanings[-words:], alone.aux_labels.meanings)
    assert (batch.aux_labels.meanings[-2 * words : -words] == -1).all()
    # EOS stands for IO, which comes after the words of the longest query of the batch.
    row, column, sought = batch.aux_labels.answer_alignment[:, -4:]
    assert (row == len(first.queries) + len(bare.queries)).all()
    assert column.tolist() == [0, 1, 2, 3]
    assert sought.tolist() == [2, 0, 2, batch.word_rows.unpack.shape[1]]
    assert batch.word_rows.unpack.shape[1] > alone.word_rows.unpack.shape[1]


def test_rules_beyond_the_label_size_are_ignored() -> None:
    assert set(rule_label(None, PUBLISHED_VOCAB.output)) == {-1}
    for rule in ("u1 fep -> [u1] BLUE", "u1 fep u2 lug u3 -> [u1]", "fep x1 -> " + "[x1] " * 9):
        assert set(rule_label(Rule.parse(rule), PUBLISHED_VOCAB.output)) == {-1}


def test_the_attention_loss_is_the_cross_entropy_of_the_attended_positions() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    hidden = torch.zeros(2, 3, 3, dtype=torch.bool)
    hidden[1, 2, 0] = True
    looks = torch.tensor([[0, 1], [1, 2], [0, 1]])
    first = F.log_softmax(q[0, 1] @ k[0].T / 2, -1)[0]
    second = F.log_softmax(q[1, 2] @ k[1, 1:].T / 2, -1)[0]
    auxiliary = AuxiliaryLoss(some_labels())
    auxiliary.add_attention_loss(q, k, hidden, looks)
    torch.testing.assert_close(auxiliary.total, -first - second)


def some_labels() -> AuxLabels:
    labels = StagedNetwork(SMALL, PUBLISHED_VOCAB).collate([EPISODE]).aux_labels
    assert labels is not None
    return labels


def test_the_meaning_loss_is_the_sum_of_its_cross_entropies() -> None:
    torch.manual_seed(0)
    symbols = len(PUBLISHED_VOCAB.output)
    read_out = torch.randn(n_meaning_logits(symbols), 4)
    x = torch.randn(2, 4)
    labels = some_labels()
    auxiliary = AuxiliaryLoss(replace(labels, meanings=labels.meanings[:2]))
    norm = RMSNormLinear(4)
    norm.weight.data = torch.tensor([1.0, 2.0, 0.5, 1.0])
    auxiliary.add_meaning_loss(x, norm, read_out)
    logits = F.normalize(x, eps=0) * 2 * norm.weight @ read_out.T
    expected = -F.log_softmax(logits[0, :symbols], -1)[PUBLISHED_VOCAB.output.index["RED"]]
    for number, item in enumerate((2, 1, 2, 0, 0, 0, 0, 0)):
        classes = logits[1, symbols + 3 * number :][:3]
        expected = expected - F.log_softmax(classes, -1)[item] / 4
    for number, kind in enumerate((0, 1)):
        classes = logits[1, symbols + 24 + 2 * number :][:2]
        expected = expected - F.log_softmax(classes, -1)[kind] / 4
    torch.testing.assert_close(auxiliary.total, MEANING_WEIGHT * expected)


def test_training_reduces_the_auxiliary_loss() -> None:
    source = with_grammar_labels(episode_type("algebraic").open_training(DataFolders(), seed=3))
    network = StagedNetwork(SMALL, PUBLISHED_VOCAB, seed=1).train()
    batch = network.collate([source[index] for index in range(4)])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        network(batch)
        assert network.auxiliary_loss is not None
        optimizer.zero_grad()
        network.auxiliary_loss.backward()
        optimizer.step()
        losses.append(float(network.auxiliary_loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_episodes_without_grammar_have_no_auxiliary_loss() -> None:
    network = StagedNetwork(SMALL, PUBLISHED_VOCAB, seed=1).train()
    network(network.collate([Episode(EPISODE.study, EPISODE.queries)]))
    assert network.auxiliary_loss is None
    network(network.collate([EPISODE]))
    assert network.auxiliary_loss is not None


def test_evaluation_does_not_use_auxiliary_labels() -> None:
    network = StagedNetwork(SMALL, PUBLISHED_VOCAB, seed=1).eval()
    labelled = network(network.collate([EPISODE]))
    assert network.auxiliary_loss is None
    bare = network(network.collate([Episode(EPISODE.study, EPISODE.queries)]))
    assert torch.equal(labelled, bare)


def test_an_auxiliary_loss_is_rejected_for_networks_without_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--aux_loss_weight"):
        open_training_data(TrainingConfig(episode_type="algebraic", aux_loss_weight=0.3), tmp_path)


@pytest.mark.parametrize(
    ("name", "has_labels"),
    [("algebraic_noise", True), ("retrieve", False), ("few_shot_vanilla", False)],
)
def test_only_types_with_algebraic_targets_have_grammar_labels(name: str, has_labels: bool) -> None:
    data = open_training_data(
        TrainingConfig(episode_type=name, arch="staged", aux_loss_weight=0.3), None
    )
    assert (data.dataset[0].grammar_labels is not None) == has_labels
