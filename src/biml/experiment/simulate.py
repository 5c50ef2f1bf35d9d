"""Simulated participants: models that go through an experiment, screen by screen, as people do.

They copy the practice rows, pass the quiz and say that they took no notes; they respond to study
trials, tests and sheets by samples, with lapses. Their records name the model for ever.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from biml.episodes.episode import Episode, Example
from biml.episodes.transforms import remap, undo_remapping
from biml.errors import UsageError
from biml.evaluation.registry import SYMBOLIC
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Responder
from biml.experiment.design_types import PROBES, SIMULATED, Design
from biml.experiment.screens import Screen
from biml.experiment.session import RUNNING, Session
from biml.experiment.store import ExperimentFullError, Store
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.progress import Progress, no_progress
from biml.rng import derive_seed, generator


def simulate(
    store: Store,
    responder: Responder,
    name: str,
    n: int,
    *,
    p_lapse: float = 0.0,
    seed: int = 0,
    progress: Progress = no_progress,
) -> None:
    """Let a model go through the design of a store as `n` participants, and save all answers.

    Args:
        name: of the model, which every record keeps.
        p_lapse: probability that a symbol of a response is a random one.
    Raises:
        UsageError: the model cannot do the task, the store has answers of people, or the design
            does not let in so many; nothing is saved then.
    """
    design = store.design
    assert design is not None
    row = SYMBOLIC.get(name)
    if row is not None and (design.task == PROBES or design.task not in row.tasks):
        raise UsageError(
            f"{name} cannot do the task {design.task}, but {' and '.join(row.tasks)} only; choose "
            "another --model"
        )
    people = store.participants()
    if any(SIMULATED not in person.parameters for person in people):
        raise UsageError(
            f"{store.name} has participants who are people; name another file by --database"
        )
    # Those without answers are left from a simulation that was ended.
    people = [p for p in people if p.parameters[SIMULATED] == name and p.status == RUNNING][:n]
    try:
        people += store.create_participants(n - len(people), {SIMULATED: name})
    except ExperimentFullError:
        raise UsageError(
            f"{store.name} has fewer than {n} places left; simulate fewer participants, or name "
            "another file by --database"
        ) from None
    sessions = [Session(design, person.seed, person.condition) for person in people]
    sampler = _Sampler(responder, design, p_lapse, seed)
    total = sum(session.screen.progress[1] for session in sessions)
    while waiting := [session for session in sessions if session.status == RUNNING]:
        for session, answer in zip(waiting, sampler.answers(waiting), strict=True):
            session.answer(answer)
        done = sum(session.screen.progress[0] for session in sessions)
        progress(done, total, stage="simulating", unit="screens")
    for number, (person, session) in enumerate(zip(people, sessions, strict=True), 1):
        payloads = [step.payload for step in session.history]
        store.save_session(person, payloads, status=session.status)
        progress(number, n, stage="saving", unit="participants")


class _Sampler:
    """Samples the answers of many sessions at once; a session at a sheet fills it in by parts."""

    def __init__(self, responder: Responder, design: Design, p_lapse: float, seed: int) -> None:
        self.responder = responder
        self.p_lapse = p_lapse
        self.seed = seed
        self.n_batches = 0
        self.remaps = not (set(design.words) <= set(WORDS) and set(design.colours) <= set(COLOURS))

    def answers(self, sessions: Sequence[Session]) -> Iterator[dict[str, Any]]:
        """An answer to the present screen of each session."""
        trials = [s for s in sessions if s.screen.kind in ("study", "test")]
        responses = iter(self.sample([_episode(s.design, s.screen) for s in trials]))
        sheets = [s for s in sessions if s.screen.kind == "sheet"]
        filled = iter(self.sheets([s.screen for s in sheets]))
        for session in sessions:
            if session.screen.kind in ("study", "test"):
                yield {"response": next(responses)}
            elif session.screen.kind == "sheet":
                yield {"responses": next(filled)}
            else:
                yield _routine_answer(session)

    def sheets(self, screens: Sequence[Screen]) -> list[list[list[str]]]:
        """Responses to the queries of sheets, each given those before it as study examples."""
        pairs: list[list[Example]] = [[] for _ in screens]
        for number in range(max((len(screen.queries) for screen in screens), default=0)):
            episodes = [
                Episode(tuple(given), (_query(screen.queries[number], screen),))
                for screen, given in zip(screens, pairs, strict=True)
            ]
            for given, episode, response in zip(
                pairs, episodes, self.sample(episodes), strict=True
            ):
                given.append(Example(episode.queries[0].input, tuple(response)))
        return [[list(example.output) for example in given] for given in pairs]

    def sample(self, episodes: Sequence[Episode]) -> list[list[str]]:
        """A response to the query of each episode, of symbols on the screen."""
        if not episodes:
            return []
        self.n_batches += 1
        rng = generator(self.seed, "simulate", self.n_batches)
        presented = [remap(e, rng, WORDS, COLOURS) for e in episodes] if self.remaps else episodes
        batch_seed = derive_seed(self.seed, "simulate", self.n_batches)
        samples = self.responder.sample(
            presented, seed=batch_seed, max_length=DEFAULT_MAX_LENGTH, p_lapse=self.p_lapse
        )
        return [
            _possible(undo_remapping(given, response), episode, rng)
            for given, episode, ((response,),) in zip(presented, episodes, samples, strict=True)
        ]


def _possible(response: Sequence[str], episode: Episode, rng: Random) -> list[str]:
    """A response with random symbols in place of impossible ones, and at least one."""
    pool = episode.queries[0].output
    return [s if s in pool else rng.choice(pool) for s in response] or [rng.choice(pool)]


def _query(words: str, screen: Screen) -> Example:
    """A query; its output names the symbols on the screen, and is not used by models."""
    return Example(tuple(words.split()), screen.pool)


def _episode(design: Design, screen: Screen) -> Episode:
    """The task of a trial in the words and colours of the screen, without what is covered."""
    study = tuple(
        Example(tuple(item.words.split()), item.symbols)
        for item in screen.study
        if not item.covered
    )
    mapping = screen.remapping
    grammar = design.grammar and design.grammar.remap(mapping.words, mapping.symbols)
    pool = screen.pool if design.task == PROBES else None
    return Episode(study, (_query(screen.query or "", screen),), grammar, pool)


def _routine_answer(session: Session) -> dict[str, Any]:
    """The answer of a cooperative participant to a screen that is no trial."""
    screen, design = session.screen, session.design
    if screen.kind == "information":
        return {"consent": True}
    if screen.kind == "practice":
        return {"response": list(screen.target or ())}
    if screen.kind == "quiz":
        return {"answers": dict(design.quiz_answers)}
    if screen.kind == "questions":
        answers: dict[str, Any] = {}
        for question in screen.questions:
            excluding = design.excluding_answers.get(question.name)
            choices = [choice for choice in question.choices if choice != excluding]
            if choices:
                answers[question.name] = choices[-1]
            elif question.required:
                answers[question.name] = 0 if question.kind == "number" else SIMULATED
        return {"answers": answers}
    return {}
