"""Calls of the Python API with arguments of any kind end in errors that name the argument."""

import random
from contextlib import suppress
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import biml
from biml.arguments import check_type
from biml.episodes.episode_type import gold_episode
from biml.evaluation.readings import find_readings
from biml.evaluation.strings import ask, read_strings
from biml.networks.hooks import ablate, patch
from biml.reproduce import run
from biml.training import trainer

EPISODE = biml.sample_episode(seed=1)
GOLD_EPISODE = gold_episode()
NUMBERS = [None, True, -1, 0, 1, 2, 1.5, float("nan"), float("inf"), 2**70, -(2**70)]
TEXTS = ["", "dax", "dax fep", "n" * 5000, "a\0b", "dax -> RED", b"dax", Path("nowhere")]
NAMES = ["oracle", "oracle-slips", "biases", "few_shot_gold", "few-shot", "algebraic"]
LISTS = [[], [1], ["dax"], ("dax",), {}, {"a": 1}, [None], [("dax", "RED")], [("dax", 1)]]
OBJECTS = [object(), object, print, random.Random(1), biml.MetaGrammar(), biml.GOLD]
EPISODES = [EPISODE, [EPISODE], biml.Example(("dax",), ("RED",)), biml.Episode(1, 2)]  # type: ignore[arg-type]
VALUES = [*NUMBERS, *TEXTS, *NAMES, *LISTS, *OBJECTS, *EPISODES]

OPTIONS = {
    "train": ["seed", "nsteps", "lr", "batch_size", "episode_type", "device", "corpus", "arch"],
    "symbolic": ["grammar", "symbols", "p", "max_output", "rates"],
}
"""Arguments of functions that take any by name."""

FUNCTIONS = {name: getattr(biml, name) for name in dir(biml) if callable(getattr(biml, name))}
for name in ("BimlError", "UsageError", "FormatError", "GrammarError", "Responder", "Model"):
    del FUNCTIONS[name]  # errors, a protocol, and what `load` makes
for name in ("Episode", "Example"):
    del FUNCTIONS[name]  # plain data, which the functions that take them check
MODEL = biml.symbolic("biases")
FUNCTIONS |= {
    f"Model.{name}": getattr(MODEL, name)
    for name in ("respond", "respond_all", "sample", "log_prob", "probabilities")
}
FUNCTIONS |= {"Rule.parse": biml.Rule.parse, "Grammar.parse": biml.Grammar.parse}
FUNCTIONS |= {"Grammar.interpret": biml.GOLD.interpret, "Grammar.remap": biml.GOLD.remap}


