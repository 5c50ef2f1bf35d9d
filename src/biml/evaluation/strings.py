"""Answers to any strings over one study set, under many remappings, and whether they are readings.

The words and symbols of a study set are arbitrary: a systematic learner gives a string the same
answer under all their names and all orders of the study examples. An answer is the *gold* reading
(that of the study set's own grammar; where that gives none, the most probable one), an *other*
reading, which the study examples also allow, or *none*, which contradicts them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from biml.arguments import python_api
from biml.episodes.episode import Episode, Example
from biml.episodes.episode_type import gold_episode
from biml.episodes.registry import has_fixed_names
from biml.episodes.transforms import primitive_meanings, rename, symbols_used, undo_remapping
from biml.errors import UsageError, check_extra, did_you_mean
from biml.evaluation.api import Model
from biml.evaluation.consistent_grammars import Symbols, Words
from biml.evaluation.intervals import RESAMPLES, mean_interval, wilson_interval
from biml.evaluation.network import NetworkResponder
from biml.evaluation.readings import Readings, find_readings
from biml.evaluation.responder import DEFAULT_MAX_LENGTH
from biml.grammar.meta_grammar import COLOURS, WORDS
from biml.rng import generator

check_extra("analysis", "tables of answers need", "pandas")

import pandas as pd  # noqa: E402

GOLD, OTHER, NONE = "gold", "other", "none"
"""What an answer is."""

N_REMAPPINGS = 60
"""Remappings by default: ten for each of six colours of the held-out word."""

MAX_WORDS = 100
"""Of a query."""

MAX_SCORED_READINGS = 20
"""The most probable readings of a string whose probability is computed."""

SECONDS = 30.0
"""Time limit of the search for the readings of one string."""

COLUMNS = (
    *("kind", "query", "remapping", "word", "symbol", "response", "answer"),
    *("p_gold", "p_readings"),
)
"""Of the table of answers."""

SUITE = {
    "longer": (
        "DAX after 1 after 2 after 3",
        "2 after DAX after 3 surround 1",
        "3 after 2 surround DAX after 1",
        "1 surround DAX after 2 after 3 thrice",
        "2 surround DAX after 1 thrice after 3",
        "DAX thrice after 1 surround 2 after 3",
        "1 2 3 DAX after 3 2 after DAX thrice",
        "2 after 3 surround DAX after 1 thrice after DAX",
        "DAX surround 1 after 2 thrice after 3 surround DAX",
    ),
    "two functions in a row": (
        "DAX thrice thrice",
        "DAX thrice surround 2",
        "DAX surround 2 thrice",
        "1 surround DAX thrice",
        "DAX surround 1 surround 2",
        "1 surround DAX surround 1",
        "DAX after 1 after 2",
        "2 after DAX after 1",
    ),
    "repetition": tuple(" ".join([word] * n) for word in ("DAX", "2") for n in range(2, 9)),
    "phrases as arguments": (
        "3 DAX thrice",
        "DAX 3 thrice",
        "2 after 3 DAX thrice",
        "1 DAX 2 thrice",
        "DAX 2 after 3",
        "3 after DAX 2",
        "DAX 1 after 2 3",
        "1 2 surround DAX",
        "DAX surround 1 2",
        "1 DAX surround 2 3",
    ),
}
"""The suite `systematicity`: strings over the study examples of the gold episode, by kind."""


@dataclass(frozen=True)
class AskedString:
    """A string with its readings.

    Attributes:
        kind: a group of strings; empty for a query of the user.
        gold: the gold reading; None for a string without any reading.
    """

    words: Words
    kind: str
    readings: Readings
    gold: Symbols | None

    @property
    def scored(self) -> list[Symbols]:
        """The outputs whose probability is computed: the gold one first."""
        outputs = [reading.output for reading in self.readings.readings[:MAX_SCORED_READINGS]]
        return list(dict.fromkeys([self.gold, *outputs])) if self.gold else outputs

    def classify(self, response: Symbols) -> str:
        """What an answer in the study set's own names is."""
        if response == self.gold:
            return GOLD
        return OTHER if any(r.output == response for r in self.readings.readings) else NONE


def suite_strings() -> tuple[AskedString, ...]:
    """The strings of the suite with their readings, in some seconds."""
    queries = [(kind, tuple(text.split())) for kind, texts in SUITE.items() for text in texts]
    return read_strings(gold_episode(), queries)


