"""Sessions: what a participant sees, in which order, and what counts as an answer."""

from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biml.experiment.design import BUILT_IN, Design, read_design
from biml.experiment.session import AnswerError, Screen, Session

DESIGNS = {name: read_design(name) for name in BUILT_IN}


def an_answer(design: Design, screen: Screen, rng: Random, p_right: float = 1.0) -> dict[str, Any]:
    """An answer to any screen, right with a probability."""
    right = rng.random() < p_right
    if screen.kind == "information":
        return {"consent": True}
    if screen.kind in ("practice", "study", "test"):
        guess = rng.choices(screen.pool, k=rng.randint(1, 4))
        return {"response": list(screen.target) if right and screen.target else guess}
    if screen.kind == "sheet":
        return {"responses": [rng.choices(screen.pool, k=2) for _ in screen.queries]}
    if screen.kind == "quiz":
        right_answers = design.quiz_answers
        guesses = {q.name: rng.choice(q.choices) for q in screen.questions}
        return {"answers": dict(right_answers) if right else guesses}
    if screen.kind == "questions":
        return {"answers": {q.name: q.choices[-1] for q in screen.questions if q.choices}}
    return {}


def go_through(session: Session, rng: Random, p_right: float = 1.0) -> Session:
    while session.status == "running":
        session.answer(an_answer(session.design, session.screen, rng, p_right))
    return session


