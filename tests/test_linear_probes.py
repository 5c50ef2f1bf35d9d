"""Linear probes of the meaning of a word, on held-out episodes."""

import sys

import pytest

import biml
from biml.analysis.linear_probes import probe_meanings
from biml.errors import BimlError, UsageError
from biml.evaluation.api import Model
from biml.evaluation.network import NetworkResponder
from fakes.networks import small_network

SMALL = Model(NetworkResponder(small_network()), "", "small")


def test_meanings_are_found_in_a_trained_network_and_not_where_they_cannot_be() -> None:
    pytest.importorskip("sklearn", reason="the extra probes is not installed")
    model = biml.load("net-BIML-top", device="cpu")
    found = probe_meanings(model, "lexicon.[04].output", n_training=24, n_held_out=12)
    assert found["activation"].tolist() == ["lexicon.0.output", "lexicon.4.output"]
    assert (found["accuracy"] >= 80).all()
    assert (found["low"] <= found["accuracy"]).all()
    # The embedding of a word in the published network is the same whatever it means.
    (random,) = probe_meanings(SMALL, "encoder.embedding", n_training=24, n_held_out=12)["accuracy"]
    assert random < 60
    assert found["chance"].between(0, 50).all()


def test_what_cannot_be_probed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, activations, named in (
        ("net-BIML-top", "decoder.9.output", "decoder"),
        ("net-BIML-top", "decoder.1.attention", "decoder"),
        ("net-SCAN-length", "*.output", "colours"),
        ("biases", "*.output", "network"),
    ):
        monkeypatch.setattr("biml.analysis.linear_probes.check_extra", lambda *_: None)
        with pytest.raises(UsageError, match=named):
            probe_meanings(biml.load(name, device="cpu"), activations)
    for wrong in (0, -1, 10**9, 1.5, None):
        with pytest.raises(UsageError, match="n_training is"):
            probe_meanings(SMALL, "encoder.embedding", n_training=wrong)  # type: ignore[arg-type]


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(BimlError, match="probes"):
        probe_meanings(SMALL)
