"""The Python API: queries as plain pairs, episodes or tables; lazy imports."""

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import biml
from biml import parallel
from biml.networks import checkpoint, devices
from biml.networks.base import EpisodeNetwork
from biml.networks.checkpoint import load_model
from biml.networks.devices import exact_float, pick_device
from biml.training.hardware import pick_precision
from biml.vocabulary import UNDEFINED
from fakes.networks import small_network

STUDY = [("dax", "RED"), ("wif", "BLUE"), ("dax fep", "RED RED RED")]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> biml.Model:
    path = tmp_path / "out_models" / "toy.pt"
    checkpoint.save_checkpoint(path, checkpoint.checkpoint_of(small_network(), "algebraic"))
    monkeypatch.chdir(tmp_path)
    return biml.load("toy")


def test_importing_biml_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, biml; from biml import Grammar, Episode, generator; "
        "early = {'torch', 'pandas', 'rich', 'matplotlib'} & set(sys.modules); assert not early; "
        "assert biml.GOLD.interpret(['1', 'thrice']) == ('1', '1', '1')"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_can_be_imported() -> None:
    without_extra = set() if find_spec("huggingface_hub") else {"BimlModel"}
    for name in set(biml.__all__) - without_extra:
        assert getattr(biml, name) is not None
    assert dir(biml) == sorted(biml.__all__)
    assert biml.draw_episode is biml.sample_episode
    with pytest.raises(AttributeError, match="no attribute 'teapot'"):
        biml.teapot  # noqa: B018


def test_responses_have_the_form_of_the_query(model: biml.Model) -> None:
    text = model.respond(STUDY, "wif fep")
    assert isinstance(text, str)
    assert model.respond(STUDY, ("wif", "fep")) == tuple(text.split())
    assert model.respond(STUDY, ["wif fep", ("dax",)]) == [text, model.respond(STUDY, ("dax",))]
    assert model.respond([(w.split(), s.split()) for w, s in STUDY], "wif fep") == text
    assert model.respond_all(STUDY, ["wif fep", "dax"]) == [text, model.respond(STUDY, "dax")]
    assert len(model.respond(STUDY, "wif fep", max_length=1).split()) <= 1


def test_study_examples_matter_and_may_be_missing(model: biml.Model) -> None:
    assert isinstance(model.respond([], "dax"), str)
    assert model.log_prob([], "dax", "RED") != model.log_prob(STUDY, "dax", "RED")


def test_samples_depend_on_the_seed(model: biml.Model) -> None:
    answers = model.sample(STUDY, "wif fep", n=20, seed=3)
    assert len(answers) == 20
    assert len(set(answers)) > 1
    assert model.sample(STUDY, "wif fep", n=20, seed=3) == answers
    assert model.sample(STUDY, "wif fep", n=20, seed=4) != answers
    assert model.sample(STUDY, ("wif",), n=1)[0] == tuple(model.sample(STUDY, "wif")[0].split())


def test_probabilities_of_all_short_responses_add_up_to_at_most_one(model: biml.Model) -> None:
    symbols = model.vocabulary.output.symbols
    every = ["", *symbols, *(f"{a} {b}" for a in symbols for b in symbols)]
    total = sum(np.exp(model.log_prob(STUDY, "wif", response)) for response in every)
    assert 0.05 < total <= 1
    plain = model.log_prob(STUDY, "wif", "")
    assert model.log_prob(STUDY, "wif", "", p_lapse=0.3) == pytest.approx(
        np.log(0.7 * np.exp(plain) + 0.3 / 7)
    )


@pytest.mark.parametrize(
    ("study", "query", "message"),
    [
        (STUDY, "", "at least one word"),
        (["dax RED"], "dax", "not a study example"),
        ([("dax",)], "dax", "not a study example"),
        ([("dax", "RED", "BLUE")], "dax", "not a study example"),
        ([3], "dax", "not a study example"),
        ([(f"word{i}", "RED") for i in range(10)], "dax", "9 words"),
        ([("dax", f"symbol{i}") for i in range(7)], "dax", "6 symbols"),
        (STUDY, None, "a query"),
    ],
)
def test_an_invalid_query_is_rejected(model, study, query, message: str) -> None:
    for method in (model.respond, model.sample, model.probabilities):
        with pytest.raises(biml.UsageError, match=message):
            method(study, query)