@pytest.mark.parametrize("name", BUILT_IN)
@given(seed=st.integers(0, 2**40), p_right=st.floats(0.1, 1), answers=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_every_session_ends_and_replays(name: str, seed: int, p_right: float, answers: int) -> None:
    session = go_through(Session(DESIGNS[name], seed), Random(answers), p_right)
    assert session.status in ("finished", "missed catch trials", "failed quiz")
    assert session.screen.kind == "end"
    assert session.screen.code
    payloads = [step.payload for step in session.history]
    again = Session.replay(DESIGNS[name], seed, None, payloads)
    assert (again.screen, again.history) == (session.screen, session.history)
    done = [step.screen.progress[0] for step in session.history]
    assert done == sorted(done)
    assert [step.screen.number for step in session.history] == list(range(len(done)))
    for screen in (step.screen for step in session.history):
        for names in (screen.remapping.words, screen.remapping.symbols):
            assert len(set(names.values())) == len(names)


def screens_of(session: Session, *kinds: str) -> list[Screen]:
    return [step.screen for step in session.history if step.screen.kind in kinds]


def test_few_shot_has_ten_queries_and_five_catch_trials() -> None:
    session = go_through(Session(DESIGNS["few-shot"], 3), Random(0))
    tests = screens_of(session, "test")
    assert Counter(screen.catch for screen in tests) == {False: 10, True: 5}
    stages = list(dict.fromkeys(screen.stage for screen in tests))
    assert stages[-1] == "combined"
    assert sorted(stages) == [
        "after",
        "combined",
        "surround",
        "thrice",
    ]
    assert session.status == "finished"
    assert session.screen.code == "FINISHED"
    assert all(len(screen.pool) == 6 for screen in tests)
    assert [len(screen.study) for screen in tests[-7:]] == [14] * 7
    assert not any(item.covered for screen in tests for item in screen.study)


def test_stage_orders_vary_between_participants() -> None:
    def order(seed: int) -> tuple[str, ...]:
        session = go_through(Session(DESIGNS["few-shot"], seed), Random(0))
        return tuple(dict.fromkeys(screen.stage for screen in screens_of(session, "test")))

    orders = {order(seed) for seed in range(40)}
    assert len(orders) == 6
    assert {one[-1] for one in orders} == {"combined"}


def test_study_ends_when_all_are_right_or_after_three_cycles() -> None:
    perfect = go_through(Session(DESIGNS["few-shot"], 1), Random(0))
    covered = screens_of(perfect, "study")
    assert len(covered) == 2 + 2 + 2 + 10
    assert {screen.cycle for screen in covered} == {1}
    session = Session(DESIGNS["few-shot"], 1)
    while session.status == "running":
        answer = an_answer(session.design, session.screen, Random(0))
        if session.screen.kind == "study":
            wrong = next(c for c in session.screen.pool if (c,) != session.screen.target)
            answer = {"response": [wrong]}
        session.answer(answer)
    assert len(screens_of(session, "study")) == 3 * 16
    feedback = screens_of(session, "feedback")
    assert all(f.feedback and f.feedback.correct is False for f in feedback)


def test_a_covered_output_is_not_on_the_screen() -> None:
    session = go_through(Session(DESIGNS["few-shot"], 5), Random(0))
    for screen in screens_of(session, "study"):
        (item,) = [item for item in screen.study if item.covered]
        assert item.symbols == ()
        assert item.words == screen.query


def test_tests_give_no_feedback() -> None:
    session = go_through(Session(DESIGNS["few-shot"], 5), Random(0), p_right=0.5)
    for step, after in zip(session.history, session.history[1:], strict=False):
        if step.screen.kind == "test":
            assert after.screen.feedback is None
            assert step.outcome.expected is None
            assert step.outcome.message == ""


def test_responses_in_canonical_names() -> None:
    session = Session(DESIGNS["few-shot"], 5)
    while session.screen.kind != "test" or session.screen.catch:
        session.answer(an_answer(session.design, session.screen, Random(0)))
    screen = session.screen
    assert screen.query
    assert screen.target
    assert screen.item
    assert " ".join(Session.canonical(screen, screen.query.split())) == screen.item
    grammar = session.design.grammar
    assert grammar
    assert Session.canonical(screen, screen.target) == grammar.interpret(screen.item)
    others = set(screen.pool) - set(screen.remapping.symbols.values())
    assert {Session.canonical(screen, [c]) for c in others} == {("undefined_action",)}


def test_two_missed_catch_trials_have_a_code_of_their_own() -> None:
    session = Session(DESIGNS["few-shot"], 2)
    while session.status == "running":
        answer = an_answer(session.design, session.screen, Random(0))
        if session.screen.catch and session.missed_catch_trials < 2:
            answer = {"response": [session.screen.pool[0]] * 6}
        session.answer(answer)
    assert (session.status, session.screen.code) == ("missed catch trials", "CATCH")
    assert "finished" not in session.screen.text


def test_who_declines_or_fails_the_quiz_is_done() -> None:
    session = Session(DESIGNS["probes"], 2)
    session.answer({"consent": False})
    assert (session.status, session.screen.code) == ("declined", None)
    session = Session(DESIGNS["few-shot"], 2)
    while session.status == "running":
        answer = an_answer(session.design, session.screen, Random(0))
        if session.screen.kind == "quiz":
            answer = {"answers": {q.name: q.choices[0] for q in session.screen.questions}}
        session.answer(answer)
    assert (session.status, session.screen.code) == ("failed quiz", "QUIZ")
    assert len(screens_of(session, "quiz")) == 10


def test_probe_trials_have_their_own_words_and_pools() -> None:
    session = go_through(Session(DESIGNS["probes"], 2), Random(0))
    trials = screens_of(session, "test")
    assert len(trials) == 12
    assert len({screen.item for screen in trials}) == 12
    assert all(len(t.pool) == (6 if t.stage.endswith("6pool") else 2) for t in trials)
    assert len({str(screen.remapping) for screen in trials}) == 12


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"response": []},
        {"response": ["BLACK"]},
        {"response": "RED"},
        {"response": [["RED"]]},
        {"response": ["RED"] * 100},
        {"response": ["RED"], "catch": True},
        {"consent": True},
        ["RED"],
    ],
)
def test_impossible_answers_leave_the_session_unchanged(payload: Mapping[str, Any]) -> None:
    session = Session(DESIGNS["few-shot"], 2)
    session.answer({"consent": True})
    before = session.screen
    with pytest.raises(AnswerError):
        session.answer(payload)
    assert session.screen == before
    assert len(session.history) == 1


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"notes": "Maybe"},
        {"notes": ["No"]},
        {"notes": "No", "age": "old"},
        {"notes": "No", "age": "1e999"},
        {"notes": "No", "age": True},
        {"notes": "No", "comments": "a" * 100_000},
        {"notes": "No", "other": "x"},
        [],
    ],
)
def test_impossible_answers_to_questions(answers: Any) -> None:
    session = Session(DESIGNS["probes"], 2)
    while session.screen.kind != "questions":
        session.answer(an_answer(session.design, session.screen, Random(0)))
    with pytest.raises(AnswerError):
        session.answer({"answers": answers})
    session.answer({"answers": {"notes": "No", "age": "42", "comments": "<b>"}})