@python_api
def read_strings(
    study: Episode, queries: Sequence[tuple[str, Words]], seconds: float = SECONDS
) -> tuple[AskedString, ...]:
    """Find the readings of strings, given as kind and words.

    Args:
        study: its study examples, and its grammar if it is known.
        seconds: time limit for each string; see `Readings.complete`.

    Raises:
        UsageError: words that no study example has; all of them are named.
    """
    check_words(study.study, [words for _, words in queries])
    for _, words in queries:
        if len(words) > MAX_WORDS:
            problem = f"has {len(words)} words; give at most {MAX_WORDS}"
            raise UsageError(f"the query {' '.join(words[:5])} … {problem}")
    own_symbols = set(symbols_used(replace(study, queries=()))[1])
    found = []
    for kind, words in queries:
        readings = find_readings(study.study, words, seconds=seconds)
        outputs = [reading.output for reading in readings.readings]
        of_grammar = study.grammar.interpret(words) if study.grammar else ()
        defined = bool(of_grammar) and own_symbols.issuperset(of_grammar)
        gold = of_grammar if defined else next(iter(outputs), None)
        found.append(AskedString(words, kind, readings, gold))
    return tuple(found)


def check_words(study: Sequence[Example], queries: Sequence[Words]) -> None:
    """Raise a UsageError that names all words of queries that no study example has."""
    known = {word for example in study for word in example.input}
    problems = []
    for words in dict.fromkeys(queries):
        for word in dict.fromkeys(word for word in words if word not in known):
            hint = did_you_mean(word, known)
            problem = f"{' '.join(words)!r}: no study example has the word {word!r}"
            problems.append(f"{problem} ({hint})" if hint else problem)
    if problems:
        raise UsageError(f"{'; '.join(problems)}. Study examples have: {' '.join(sorted(known))}")


def held_out_word(study: Sequence[Example]) -> str:
    """The word that is shown alone and nowhere else, as the primitive of the gold queries.

    The first of several; without one the first word that is shown alone, or "".

    >>> held_out_word(gold_episode().study)
    'DAX'
    """
    alone = primitive_meanings(study)
    elsewhere = {word for example in study if len(example.input) > 1 for word in example.input}
    return next((word for word in alone if word not in elsewhere), next(iter(alone), ""))


def remapped(
    model: Model, study: Episode, strings: Sequence[AskedString], n: int | None, seed: int
) -> Iterator[Episode]:
    """Yield the study set with these queries under `n` remappings, study examples shuffled.

    The names of the held-out word and of its symbol go through all pairs, evenly; those of the
    others are random. Without `n` there is one remapping for each pair.
    """
    queries = tuple(Example(string.words, ()) for string in strings)
    episode = replace(study, queries=queries, pool=None)
    words, symbols = symbols_used(episode)
    own = isinstance(model.responder, NetworkResponder)
    names = (model.words, model.symbols) if own else (WORDS, COLOURS)
    fixed = has_fixed_names(model.episode_type)
    for kind, used, free in zip(("words", "symbols"), (words, symbols), names, strict=True):
        if len(used) > len(free) or fixed:
            raise UsageError(
                f"{model.name} has {len(free)} {kind}, {' '.join(free)}, "
                + ("of fixed meanings" if fixed else "too few to rename")
                + f" the study set's {len(used)}"
            )
    held_out = held_out_word(study.study)
    symbol = primitive_meanings(study.study).get(held_out, symbols[0])
    for i in range(len(names[0]) * len(names[1]) if n is None else n):
        rng = generator(seed, "remapping of strings", i)
        turn, number = divmod(i, len(names[1]))
        maps: list[dict[str, str]] = []
        firsts = (names[0][(turn + number) % len(names[0])], names[1][number])
        for mine, first, free, name in zip(
            (words, symbols), (held_out, symbol), names, firsts, strict=True
        ):
            rest = [one for one in mine if one != first]
            others = rng.sample([one for one in free if one != name], len(rest))
            maps.append(dict(zip(rest, others, strict=True)) | ({first: name} if first else {}))
        shuffled = tuple(rng.sample(episode.study, len(episode.study)))
        yield rename(replace(episode, study=shuffled), *maps)