def test_unknown_words_and_symbols_are_remapped_to_those_of_the_model(model: biml.Model) -> None:
    own = [("wug", "■"), ("blick", "▲"), ("wug twice", "■ ■ ■")]
    responses = model.sample(own, "blick twice", n=30)
    assert {symbol for text in responses for symbol in text.split()} <= {"■", "▲", UNDEFINED}
    assert model.sample(own, "blick twice", n=30) == responses
    assert np.exp(model.log_prob(own, "blick", "▲")) < 1
    other = replace(model, remapping_seed=1)
    assert other.log_prob(own, "blick", "▲") != model.log_prob(own, "blick", "▲")


def test_the_most_probable_responses_have_the_probabilities_of_log_prob(model) -> None:
    best = model.probabilities(STUDY, "wif", k=7)
    assert len(best) == 7
    assert [p for _, p in best] == sorted((p for _, p in best), reverse=True)
    for response, p in best:
        assert np.exp(model.log_prob(STUDY, "wif", response)) == pytest.approx(p)
    symbols = model.vocabulary.output.symbols
    every = ["", *symbols, *(f"{a} {b}" for a in symbols for b in symbols)]
    others = [np.exp(model.log_prob(STUDY, "wif", one)) for one in every if one not in dict(best)]
    assert max(others) <= best[-1][1]


def test_episodes_are_accepted_and_results_given_as_tables(model: biml.Model) -> None:
    episode = biml.sample_episode(seed=1)
    responses = model.respond(episode)
    assert responses == model.respond([episode])[0] == model.responder.respond([episode])[0]
    table = model.respond(episode, as_table=True)
    assert list(table) == ["query", "response", "target", "correct"]
    assert len(table) == len(episode.queries)
    sums = [scores.sum() for scores in model.log_prob([episode])[0]]
    assert model.log_prob(episode) == pytest.approx(sums)
    rows = model.probabilities(STUDY, ["wif", "dax"], k=2, as_table=True)
    assert rows["rank"].tolist() == [1, 2, 1, 2]


def test_study_examples_may_be_those_of_an_episode(model: biml.Model) -> None:
    episode = biml.sample_episode(seed=0)
    pairs = [(" ".join(e.input), " ".join(e.output)) for e in episode.study]
    query = " ".join(episode.queries[0].input)
    assert model.respond(episode.study, query) == model.respond(pairs, query)


def test_symbolic_models_have_the_same_methods() -> None:
    oracle = biml.symbolic(
        "oracle", grammar=biml.Grammar.parse("a -> A\nb -> B\nu1 g -> [u1] [u1]")
    )
    assert oracle.respond([("a", "A"), ("b", "B")], "b g") == "B B"
    assert oracle.probabilities([("a", "A")], "b g", k=3) == [("B B", 1.0)]
    assert biml.load("biases").respond([("dax", "RED")], "dax dax") == "RED RED"
    for name, options in (("teapot", {}), ("oracle", {"colour": 1})):
        with pytest.raises(biml.UsageError, match=name):
            biml.symbolic(name, **options)


def test_evaluation_of_models_and_names() -> None:
    result = biml.evaluate("oracle", "few_shot_gold", repeats=1, episodes=3)
    assert (result.novel.mean, result.study.mean, result.seen) == (100, 100, False)
    assert result.table()["measure"].tolist()[:2] == ["accuracy_study", "accuracy_novel"]
    with pytest.raises(biml.UsageError, match="episode_type"):
        biml.evaluate("oracle")


