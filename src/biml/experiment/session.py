"""One participant's way through a design, as screens and answers.

A session is a function of the design, a seed, the condition and the answers so far: replaying the
answers gives the same screens again, in any process and at any time.

>>> from biml.experiment.design import read_design
>>> session = Session(read_design("few-shot"), seed=17)
>>> session.screen.kind, session.screen.number
('information', 0)
>>> session.answer({"consent": True}).message, session.screen.kind, session.screen.pool[:2]
('', 'practice', ('PINK', 'RED'))
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from biml.episodes.episode import Example, Remapping
from biml.experiment.design_types import FEW_SHOT, PROBES, Design, Stage
from biml.experiment.screens import AnswerError as AnswerError
from biml.experiment.screens import Outcome, Screen, StudyItem, check_answer
from biml.rng import generator
from biml.vocabulary import UNDEFINED

RUNNING, FINISHED, DECLINED = "running", "finished", "declined"
FAILED_QUIZ, MISSED_CATCH = "failed quiz", "missed catch trials"


@dataclass(frozen=True)
class Step:
    """A screen with its answer."""

    screen: Screen
    payload: Mapping[str, Any]
    outcome: Outcome


Answered = tuple[Mapping[str, Any], Outcome]

Screens = Generator[Screen, Answered, str]


class Session:
    """A participant's state: the present screen, and the answers so far in `history`."""

    def __init__(self, design: Design, seed: int, condition: str | None = None) -> None:
        self.design = design.of_condition(condition)
        self.seed = seed
        self.condition = condition
        self.status = RUNNING
        self.history: list[Step] = []
        self.missed_catch_trials = 0
        self._done = 0
        self._screens = self._all_screens()
        self._total = _count_steps(self.design)
        self.screen = self._numbered(next(self._screens))

    @classmethod
    def replay(
        cls,
        design: Design,
        seed: int,
        condition: str | None,
        payloads: Iterable[Mapping[str, Any]],
    ) -> "Session":
        """The session after these answers; an AnswerError if one of them is impossible."""
        session = cls(design, seed, condition)
        for payload in payloads:
            session.answer(payload)
        return session

    def answer(self, payload: Mapping[str, Any]) -> Outcome:
        """Take the answer to the present screen and move on; an AnswerError says what is wrong."""
        check_answer(self.screen, payload)
        outcome = self._judge(payload)
        if self.screen.catch and not outcome.correct:
            self.missed_catch_trials += 1
        self.history.append(Step(self.screen, payload, outcome))
        try:
            self.screen = self._numbered(self._screens.send((payload, outcome)))
        except StopIteration as end:
            self.status = end.value
            self.screen = self._numbered(self._end_screen())
        return outcome

    @staticmethod
    def canonical(screen: Screen, tokens: Sequence[str]) -> tuple[str, ...]:
        """Words or symbols of a screen in the names of the design.

        A colour that stands for no symbol of the design is `undefined_action`.
        """
        names = {new: name for name, new in screen.remapping.words.items()}
        names |= {new: name for name, new in screen.remapping.symbols.items()}
        return tuple(names.get(token, UNDEFINED) for token in tokens)

    def _numbered(self, screen: Screen) -> Screen:
        done = self._total if screen.kind == "end" else self._done
        return replace(screen, number=len(self.history), progress=(done, self._total))

    def _rng(self, *purpose: str | int) -> Random:
        return generator(self.seed, "experiment", *purpose)

    def _judge(self, payload: Mapping[str, Any]) -> Outcome:
        screen = self.screen
        if screen.kind == "quiz":
            right = dict(payload["answers"]) == dict(self.design.quiz_answers)
            message = "Not all answers were right. Please read the instructions again."
            return Outcome(right, message="" if right else message)
        if screen.target is None:
            return Outcome()
        correct = tuple(payload["response"]) == screen.target
        if screen.kind == "test":
            return Outcome(correct)
        message = "Right." if correct else "That was not right."
        return Outcome(correct, screen.target, message)

    def _all_screens(self) -> Screens:
        """Yield screens, receive answers, and return the status at the end."""
        design = self.design
        information = Screen(
            "information", "information", design.title, design.information, consent=design.consent
        )
        payload, _ = yield information
        if not payload["consent"]:
            return DECLINED
        self._done += 1
        yield from self._practice()
        if not (yield from self._instructions()):
            return FAILED_QUIZ
        if design.queries:
            yield self._sheet()
            self._done += 1
        else:
            yield from self._stages()
        if design.questions:
            yield Screen("questions", "questions", "A few questions", questions=design.questions)
            self._done += 1
        yield Screen("debriefing", "debriefing", "Thank you", design.debriefing)
        limit = design.missed_catch_trials
        missed = limit is not None and self.missed_catch_trials >= limit
        return MISSED_CATCH if missed else FINISHED

    def _end_screen(self) -> Screen:
        codes = self.design.codes
        finished = codes.finished, "You have finished. Thank you for taking part."
        code, text = {
            FINISHED: finished,
            MISSED_CATCH: (
                codes.missed_catch_trials,
                "You have reached the end. Several of your answers did not agree with examples on "
                "the screen, so that the session cannot be counted. Thank you for your time.",
            )
            if codes.missed_catch_trials
            else finished,
            FAILED_QUIZ: (
                codes.failed_quiz,
                "The questions about the instructions were not answered correctly, so that the "
                "study ends here. Thank you for your time.",
            ),
            DECLINED: ("", "You have decided not to take part. You can close this page."),
        }[self.status]
        return Screen("end", "end", "The end", text, code=code or None)

    def _practice(self) -> Generator[Screen, Answered, None]:
        """Rows of colours, each until it is copied."""
        pool = _shuffled(self._rng("practice"), self.design.colours)
        for row in self.design.practice:
            text, study = "Make the same row of circles, then send it.", (StudyItem("", row),)
            screen = Screen(
                "practice", "practice", "Practice", text, study=study, pool=pool, target=row
            )
            _, outcome = yield screen
            while not outcome.correct:
                again = replace(outcome, expected=None, message="The rows differ. Try again.")
                _, outcome = yield replace(screen, feedback=again)
            self._done += 1

    def _instructions(self) -> Generator[Screen, Answered, bool]:
        """The instructions and the quiz, again until it is passed; whether it was."""
        design = self.design
        outcome, attempts = None, 0
        while True:
            yield Screen(
                "information", "instructions", "Instructions", design.instructions, feedback=outcome
            )
            if not design.quiz:
                self._done += 1
                return True
            _, outcome = yield Screen(
                "quiz", "quiz", "Questions about the instructions", questions=design.quiz
            )
            attempts += 1
            if outcome.correct:
                self._done += 1
                return True
            if attempts == design.quiz_attempts:
                return False

    def _sheet(self) -> Screen:
        rng = self._rng("sheet")
        queries = rng.sample(self.design.queries, len(self.design.queries))
        remapping = self._remapping(self.design.queries, "words")
        return Screen(
            "sheet",
            "sheet",
            "Your answers",
            "Answer each phrase with a row of circles. You can change all answers until you send "
            "them.",
            queries=tuple(_renamed(query, remapping.words) for query in queries),
            pool=_shuffled(rng, self.design.colours),
            remapping=remapping,
        )

    def _stages(self) -> Generator[Screen, Answered, None]:
        stages = _in_order(self.design.stages, self._rng("stages"))
        inputs = [e.input for s in self.design.stages for e in (*s.study, *s.test)]
        common = self._remapping(inputs, "words")
        for number, stage in enumerate(stages, 1):
            place = f"{number} of {len(stages)}"
            if self.design.task == PROBES:
                inputs = [e.input for e in (*stage.study, *stage.test)]
                remapping = self._remapping(inputs, "words", stage.name, pool=stage.pool)
                yield from self._test(stage, remapping, f"Page {place}")
            else:
                yield from self._study(stage, common, f"Part {place}: study")
                yield from self._test(stage, common, f"Part {place}: test")

    def _study(
        self, stage: Stage, remapping: Remapping, title: str
    ) -> Generator[Screen, Answered, None]:
        """Cover one study example of several words after another, and show what was right."""
        rng = self._rng("study", stage.name)
        study = rng.sample(stage.study, len(stage.study))
        covered = [example for example in study if len(example.input) > 1]
        start = self._done
        for cycle in range(1, self.design.study_cycles + 1):
            n_right = 0
            for number, example in enumerate(rng.sample(covered, len(covered))):
                if cycle == 1:
                    self._done = start + number
                words = _renamed(example.input, remapping.words)
                screen = Screen(
                    "study",
                    stage.name,
                    title,
                    "Which circles are covered? Put them together.",
                    study=_on_screen(study, remapping, covered=example),
                    query=words,
                    pool=self._pool(stage, remapping),
                    item=" ".join(example.input),
                    target=tuple(remapping.symbols[s] for s in example.output),
                    cycle=cycle,
                    remapping=remapping,
                )
                _, outcome = yield screen
                n_right += bool(outcome.correct)
                yield replace(
                    screen,
                    kind="feedback",
                    text="",
                    study=_on_screen(study, remapping),
                    feedback=outcome,
                    target=None,
                )
            if n_right == len(covered):
                break
        self._done = start + len(covered)

    def _test(
        self, stage: Stage, remapping: Remapping, title: str
    ) -> Generator[Screen, Answered, None]:
        rng = self._rng("test", stage.name)
        study = rng.sample(stage.study, len(stage.study))
        trials = [*((e, False) for e in stage.test), *((e, True) for e in stage.catch)]
        for example, catch in rng.sample(trials, len(trials)):
            target = tuple(remapping.symbols[symbol] for symbol in example.output)
            yield Screen(
                "test",
                stage.name,
                title,
                "Which circles does this phrase stand for?",
                study=_on_screen(study, remapping),
                query=_renamed(example.input, remapping.words),
                pool=self._pool(stage, remapping),
                catch=catch,
                item=example.item,
                target=target or None,
                remapping=remapping,
            )
            self._done += 1

    def _remapping(
        self,
        inputs: Iterable[Sequence[str]],
        *purpose: str,
        pool: Sequence[str] | None = None,
    ) -> Remapping:
        """Draw different words and colours for the words of inputs and the canonical symbols."""
        design, rng = self.design, self._rng(*purpose)
        words = list(dict.fromkeys(word for words in inputs for word in words))
        symbols = list(design.symbols if pool is None else pool)
        return Remapping(
            dict(zip(words, rng.sample(design.words, len(words)), strict=True)),
            dict(zip(symbols, rng.sample(design.colours, len(symbols)), strict=True)),
        )

    def _pool(self, stage: Stage, remapping: Remapping) -> tuple[str, ...]:
        """The colours to answer with, in the same order throughout a language."""
        if stage.pool is None:
            return _shuffled(self._rng("pool"), self.design.colours)
        offered = [remapping.symbols[symbol] for symbol in stage.pool]
        return _shuffled(self._rng("pool", stage.name), offered)


