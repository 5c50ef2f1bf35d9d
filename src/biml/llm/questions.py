"""Questions to a language model about the queries of episodes, and their records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from biml.episodes.episode import EXAMPLE_SEP, Episode, Example
from biml.episodes.episode_type import FEW_SHOT
from biml.episodes.registry import EPISODE_TYPES
from biml.episodes.transforms import original_words, undo_remapping
from biml.errors import BimlError
from biml.evaluation.responder import Response
from biml.evaluation.symbolic import episode_grammar
from biml.grammar import GOLD
from biml.llm.log import LOG_PROB, Record
from biml.llm.outcomes import judge
from biml.llm.prompts import Prompt, PromptTemplate
from biml.rng import derive_seed


@dataclass(frozen=True)
class Question:
    """One question about a query of an episode.

    Attributes:
        kind: a key of `log.KINDS`.
        max_length: of the response, in symbols.
        prefix: the beginning of the answer, which is given to the model.
        given: the response whose log-probability is asked.
        sample: its number among those with the same prompt and seed.
    """

    kind: str
    episode: Episode
    query: Example
    prompt: Prompt
    max_length: int
    prefix: str = ""
    given: Response = ()
    sample: int = 0
    seed: int | None = None

    @property
    def request_seed(self) -> int | None:
        """A seed of its own for each sample of each prompt; None for the best answer."""
        if self.seed is None:
            return None
        return derive_seed(self.seed, self.prompt.text, self.prefix, self.sample)

    def record(
        self, template: PromptTemplate, task: str, symbols: Sequence[str], **found: Any
    ) -> Record:
        """The record of this question, judged, with its answer, cost and what else was found."""
        episode, query = self.episode, self.query
        right = right_response(task, episode, query)

        def original(response: Sequence[str]) -> str:
            return " ".join(undo_remapping(episode, response))

        record = Record(
            template=template.name,
            template_hash=template.digest,
            kind=self.kind,
            task=task,
            episode=episode.name,
            item=query.item,
            sample=self.sample,
            study=f" {EXAMPLE_SEP} ".join(e.text for e in episode.study),
            query=" ".join(query.input),
            original_study=f" {EXAMPLE_SEP} ".join(
                Example(original_words(episode, e.input), undo_remapping(episode, e.output)).text
                for e in episode.study
            ),
            original_query=" ".join(original_words(episode, query.input)),
            symbols=" ".join(symbols),
            original_symbols=original(symbols),
            pool=None if episode.pool is None else " ".join(episode.pool),
            max_length=self.max_length,
            marker=template.marker,
            prompt=self.prompt.text,
            prefix=self.prefix,
            response=" ".join(self.given),
            original_response=original(self.given),
            target=None if right is None else " ".join(right),
            original_target=None if right is None else original(right),
            correct=self.given == right if right is not None and self.kind == LOG_PROB else None,
            **found,
        )
        return judge(record)


def right_response(task: str, episode: Episode, query: Example) -> Response | None:
    """The right response to a query, if there is one: people's responses are none."""
    row = EPISODE_TYPES.get(task)
    if row is None or not row.has_human_targets:
        return query.output or None
    if row.evaluation_task != FEW_SHOT:
        return None
    try:
        return episode_grammar(episode, GOLD).interpret(query.input)
    except BimlError:
        return None