@pytest.mark.parametrize("device", ["mps", "cuda", "cuda:99", "teapot"])
def test_an_unavailable_device_is_rejected(
    model: biml.Model, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(biml.UsageError, match=f"^device.*'{device}'.*auto or cpu$"):
        biml.load("toy", device=device)
    with pytest.raises(biml.UsageError, match=f"device.*'{device}'"):
        load_model("toy", device)


def test_threads_of_inference_are_those_of_idle_cores(
    model: biml.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    encode = EpisodeNetwork.micro_batches

    def counted(self, *args):
        threads.append(torch.get_num_threads())
        return encode(self, *args)

    monkeypatch.setattr(type(model.responder.network), "micro_batches", counted)
    monkeypatch.setattr(devices, "available_cores", lambda: 3)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    before = torch.get_num_threads()
    queries = [f"dax {'fep ' * n}" for n in range(60)]
    try:
        torch.set_num_threads(4)
        for load, many in ((0.2, 3), (6.1, 2), (20.0, 1)):
            devices._idle_cores.cache_clear()
            monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0, 0))
            model.respond(STUDY, "wif fep")
            model.respond(STUDY, queries)
            assert (threads[0], threads[-1]) == (1, many)
            assert torch.get_num_threads() == 4
            threads.clear()
    finally:
        torch.set_num_threads(before)
        devices._idle_cores.cache_clear()


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_the_quota_of_a_container_limits_the_cores(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert parallel.available_cores() == cores


def test_devices_are_picked_among_those_present(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("mps" if torch.backends.mps.is_available() else "cpu").type != "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    names = ("auto", "cpu", "cuda", "cuda:1", "mps", torch.device("cuda", 1))
    picked = [str(pick_device(name)) for name in names]
    assert picked == ["cuda", "cpu", "cuda", "cuda:1", "mps", "cuda:1"]
    with pytest.raises(biml.UsageError, match=r"auto or cpu or cuda:0 or cuda:1 or mps$"):
        pick_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert str(pick_device("auto")) == "cpu"
    assert exact_float(torch.device("mps")) == torch.float32
    assert pick_precision(torch.device("mps")) == "fp32"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": -1}, "n is -1"),
        ({"n": 1.5}, "n is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": biml.generator(0)}, "seed is .*a whole number"),
        ({"max_length": 0}, "max_length is 0"),
        ({"p_lapse": 2}, "lapse rate"),
    ],
)
def test_options_of_samples_are_checked(model: biml.Model, options, message: str) -> None:
    with pytest.raises(biml.UsageError, match=message):
        model.sample(STUDY, "dax", **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: biml.evaluate("oracle", "few_shot_gold", bad=1), r"evaluate: .*'bad'.* repeats,"),
        (lambda: biml.evaluate(), r"evaluate: .*'model'"),
        (lambda: biml.load("oracle", bad=1), r"load: .*'bad'.* name_or_path, device"),
        (lambda: biml.symbolic("oracle", bad=1), r"'oracle': .*'bad'.* grammar"),
        (lambda: biml.train("net.pt", bad=1), r"training option 'bad'.* batch_size"),
        (lambda: biml.train(bad=1), r"train: .*fn_out_model"),
        (lambda: biml.reproduce(bad=1), r"'bad'.* quick"),
        (lambda: biml.reproduce(workers=0), r"^workers is 0"),
        (lambda: biml.reproduce(seed=-1), r"^seed is -1"),
        (lambda: biml.evaluate("oracle", "few_shot_gold", seed=-1), r"^seed is -1"),
        (lambda: biml.evaluate("oracle", "few_shot_gold", data_dir="gone"), r"^data_dir: gone"),
        (lambda: biml.evaluate("oracle", "few_shot_golf"), r"\(episode_type\); .* few_shot_gold"),
    ],
)
def test_errors_name_arguments_as_in_python(call, message: str) -> None:
    with pytest.raises(biml.UsageError, match=message) as caught:
        call()
    assert "--" not in str(caught.value)


def test_reproduce_is_a_function_and_a_package() -> None:
    import biml.reproduce.models

    assert callable(biml.reproduce)
    with pytest.raises(biml.UsageError, match="teapot"):
        biml.reproduce("teapot")


def test_error_for_a_missing_model_lists_available_ones(model: biml.Model, tmp_path: Path) -> None:
    with pytest.raises(biml.UsageError, match=r"no model 'other'.*there is toy\.pt.*biml train"):
        biml.load("other")
    assert biml.load(tmp_path / "out_models" / "toy.pt").name == "toy.pt"


def test_the_repr_of_a_model_describes_it(model: biml.Model) -> None:
    assert model.episode_type == "algebraic"
    assert "toy.pt" in repr(model)
    assert "gazzer" in repr(model)


@pytest.mark.published_data
def test_a_released_model_responds(shared: Path) -> None:
    model = biml.load(shared / "legacy" / "net-legacy-vanilla.pt")
    assert model.respond([], "2 surround 3") == "2 3 2"


def test_a_seed_in_the_place_of_a_meta_grammar_is_rejected() -> None:
    with pytest.raises(biml.UsageError, match="meta is 3"):
        biml.sample_episode(3)