def _count_steps(design: Design) -> int:
    """The steps of a session in which the first pass through the study examples suffices."""
    n_study = 0
    if design.task == FEW_SHOT:
        n_study = sum(len(e.input) > 1 for stage in design.stages for e in stage.study)
    n_test = sum(len(stage.test) + len(stage.catch) for stage in design.stages)
    n_pages = bool(design.queries) + bool(design.questions)
    return 3 + len(design.practice) + n_study + n_test + n_pages


def _in_order(stages: Sequence[Stage], rng: Random) -> list[Stage]:
    """Stages with the shuffled ones exchanged at random, and the others in place."""
    shuffled = iter(rng.sample(each := [s for s in stages if s.shuffled], len(each)))
    return [next(shuffled) if stage.shuffled else stage for stage in stages]


def _on_screen(
    study: Sequence[Example], remapping: Remapping, covered: Example | None = None
) -> tuple[StudyItem, ...]:
    return tuple(
        StudyItem(
            _renamed(example.input, remapping.words),
            () if example == covered else tuple(remapping.symbols[s] for s in example.output),
            example == covered,
        )
        for example in study
    )


def _renamed(words: Sequence[str], names: Mapping[str, str]) -> str:
    return " ".join(names[word] for word in words)


def _shuffled(rng: Random, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(rng.sample(names, len(names)))
