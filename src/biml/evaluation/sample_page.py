"""Samples of a model beside human responses, item by item, as one self-contained HTML page."""

from collections import Counter
from dataclasses import dataclass, replace
from html import escape

from biml.episodes.datasets import EvaluationSet
from biml.episodes.palette import CSS, Palette
from biml.episodes.transforms import undo_remapping
from biml.errors import UsageError
from biml.evaluation.intervals import wilson_interval
from biml.evaluation.responder import DEFAULT_MAX_LENGTH, Responder, Response
from biml.progress import Progress, no_progress
from biml.rng import derive_seed
from biml.vocabulary import UNDEFINED

SAMPLES_PER_RESPONSE = 10
"""Samples per human response, as published."""

_SAMPLES_PER_CHUNK = 250
"""Responses sampled between two reports of progress."""


@dataclass(frozen=True)
class SampledItem:
    """One query with the counts of responses, in original names; `pool` is empty if unlimited."""

    study: tuple[tuple[Response, Response], ...]
    words: tuple[str, ...]
    human_counts: Counter[Response]
    model_counts: Counter[Response]
    pool: Response = ()


def sample_items(
    responder: Responder,
    evaluation: EvaluationSet,
    *,
    seed: int,
    samples_per_response: int = SAMPLES_PER_RESPONSE,
    p_lapse: float = 0.0,
    max_length: int = DEFAULT_MAX_LENGTH,
    progress: Progress = no_progress,
) -> list[SampledItem]:
    """Sample responses to each item, each with a random order and remapping of its own.

    The episodes must have one query each, with human responses as targets.
    """
    episodes = evaluation.episodes
    if evaluation.autoregressive or any(len({q.input for q in e.queries}) != 1 for e in episodes):
        raise UsageError(
            "samples are shown beside human responses where each file has one query, "
            "as those of few_shot_human have"
        )
    n_samples = [samples_per_response * len(episode.queries) for episode in episodes]
    # Presenting all human responses for each sample would take as long as sampling.
    once = replace(evaluation, episodes=tuple(replace(e, queries=e.queries[:1]) for e in episodes))
    presented = [
        (item, replace(episode, queries=episode.queries[:1]))
        for repeat in range(max(n_samples, default=0))
        for item, episode in enumerate(once.repeat(repeat))
        if repeat < n_samples[item]
    ]
    model: list[Counter[Response]] = [Counter() for _ in episodes]
    for start in range(0, len(presented), _SAMPLES_PER_CHUNK):
        chunk = presented[start : start + _SAMPLES_PER_CHUNK]
        sampled = responder.sample(
            [episode for _, episode in chunk],
            seed=derive_seed(seed, "page", start),
            max_length=max_length,
            p_lapse=p_lapse,
        )
        for (item, episode), ((response,),) in zip(chunk, sampled, strict=True):
            model[item][undo_remapping(episode, response)] += 1
        progress(start + len(chunk), len(presented), stage="sampling", unit="responses")
    return [
        SampledItem(
            tuple((example.input, example.output) for example in episode.study),
            episode.queries[0].input,
            Counter(query.output for query in episode.queries),
            model_counts,
            episode.pool or (),
        )
        for episode, model_counts in zip(episodes, model, strict=True)
    ]


def samples_html(items: list[SampledItem], title: str) -> str:
    """Render the items; study examples stand beside them all or, where they differ, below each."""
    used = [symbols for item in items for symbols in (*(s for _, s in item.study), item.pool)]
    own = sorted({symbol for symbols in used for symbol in symbols})
    palette = Palette.for_symbols([UNDEFINED], own)
    shared = len({frozenset(item.study) for item in items}) == 1
    aside = rows = ""
    if shared:
        aside = f"<aside><h2>Study examples</h2>{_study_html(items[0], palette)}</aside>"
    for item in items:
        pool = f'<div class="pool">from {palette.html(item.pool)}</div>' if item.pool else ""
        rows += (
            f'<tr><th scope="row">{escape(" ".join(item.words))}'
            f"{'' if shared else _study_html(item, palette)}{pool}"
            f"<td>{_responses_html(item.human_counts, palette)}"
            f"<td>{_responses_html(item.model_counts, palette)}"
        )
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_PAGE_CSS}{CSS}{palette.css}</style><h1>{escape(title)}</h1>"
        f"<main>{aside}"
        '<table><thead><tr><th scope="col">query<th scope="col">people'
        f'<th scope="col">model<tbody>{rows}</table></main></html>\n'
    )


_PAGE_CSS = """
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


def _study_html(item: SampledItem, palette: Palette) -> str:
    rows = "".join(
        f"<tr><td>{escape(' '.join(words))}<td>{palette.html(symbols)}"
        for words, symbols in item.study
    )
    return f"<table>{rows}</table>"


def _responses_html(counts: Counter[Response], palette: Palette) -> str:
    total = counts.total()
    return "".join(
        f'<div>{palette.html(response)}<span class="n" title="95%: {low:.1f} to {high:.1f}">'
        f"{n} ({100 * n / total:.1f}%)</span></div>"
        for response, n in counts.most_common()
        for low, high in [wilson_interval(n / total, total)]
    )
