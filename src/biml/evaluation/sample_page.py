"""Drawn answers to the human few-shot task beside people's, as one page that opens from disk."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape

from biml.episodes.circles import STYLE, Palette
from biml.episodes.episode import Episode
from biml.episodes.present import EvaluationEpisodes
from biml.episodes.transforms import UNDEFINED, unmap_symbols
from biml.errors import UsageError
from biml.evaluation.responder import MAX_LENGTH, Answer, Responder
from biml.rng import derive_seed

TIMES = 10
"""Drawn answers for each of a person's, as published."""

_TOGETHER = 250
"""Answers drawn between two reports of progress."""


@dataclass(frozen=True)
class Item:
    """One query of the task, in canonical names.

    Attributes:
        study: the study examples, as (words, symbols).
        words: the query.
        people: people's answers and how often each came.
        model: drawn answers and how often each came.
        pool: the symbols that an answer may use; empty if any.
    """

    study: tuple[tuple[Answer, Answer], ...]
    words: tuple[str, ...]
    people: Counter[Answer]
    model: Counter[Answer]
    pool: Answer = ()


def draw_items(
    responder: Responder,
    evaluation: EvaluationEpisodes,
    *,
    seed: int,
    times: int = TIMES,
    max_length: int = MAX_LENGTH,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Item]:
    """Drawn answers to each item, `times` as many as people gave, each under its own renaming.

    Args:
        evaluation: episodes of one query each, with people's answers to it as targets.
        progress: called with the number of answers drawn so far.
    Raises:
        UsageError: the episodes are of another kind.
    """
    episodes = evaluation.episodes
    if evaluation.by_name or any(len({q.words for q in e.queries}) != 1 for e in episodes):
        raise UsageError(
            "drawn answers are shown beside people's where each file has one query, "
            "as those of few_shot_human have"
        )
    wanted = [times * len(episode.queries) for episode in episodes]
    # Presenting all of people's answers for each drawn one would take as long as drawing.
    once = replace(evaluation, episodes=tuple(replace(e, queries=e.queries[:1]) for e in episodes))
    asked = [
        (item, replace(episode, queries=episode.queries[:1]))
        for repeat in range(max(wanted, default=0))
        for item, episode in enumerate(once.presented(repeat))
        if repeat < wanted[item]
    ]
    model: list[Counter[Answer]] = [Counter() for _ in episodes]
    for start in range(0, len(asked), _TOGETHER):
        some = asked[start : start + _TOGETHER]
        drawn = responder.sample(
            [episode for _, episode in some],
            seed=derive_seed(seed, "page", start),
            max_length=max_length,
        )
        for (item, episode), ((answer,),) in zip(some, drawn, strict=True):
            model[item][unmap_symbols(episode, answer)] += 1
        progress(start + len(some))
    return [_item(episode, model[number]) for number, episode in enumerate(episodes)]


def _item(episode: Episode, model: Counter[Answer]) -> Item:
    return Item(
        tuple((example.words, example.symbols) for example in episode.study),
        episode.queries[0].words,
        Counter(query.symbols for query in episode.queries),
        model,
        episode.pool or (),
    )


def page(items: list[Item], title: str) -> str:
    """The items as HTML that needs nothing else; all text from files is escaped.

    The study examples stand beside them all, or where they differ below each query.
    """
    shown = [symbols for item in items for symbols in (*(s for _, s in item.study), item.pool)]
    own = sorted({symbol for symbols in shown for symbol in symbols})
    palette = Palette.of([UNDEFINED], own)
    shared = len({frozenset(item.study) for item in items}) == 1
    aside = f"<aside><h2>Study examples</h2>{_study(items[0], palette)}</aside>" if shared else ""
    rows = "".join(
        f'<tr><th scope="row">{escape(" ".join(item.words))}'
        f"{'' if shared else _study(item, palette)}{_pool(item, palette)}"
        f"<td>{_answers(item.people, palette)}<td>{_answers(item.model, palette)}"
        for item in items
    )
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}{STYLE}{palette.style}</style><h1>{escape(title)}</h1>"
        f"<main>{aside}"
        '<table><thead><tr><th scope="col">query<th scope="col">people'
        f'<th scope="col">model<tbody>{rows}</table></main></html>\n'
    )


_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem }
main { display: flex; flex-wrap: wrap; gap: 2rem; align-items: flex-start }
table { border-collapse: collapse } th, td { padding: .3rem .8rem; vertical-align: top }
th { text-align: left; font-weight: 600 } tbody th { max-width: 12rem }
th table { font-weight: 400 } th table tr { border: 0 } th td { padding: .1rem .8rem .1rem 0 }
tbody tr { border-top: 1px solid #8884 }
aside { position: sticky; top: 1rem } h2 { margin: 0 0 .3rem; font-size: 1rem }
@media (max-width: 55rem) { aside { position: static } }
@media (max-width: 40rem) {
  body { margin: 1rem } main > table { display: block; overflow-x: auto; max-width: 100% }
}
.pool { font-weight: 400; white-space: nowrap }
.n { opacity: .75; margin-left: .5rem }
"""


def _study(item: Item, palette: Palette) -> str:
    rows = "".join(
        f"<tr><td>{escape(' '.join(words))}<td>{palette.html(symbols)}"
        for words, symbols in item.study
    )
    return f"<table>{rows}</table>"


def _pool(item: Item, palette: Palette) -> str:
    return f'<div class="pool">from {palette.html(item.pool)}</div>' if item.pool else ""


def _answers(answers: Counter[Answer], palette: Palette) -> str:
    total = answers.total()
    return "".join(
        f'<div>{palette.html(answer)}<span class="n">{n} ({100 * n / total:.1f}%)</span></div>'
        for answer, n in answers.most_common()
    )