@python_api
def ask(
    model: Model,
    study: Episode,
    strings: Sequence[AskedString],
    n_remappings: int | None = N_REMAPPINGS,
    seed: int = 0,
) -> pd.DataFrame:
    """Query a model with strings: a row for each string and remapping.

    Columns: `kind`, `query`, `remapping` (its number), `word` and `symbol` (the names of the
    held-out word and its symbol), `response` in the study set's own names, `answer` (what it is),
    `p_gold` and `p_readings`, the model's probability of the gold reading and of all readings (NaN
    for a language model whose server gives none).

    Args:
        n_remappings: None for every pair of a word and a symbol.

    Raises:
        UsageError: the model does not learn from study examples, or has too few names.
    """
    if (grammar := study.grammar) and hasattr(model.responder, "grammar"):
        # Not those that have no output under the rules that the model is given.
        own = set(grammar.symbols)
        strings = [one for one in strings if own.issuperset(grammar.interpret(one.words))]
    longest = max([len(r.output) for s in strings for r in s.readings.readings], default=0)
    episodes = list(remapped(model, study, strings, n_remappings, seed))
    responses = model.respond(episodes, max_length=max(longest + 1, DEFAULT_MAX_LENGTH))
    outputs = [string.scored for string in strings]
    scores = not getattr(model.responder, "why_no_log_probs", "")
    scored = []
    for episode in episodes:
        assert episode.remapping is not None
        to = episode.remapping.symbols
        queries = [
            query._replace(output=tuple(to[symbol] for symbol in output))
            for query, several in zip(episode.queries, outputs, strict=True)
            for output in several
        ]
        scored.append(replace(episode, queries=tuple(queries)))
    log_probs = model.log_prob(scored) if scores else None
    held_out = held_out_word(study.study)
    symbol = primitive_meanings(study.study).get(held_out, "")
    rows = []
    for number, episode in enumerate(episodes):
        assert episode.remapping is not None
        of_episode = log_probs[number] if log_probs else [np.nan] * len(scored[number].queries)
        probabilities = iter([float(np.exp(np.sum(one))) for one in of_episode])
        for string, response, several in zip(strings, responses[number], outputs, strict=True):
            response = undo_remapping(episode, response)
            p = {output: next(probabilities) for output in several}
            rows.append(
                {
                    "kind": string.kind,
                    "query": " ".join(string.words),
                    "remapping": number,
                    "word": episode.remapping.words.get(held_out, ""),
                    "symbol": episode.remapping.symbols.get(symbol, ""),
                    "response": " ".join(response),
                    "answer": string.classify(response),
                    "p_gold": p.get(string.gold, 0.0) if string.gold else 0.0,
                    "p_readings": sum(p.values()),
                }
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def summarise(answers: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Statistics of groups of answers, in percent, with 95% intervals over remappings.

    The intervals are in `…_low` and `…_high`. `readings` (gold or other) and `gold`; `probability`,
    the mean probability that the model gives to readings; `spread`, the range of `readings` over
    the symbols of the held-out word; `variation`, the answers that differ from the most frequent
    one to their string. A systematic learner has a spread and a variation of zero.
    """
    keys = [name for name in ("model", "query") if name in answers]
    grouped = answers.groupby(keys)["response"]
    most_frequent = grouped.transform(lambda each: each.value_counts().index[0])
    frame = answers.assign(
        readings=100.0 * (answers["answer"] != NONE),
        gold=100.0 * (answers["answer"] == GOLD),
        variation=100.0 * (answers["response"] != most_frequent),
        probability=100 * answers["p_readings"],
    )
    rows = [
        {
            **dict(zip(by, key, strict=True)),
            "strings": group["query"].nunique(),
            "n": len(group),
            **_mean_with_interval(group, "readings"),
            **_mean_with_interval(group, "gold"),
            **_mean_with_interval(group, "probability", is_share=False),
            **_spread_with_interval(group),
            **_mean_with_interval(group, "variation"),
        }
        for key, group in frame.groupby(list(by), sort=False)
    ]
    return pd.DataFrame(rows)


def _mean_with_interval(
    group: pd.DataFrame, name: str, *, is_share: bool = True
) -> dict[str, float]:
    """A mean percentage, which may be a share of answers; remappings are its interval's units."""
    means = group.groupby("remapping")[name].mean()
    mean, n = float(group[name].mean()), len(means)
    if is_share and group["query"].nunique() == 1:
        low, high = wilson_interval(mean / 100, n)
    else:
        low, high = mean_interval(mean, float(means.std()), n)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _spread_with_interval(group: pd.DataFrame) -> dict[str, float]:
    """The range of readings over symbols; basic bootstrap of the remappings to each symbol.

    The interval is missing (NaN) where a symbol has one remapping.
    """
    means = group.groupby(["symbol", "remapping"])["readings"].mean()
    by_symbol = [of_one.to_numpy(float) for _, of_one in means.groupby(level="symbol")]
    spread = float(np.ptp([values.mean() for values in by_symbol]))
    low = high = float("nan")
    if min(map(len, by_symbol)) > 1:
        rng = np.random.default_rng(0)
        drawn = [rng.choice(values, (RESAMPLES, len(values))).mean(axis=1) for values in by_symbol]
        # Resamples spread more than what they are drawn from: the reflected percentiles.
        ends = 2 * spread - np.quantile(np.ptp(drawn, axis=0), [0.975, 0.025])
        low, high = np.clip(ends, 0, 100).tolist()
    return {"spread": spread, "spread_low": low, "spread_high": high}


def answer_counts(answers: pd.DataFrame, string: AskedString) -> list[Mapping[str, object]]:
    """The different answers to one string, the most frequent first, with their shares in percent.

    `probability` is that of a reading given the study examples; 0 for no reading.
    """
    posterior = {r.output: r.probability for r in string.readings.readings}
    of_query = answers.loc[answers["query"] == " ".join(string.words), "response"]
    rows: list[Mapping[str, object]] = []
    for response, count in of_query.value_counts().items():
        symbols = tuple(str(response).split())
        low, high = wilson_interval(count / len(of_query), len(of_query))
        what = {"answer": string.classify(symbols), "probability": posterior.get(symbols, 0.0)}
        share = {"n": int(count), "percent": 100 * count / len(of_query), "low": low, "high": high}
        rows.append({"response": str(response), **what, **share})
    return rows