@pytest.fixture(autouse=True)
def _no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise biml.UsageError("the arguments were accepted")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainer, "train", refuse)
    monkeypatch.setattr(run, "reproduce", refuse)


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_arguments_are_accepted_or_named_in_an_error(name: str, data: st.DataObject) -> None:
    function = FUNCTIONS[name]
    named, positional = {}, []
    value = st.sampled_from(VALUES)
    for each in signature(function).parameters.values():
        if each.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            continue
        if each.default is Parameter.empty or data.draw(st.booleans()):
            named[each.name] = data.draw(value)
            if each.kind is Parameter.POSITIONAL_ONLY:
                positional.append(named.pop(each.name))
    for option in data.draw(st.sets(st.sampled_from(OPTIONS.get(name, ["none"])), max_size=2)):
        named |= {option: data.draw(value)} if name in OPTIONS else {}
    with suppress(biml.BimlError):
        function(*positional, **named)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: biml.generator(None), "^seed is None"),
        (lambda: biml.generator(1.5), "^seed is 1.5"),
        (lambda: biml.generator(2**64), "^seed is"),
        (lambda: biml.sample_episode(seed=2**64), "^seed is"),
        (lambda: biml.MetaGrammar(max_input=float("nan")), "^max_input is nan"),
        (lambda: biml.MetaGrammar(max_input=10**9), "^max_input is 1000000000.*at most 300"),
        (lambda: biml.MetaGrammar(words="dax"), "^words is 'dax'.*sequence of a text"),
        (lambda: biml.load("n" * 5000), "^name_or_path is not a possible path"),
        (lambda: biml.read_episode("a\0b"), "^path is not a possible path"),
        (lambda: biml.parse_episode(["dax"]), r"^text is \['dax'\].*a text"),
        (lambda: biml.Grammar.parse(7), "^text is 7"),
        (lambda: biml.Rule(["dax"], ("RED",)), "^lhs is"),
        (lambda: biml.GOLD.interpret([1]), r"^words is \[1\]"),
        (lambda: biml.format_episode(biml.Episode(1, 2)), "^episode is"),
        (lambda: biml.evaluate("oracle", repeats=True), "^repeats is True"),
        (lambda: biml.symbolic("oracle-biases", p="x"), "^p is 'x'"),
        (lambda: biml.symbolic("oracle-biases", p=1.5), "p is 1.5"),
        (lambda: biml.train("net.pt", lr="high"), "^lr is 'high'"),
        (lambda: biml.train("net.pt", seed=None, nsteps=1.5), "^nsteps is 1.5"),
        (lambda: biml.reproduce(workers="two"), "^workers is 'two'"),
        (lambda: MODEL.sample([], "dax", n=-1), "^n is -1"),
        (lambda: MODEL.sample([], "dax", seed=None), "^seed is None"),
        (lambda: MODEL.respond([], "dax", max_length=-1), "^max_length is -1"),
        (lambda: MODEL.respond([("dax", 1)], "dax"), "output is 1"),
        (lambda: find_readings("dax", ("dax",)), "^study is 'dax'"),
        (lambda: find_readings((), ("dax",), seconds="long"), "^seconds is 'long'"),
        (lambda: find_readings((), tuple("abcdefgh"), list("ABCDEFGHIJKL")), "8 words"),
        (lambda: read_strings(GOLD_EPISODE, "dax"), "^queries is 'dax'"),
        (lambda: ask("oracle", GOLD_EPISODE, ()), "^model is 'oracle'"),
        (lambda: ask(MODEL, GOLD_EPISODE, (), n_remappings=1.5), "^n_remappings is 1.5"),
        (lambda: patch(float("nan")), "^values is nan"),
        (lambda: patch(np.array([[np.inf]])), "^values have"),
        (lambda: ablate(heads="all"), "^heads is 'all'"),
    ],
)
def test_an_error_names_the_argument(call: Any, message: str) -> None:
    with pytest.raises(biml.BimlError, match=message):
        call()


BROKEN = [
    biml.Episode((biml.Episode((), ()),), ()),  # type: ignore[arg-type]
    biml.Episode((biml.Example("dax", ("RED",)),), EPISODE.queries),  # type: ignore[arg-type]
    biml.Episode((), (biml.Example((1,), ("RED",)),)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("name", ["biases", "oracle", "oracle-slips"])
@pytest.mark.parametrize("broken", BROKEN)
def test_each_of_several_episodes_is_checked(name: str, broken: biml.Episode) -> None:
    model = biml.symbolic(name)
    for call in (model.respond, model.sample, model.log_prob):
        with pytest.raises(biml.UsageError, match=r"^study\[1\] is Episode"):
            call([EPISODE, broken])


def test_options_hold_for_several_episodes_or_are_refused() -> None:
    model = biml.symbolic("oracle")
    one = model.log_prob(EPISODE, p_lapse=0.2)
    (several,) = model.log_prob([EPISODE], p_lapse=0.2)
    assert [scores.sum() for scores in several] == pytest.approx(one)
    with pytest.raises(biml.UsageError, match="as_table"):
        model.respond([EPISODE], as_table=True)


def test_long_names_and_impossible_paths_are_shown_in_part() -> None:
    with pytest.raises(biml.UsageError) as caught:
        biml.episode_type("n" * 5000)
    assert len(str(caught.value)) < 3000
    with pytest.raises(biml.UsageError, match="not a possible path"):
        biml.read_episode("\ud800")


def test_types_are_checked_to_their_depth() -> None:
    check_type("n", 3, int | None)
    check_type("pairs", (("a", 1), ("b", 2)), tuple[tuple[str, int], ...])
    for value in ((("a", 1, 2),), (("a", "b"),), ("a", 1)):
        with pytest.raises(biml.UsageError, match=r"^pairs is"):
            check_type("pairs", value, tuple[tuple[str, int], ...])


def test_a_meta_grammar_without_inputs_is_reported_soon() -> None:
    with pytest.raises(biml.BimlError, match="no sampled grammar"):
        biml.sample_episode(biml.MetaGrammar(max_input=300, max_output=1), 0)
