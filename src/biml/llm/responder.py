"""A language model as a `Responder`: prompts, parsed answers, log-probabilities, the log."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from biml.episodes.episode import Episode, Example
from biml.errors import BimlError, UsageError
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Response, check_lapse
from biml.grammar.meta_grammar import COLOURS
from biml.llm.answers import MAX_ANSWER_CHARACTERS
from biml.llm.backend import Backend, Completion, Request, ScoreRequest, Scores
from biml.llm.log import (
    KINDS,
    LOG_PROB,
    REASON,
    RESPOND,
    SAMPLE,
    AnswerLog,
    Record,
    question_key,
)
from biml.llm.possible import normalised_log_probs, possible_responses
from biml.llm.prompts import PromptTemplate
from biml.llm.questions import Question
from biml.progress import Progress, no_progress
from biml.rng import generator
from biml.vocabulary import NO_SYMBOL

T = TypeVar("T")

_MOST_UNANSWERED = 20
"""Questions that a server may leave without an answer before the first that it answers."""


@dataclass(frozen=True)
class LanguageModel:
    """A language model as a `Responder`.

    Log-probabilities are sums over the tokens of each symbol, and of the end of the line or
    message. They are not normalised: what is missing from 1 belongs to texts that are no responses.

    Attributes:
        symbols: the output symbols of episodes without a pool.
        task: the episode type, for the log and its right responses; empty where unknown.
        normalise: give log-probabilities among the possible answers to the same item only: all
            targets in the episodes of the call, and the right one.
    """

    backend: Backend
    template: PromptTemplate
    log: AnswerLog = field(default_factory=AnswerLog)
    symbols: tuple[str, ...] = COLOURS
    task: str = ""
    normalise: bool = False
    progress: Progress = field(default=no_progress, compare=False, repr=False)

    @property
    def trained_on(self) -> tuple[str, ...]:
        """See `DataUse`: the texts may have had the paper and its data among them."""
        return ("texts that are not known",)

    @property
    def name(self) -> str:
        """The model with its prompt, as it stands in results."""
        return f"{self.backend.model}, prompt {self.template.name} {self.template.digest}"

    @cached_property
    def why_no_log_probs(self) -> str:
        """Why the model can be sampled only; empty where it gives log-probabilities."""
        return self.backend.why_no_log_probs(self._is_chat)

    def respond(
        self, episodes: Sequence[Episode], /, *, max_length: int = DEFAULT_MAX_LENGTH
    ) -> list[list[Response]]:
        """See `Responder`: answers without sampling; see `parse_answer` for those in error."""
        questions = [
            self._question(RESPOND, episode, query, max_length)
            for episode in episodes
            for query in episode.queries
        ]
        return _by_episode(episodes, self._responses(questions))

    def sample(
        self,
        episodes: Sequence[Episode],
        /,
        *,
        seed: int,
        n: int = 1,
        max_length: int = DEFAULT_MAX_LENGTH,
        p_lapse: float = 0.0,
    ) -> list[list[list[Response]]]:
        """See `Responder`: answers at temperature 1."""
        check_lapse(p_lapse)
        questions, seen = [], Counter[str]()
        for episode in episodes:
            for query in episode.queries:
                question = self._question(SAMPLE, episode, query, max_length)
                for _ in range(n):
                    number = seen[question.prompt.text]
                    seen[question.prompt.text] += 1
                    questions.append(replace(question, sample=number, seed=seed))
        responses = self._with_lapses(questions, p_lapse)
        grouped = [responses[start : start + n] for start in range(0, len(responses), n)]
        return _by_episode(episodes, grouped)

    def log_prob(self, episodes: Sequence[Episode], /) -> list[list[np.ndarray]]:
        """See `Responder`; a UsageError where the server gives no log-probabilities."""
        pairs = [(episode, query) for episode in episodes for query in episode.queries]
        prefixes = self._reasoning(pairs)
        given: Sequence[tuple[Response, ...]] = [(query.output,) for _, query in pairs]
        if self.normalise:
            given = possible_responses(pairs, self.task)
        questions = [
            replace(self._question(LOG_PROB, *pair, len(one)), given=one, prefix=prefix)
            for pair, responses, prefix in zip(pairs, given, prefixes, strict=True)
            for one in responses
        ]
        found = iter([record.log_probs or [] for record in self._ask(questions)])
        scored = [[next(found) for _ in responses] for responses in given]
        results = []
        for (episode, query), responses, scores in zip(pairs, given, scored, strict=True):
            if self.normalise:
                choices = episode.pool or self.symbols
                values = normalised_log_probs(query.output, responses, scores, choices)
            else:
                values = np.array(scores[0])
            if episode.pool is not None:
                outside = [symbol not in episode.pool for symbol in query.output]
                values = np.where([*outside, False], -np.inf, values)
            results.append(values)
        return _by_episode(episodes, results)

    # --- questions

    @cached_property
    def _is_chat(self) -> bool:
        study = [Example(("dax",), self.symbols[:1])]
        return bool(self.template.render(study, ("dax",), self.symbols, None).messages)

    @property
    def _end(self) -> str:
        """The text after a given answer; empty for the end of a message."""
        return "" if self._is_chat else self.template.stop

    def _stop_of(self, kind: str) -> str:
        """The text at which the model stops; empty for the end of its message."""
        if self.template.marker:
            return self.template.marker if kind == REASON else ""
        return self._end

    def _question(self, kind: str, episode: Episode, query: Example, max_length: int) -> Question:
        prompt = self.template.render(
            episode.study, query.input, self._episode_symbols(episode), episode.pool
        )
        return Question(kind, episode, query, prompt, max_length)

    def _episode_symbols(self, episode: Episode) -> tuple[str, ...]:
        """Those of the model, and whatever else the study examples and the pool have."""
        shown = [symbol for example in episode.study for symbol in example.output]
        return tuple(dict.fromkeys([*self.symbols, *shown, *(episode.pool or ())]))

    def _reasoning(self, pairs: Sequence[tuple[Episode, Example]]) -> list[str]:
        """What stands before the given answers: nothing, or the model's reasoning."""
        if not self.template.marker:
            return [""] * len(pairs)
        questions = [self._question(REASON, *pair, 0) for pair in pairs]
        return [
            f"{(record.answer or '').partition(self.template.marker)[0].rstrip()}\n"
            f"{self.template.marker}"
            for record in self._ask(questions)
        ]

    def _responses(self, questions: Sequence[Question]) -> list[Response]:
        return [tuple(record.response.split()) for record in self._ask(questions)]

    def _with_lapses(self, questions: Sequence[Question], p_lapse: float) -> list[Response]:
        """Sample; after a lapse the model continues from the symbols given so far.

        Answers that are no sequence of symbols have no lapses.
        """
        responses = self._responses(questions)
        if not p_lapse:
            return responses
        waiting = {i: (question, 0) for i, question in enumerate(questions)}
        rngs = [generator(q.seed or 0, "lapses", q.prompt.text, q.sample) for q in questions]
        while waiting:
            given = list(waiting.items())
            records = self._ask([question for _, (question, _) in given])
            waiting = {}
            for (i, (question, start)), record in zip(given, records, strict=True):
                choices = question.episode.pool or self.symbols
                responses[i] = response = tuple(record.response.split())
                ends = min(len(response) + 1, question.max_length)
                ends = 0 if NO_SYMBOL in response else ends
                lapses = (at for at in range(start, ends) if rngs[i].random() < p_lapse)
                if (at := next(lapses, None)) is None:
                    continue
                number = rngs[i].randrange(len(choices) + 1)
                responses[i] = (*response[:at], *choices[number : number + 1])
                if number < len(choices) and at + 1 < question.max_length:
                    pieces = "".join(self._pieces(responses[i]))
                    again = replace(question, prefix=self._lapsed(question, pieces))
                    waiting[i] = again, at + 1
        return responses

    def _lapsed(self, question: Question, pieces: str) -> str:
        """The beginning of an answer with a lapse, behind the reasoning that came before."""
        if not self.template.marker:
            return pieces
        (record,) = self._ask([question])
        before, marker, _ = (record.whole_answer or "").rpartition(self.template.marker)
        return f"{before}{marker}{pieces}"

    def _pieces(self, response: Response) -> tuple[str, ...]:
        """The texts of the symbols of an answer; a message of a chat begins without a space."""
        at_start = self._is_chat and not self.template.marker
        return tuple([s if at_start and not i else f" {s}" for i, s in enumerate(response)])

    # --- asking

    def _ask(self, questions: Sequence[Question]) -> list[Record]:
        """The records of questions; those that are not in the log are put to the model.

        Each answer is in the log as soon as it is given.
        """
        keys = [self._key(question) for question in questions]
        new = {k: q for k, q in zip(keys, questions, strict=True) if self.log.find(k) is None}
        if new:
            kind = next(iter(new.values())).kind
            answers = self._put(kind, list(new.values()))
            try:
                named = enumerate(self._named(list(new), answers), 1)
                for done, (key, completion, log_probs) in named:
                    record = self._record_of(key, new[key], completion, log_probs)
                    self.log.add([record])
                    if record.answer is None and done == min(len(new), _MOST_UNANSWERED):
                        self._check_answered()
                    self.progress(done, len(new), stage=f"asking: {KINDS[kind]}", unit="questions")
            except BimlError as error:
                if not len(self.log):
                    raise
                where = f"in {self.log.path}" if self.log.path else "in memory"
                raise (UsageError if isinstance(error, UsageError) else BimlError)(
                    f"{error}; the {len(self.log):,} answers given so far are kept {where}: the "
                    "same command goes on there"
                ) from error
        records = []
        for key, question in zip(keys, questions, strict=True):
            kept = self.log.find(key)
            assert kept is not None
            if key not in new or question is not new[key]:
                again = self._record_of(key, question, Completion(kept.answer), kept.log_probs)
                kept = replace(again, cached=True)
                self.log.add([kept])
            records.append(kept)
        return records

    def _check_answered(self) -> None:
        """Raise a BimlError where a server has answered no question so far."""
        put = [one.answer for one in self.log.session if one.kind != LOG_PROB]
        if put and all(answer is None for answer in put):
            raise BimlError(
                f"{self.backend.model} gives no text (null) as an answer to any of {len(put):,} "
                "questions; a model that reasons first needs a template with more max_tokens, or a "
                "server that does not hold its answers back"
            )

    def _record_of(
        self, key: str, question: Question, completion: Completion, log_probs: list[float] | None
    ) -> Record:
        """The record of an answer, or of the scores of a given one."""
        given = "".join(self._pieces(question.given))
        return question.record(
            *(self.template, self.task, self._episode_symbols(question.episode)),
            key=key,
            model=self.backend.model,
            settings=self._settings(question.kind, question.seed),
            answer=given if question.kind == LOG_PROB else completion.text,
            log_probs=log_probs,
            tokens_in=completion.tokens_in,
            tokens_out=completion.tokens_out,
            seconds=completion.seconds,
        )

    def _put(
        self, kind: str, questions: Sequence[Question]
    ) -> Iterator[tuple[int, Completion | Scores]]:
        if kind == LOG_PROB:
            if self.why_no_log_probs:
                raise UsageError(f"{self.backend.model}: {self.why_no_log_probs}")
            pieces = [self._pieces(question.given) for question in questions]
            return self.backend.score(
                [
                    ScoreRequest(question.prompt, question.prefix, of_it, self._end)
                    for question, of_it in zip(questions, pieces, strict=True)
                ]
            )
        limit, stop = self.template.max_tokens, self._stop_of(kind)
        return self.backend.complete(
            [Request(q.prompt, q.prefix, limit, stop, q.request_seed) for q in questions]
        )

    def _named(
        self, keys: Sequence[str], answers: Iterable[tuple[int, Completion | Scores]]
    ) -> Iterator[tuple[str, Completion, list[float] | None]]:
        for number, answer in answers:
            if isinstance(answer, Completion):
                text = answer.text and answer.text[:MAX_ANSWER_CHARACTERS]
                yield keys[number], answer._replace(text=text), None
            else:
                yield keys[number], Completion("", *answer[1:]), list(answer.log_probs)

    def _settings(self, kind: str, seed: int | None = None) -> dict[str, Any]:
        """What an answer depends on besides the model and the prompt."""
        if kind == LOG_PROB:
            return {**self.backend.settings, "end": self._end}
        limits = {"max_tokens": self.template.max_tokens, "stop": self._stop_of(kind)}
        return {**self.backend.settings, **limits, **({} if seed is None else {"seed": seed})}

    def _key(self, question: Question) -> str:
        settings = self._settings(question.kind, question.seed)
        given = "".join(self._pieces(question.given))
        more = (question.prefix, given, question.sample)
        return question_key(
            self.backend.model, question.prompt.text, settings, question.kind, *more
        )


def _by_episode(episodes: Sequence[Episode], results: Sequence[T]) -> list[list[T]]:
    found = iter(results)
    return [[next(found) for _ in episode.queries] for episode in episodes]
