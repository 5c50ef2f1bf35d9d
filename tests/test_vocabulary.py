"""Vocabularies: the published order of tokens, and reserved tokens beside the words."""

import pickle

import pytest

from biml.episodes.episode import Episode, Example
from biml.errors import UsageError
from biml.evaluation.network import NetworkResponder
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.networks.registry import ARCHITECTURES, build_network
from biml.vocabulary import EOS, IO, PAD, SOS, TokenVocab, Vocabulary

PUBLISHED = Vocabulary.from_words_and_symbols(WORDS, COLOURS)

RESERVED_NAMES = Vocabulary.from_words_and_symbols(
    ("IO", "SOS", "jump", "EOS"), ("JUMP", "EOS", "PAD", "IO")
)


def test_the_published_vocabulary_has_the_order_of_the_released_checkpoints() -> None:
    assert PUBLISHED.input.names[:6] == ["BLUE", "GREEN", "IO", "PINK", "PURPLE", "RED"]
    assert PUBLISHED.output.names == list(COLOURS)
    assert [PUBLISHED.input.index[token] for token in (IO, SOS, EOS, PAD)] == [2, 16, 17, 18]
    assert Vocabulary.from_names(PUBLISHED.input.names, PUBLISHED.output.names) == PUBLISHED


def test_words_named_like_reserved_tokens_have_ids_of_their_own() -> None:
    ids = RESERVED_NAMES.input.encode(["IO", IO, "SOS", SOS, "EOS", EOS, "PAD", PAD])
    assert len(set(ids)) == 8
    names = RESERVED_NAMES.input.names, RESERVED_NAMES.output.names
    assert Vocabulary.from_names(*names) == RESERVED_NAMES
    output = RESERVED_NAMES.output
    assert output.decode([*output.encode(["EOS", "PAD", PAD, "IO"]), output.eos, 0]) == (
        *("EOS", "PAD", "<PAD>", "IO"),
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_networks_read_and_produce_words_named_like_reserved_tokens(name: str) -> None:
    network = build_network(name, {"emb_size": 16, "dropout": 0.0}, RESERVED_NAMES).eval()
    study = (Example(("jump", "EOS"), ("JUMP", "EOS")), Example(("IO",), ("IO", "PAD")))
    episode = Episode(study, (Example(("EOS", "IO", "SOS"), ("EOS", "PAD", "IO")),))
    ((log_probs,),) = NetworkResponder(network).log_prob([episode])
    assert log_probs.shape == (4,)


def test_reserved_tokens_stay_the_same_objects_in_another_process() -> None:
    again = pickle.loads(pickle.dumps(PUBLISHED))
    assert again == PUBLISHED
    assert again.input.tokens[2] is IO


def test_a_larger_vocabulary_covers_a_smaller_one() -> None:
    smaller = Vocabulary.from_words_and_symbols(WORDS[:4], COLOURS[:3])
    assert not PUBLISHED.missing(smaller)
    assert smaller.missing(PUBLISHED)
    PUBLISHED.require(smaller, "net.pt")
    with pytest.raises(UsageError, match=r"net\.pt: .* gazzer"):
        smaller.require(PUBLISHED, "net.pt")


@pytest.mark.parametrize("symbols", [("RED", "RED"), ("EOS", "PAD", "EOS")])
def test_a_repeated_symbol_is_rejected(symbols: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="twice"):
        TokenVocab(symbols)
