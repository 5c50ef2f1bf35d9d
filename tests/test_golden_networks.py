"""Weights, logits, gradients and responses of networks are those of biml 0.1.0."""

import numpy as np
import pytest

from biml.episodes.registry import EPISODE_TYPES
from biml.paths import PRETRAINED
from fakes import golden_access as access
from fakes.golden_files import check_arrays, known

CASES = [(arch, size) for arch, sizes in access.SIZES.items() for size in sizes]
CLOSE = 1e-5
IN_FULL = ("net-BIML-top", "net-basic-seq2seq-top")


def is_of_people(name: str) -> bool:
    return not EPISODE_TYPES[PRETRAINED[name]].is_corpus


def close(found: object, golden: object) -> bool:
    return found == pytest.approx(golden, rel=1e-4, abs=CLOSE)


@pytest.mark.parametrize(("arch", "size"), CASES)
def test_weights_of_a_new_network(arch: str, size: str) -> None:
    weights = access.weights(access.network(arch, size))
    shapes = {name: list(weight.shape) for name, weight in weights.items()}
    assert shapes == known("networks.json.gz", f"{arch} {size} shapes", shapes)
    sums = {name: float(weight.double().abs().sum()) for name, weight in weights.items()}
    assert close(sums, known("networks.json.gz", f"{arch} {size} sums", sums))


@pytest.mark.parametrize(("arch", "size"), CASES)
def test_logits(arch: str, size: str) -> None:
    network = access.network(arch, size)
    episodes = access.training("algebraic+biases", None, 0, range(2 if size == "small" else 1))
    forced = access.logits(network, episodes)
    check_arrays(f"networks/{arch}-{size}-logits.npz", {"logits": forced})
    step_by_step = access.logits_step_by_step(network, episodes)
    np.testing.assert_allclose(step_by_step, forced, rtol=1e-4, atol=CLOSE)


@pytest.mark.parametrize(("arch", "size"), CASES)
def test_loss_and_gradients_of_a_training_step(arch: str, size: str) -> None:
    network = access.network(arch, size)
    episodes = access.curriculum("algebraic+biases", None, 0, range(100, 102))
    logits, auxiliary, gradients = access.training_pass(network, episodes)
    found = {"auxiliary": auxiliary, "gradients": gradients}
    check_arrays(f"networks/{arch}-{size}-training.npz", {"logits": logits[::8]})
    golden = known("networks.json.gz", f"{arch} {size} training", found)
    assert close(auxiliary, golden["auxiliary"])
    assert gradients == pytest.approx(golden["gradients"], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in access.shipped() if is_of_people(name)])
def test_pretrained_model_weights_and_responses(name: str) -> None:
    path = access.shipped()[name]
    card = access.card(path)
    metrics = card["card"].get("metrics") or card["card"]["figures"]  # the key of earlier cards
    for of_task in metrics.values():
        of_task.pop("cross_validated", None)  # added to the cards later
    golden = known("models.json.gz", f"{name} card", card)
    facts = golden.pop("card")
    assert {key: card[key] for key in golden} == golden
    assert {key: card["card"][key] for key in facts} == facts
    network = access.loaded(path)
    is_basic = name.startswith("net-basic")
    gold = access.gold_without_study() if is_basic else access.evaluation("few_shot_gold", None, 0)
    episodes = gold[:3]
    answers = access.responder(network)
    found = {
        "shapes": {key: list(weight.shape) for key, weight in access.weights(network).items()},
        "answers": [[" ".join(a) for a in of_one] for of_one in answers.respond(episodes)],
        "samples": [
            [" ".join(a) for drawn in of_one for a in drawn]
            for of_one in answers.sample(episodes, seed=4, n=2)
        ],
    }
    assert found == known("models.json.gz", f"{name} answers", found)
    scores = [float(np.concatenate(of_one).sum()) for of_one in answers.log_prob(episodes)]
    golden = known("models.json.gz", f"{name} scores", scores)
    assert scores == pytest.approx(golden, rel=1e-4, abs=1e-4)
    logits = access.logits(network, episodes[:1])
    shown = slice(None) if name in IN_FULL else slice(0, 10)
    check_arrays(f"models/{name}-logits.npz", {"logits": logits[shown]}, atol=1e-4)
