"""Answers to all queries of an evaluation, in the ways that the command line offers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from biml.episodes.episode import Episode, Example
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Response, Responder
from biml.rng import derive_seed

EPISODES_PER_CHUNK = 50
"""Episodes that are answered between two reports of progress."""

CountCallback = Callable[[int], None]
"""Called with the number of episodes answered so far."""


def no_progress(done: int) -> None:
    """Progress that nobody watches."""


def max_response_length(episodes: Iterable[Episode]) -> int:
    """Symbols that an answer may have: 10 as published, or as many as a longer one has.

    Longer may be a right answer, by the grammar of its episode, and one that the episode holds.
    """
    lengths = [
        len(answer)
        for episode in episodes
        for query in episode.queries
        for answer in (query.output, *_grammar_response(episode, query.input))
    ]
    return max([DEFAULT_MAX_LENGTH, *lengths])


def _grammar_response(episode: Episode, words: tuple[str, ...]) -> list[Response]:
    return [episode.grammar.interpret(words)] if episode.grammar else []


def greedy_responses(
    responder: Responder,
    episodes: Sequence[Episode],
    max_length: int,
    *,
    progress: CountCallback = no_progress,
) -> list[list[Response]]:
    """The responder's best answer to each query of each episode."""
    answers: list[list[Response]] = []
    for start in range(0, len(episodes), EPISODES_PER_CHUNK):
        answers += responder.respond(episodes[start : start + EPISODES_PER_CHUNK], max_length)
        progress(len(answers))
    return answers


def sampled_responses(
    responder: Responder,
    episodes: Sequence[Episode],
    max_length: int,
    *,
    seed: int,
    progress: CountCallback = no_progress,
) -> list[list[Response]]:
    """One drawn answer to each query of each episode; the same for the same seed."""
    answers: list[list[Response]] = []
    for start in range(0, len(episodes), EPISODES_PER_CHUNK):
        some = episodes[start : start + EPISODES_PER_CHUNK]
        several = responder.sample(some, seed=derive_seed(seed, start), max_length=max_length)
        answers += [[one for (one,) in of_episode] for of_episode in several]
        progress(len(answers))
    return answers


def sample_autoregressively(
    responder: Responder,
    episodes: Sequence[Episode],
    max_length: int,
    *,
    seed: int,
    progress: CountCallback = no_progress,
) -> list[list[Response]]:
    """Drawn answers to queries in turn, each pair becoming a study example for the next.

    So the open-ended task is answered from nothing (paper, Methods): targets are not looked at.
    """
    answers: list[list[Response]] = [[] for _ in episodes]
    study = [list(episode.study) for episode in episodes]
    for turn in range(max((len(episode.queries) for episode in episodes), default=0)):
        asking = [n for n, episode in enumerate(episodes) if turn < len(episode.queries)]
        asked = [
            replace(
                episodes[n], study=tuple(study[n]), queries=episodes[n].queries[turn : turn + 1]
            )
            for n in asking
        ]
        turn_seed = derive_seed(seed, "turn", turn)
        several = responder.sample(asked, seed=turn_seed, max_length=max_length)
        for n, episode, ((answer,),) in zip(asking, asked, several, strict=True):
            answers[n].append(answer)
            study[n].append(Example(episode.queries[0].input, answer))
        progress(turn + 1)
    return answers


def max_target_length(episodes: Iterable[Episode]) -> tuple[int, str]:
    """How many symbols the longest target has, and the name of its episode."""
    targets = ((len(q.output), e.name) for e in episodes for q in e.queries)
    return max(targets, default=(0, ""))
