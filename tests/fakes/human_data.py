"""A synthetic data set in the published format, for tests that need no published numbers.

Responses are simulated: few-shot responses by rule-level errors, open-ended and probe responses by
a few strategies that participants use. Items and file names are those of the method.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from random import Random

from biml.episodes.episode import Episode, Example
from biml.episodes.sampling import sample_episode
from biml.episodes.text_format import format_episode
from biml.grammar import GOLD, Grammar, MetaGrammar
from biml.grammar.meta_grammar import GOLD_QUERIES, GOLD_STUDY
from biml.grammar.perturbations import SlipRates, sample_perturbed_grammar
from biml.rng import generator

N_PARTICIPANTS = 29
N_RESPONSES = (22, 22, 25, 24, 24, 20, 20, 20, 20, 20)
N_PROBE_RESPONSES = 22
N_FOLDS = 5
WORDS = ("dax", "lug", "wif", "zup", "fep", "blicket", "kiki", "tufa", "gazzer")
COLOURS = tuple(
    f"color:#{c};" for c in ("0000ff", "00b0b3", "33cc33", "b7b600", "ce9fcf", "ff0000")
)
# Queries of the open-ended task, by the numbers of a participant's words.
OPEN_ENDED_QUERIES = ("0", "10", "02", "00", "034", "030", "430")
PROBES = {
    **{f"ME_{n}ex_{pool}pool": (n, "c1", f"p{n + 1}", pool) for n in (1, 2, 3) for pool in (2, 6)},
    "concat_11_testp1p2": (2, "", "p1 p2", 2),
    "concat_11_testp2p1p1": (2, "", "p2 p1 p1", 2),
    "concat_32": (2, "long", "p1 p2", 2),
    "default_testp1p3": (2, "", "p1 p3", 2),
    "default_testp1p3p2": (2, "", "p1 p3 p2", 2),
    "default_testp3": (2, "", "p3", 2),
}


def published_folder() -> Path:
    """Where the published data are, if they are there."""
    named = os.environ.get("BIML_SHARED")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared"


def write_human_data(folder: Path) -> None:
    """Write `data_human` and `data_algebraic_sample` as the publisher lays them out."""
    _write_few_shot(folder / "data_human" / "few_shot")
    _write_open_ended(folder / "data_human")
    _write_probes(folder / "data_human" / "data_behavior_probes" / "val")
    for part, count in (("train", 60), ("val", 20)):
        for number in range(count):
            episode = sample_episode(MetaGrammar(), generator(0, "synthetic", part, number))
            _write(folder / "data_algebraic_sample" / part / f"{number + 1:06d}.txt", episode)


def _write_few_shot(folder: Path) -> None:
    study = tuple(_example(words, GOLD) for words in GOLD_STUDY)
    queries = tuple(_example(words, GOLD) for words in GOLD_QUERIES)
    _write(folder / "val_gold" / "mini_scan.txt", Episode(study, queries, GOLD))
    for number, words in enumerate(GOLD_QUERIES):
        rng = Random(number)
        responses = [_few_shot_response(words.split(), rng) for _ in range(N_RESPONSES[number])]
        if number in (5, 6):
            responses[-1] = ("undefined_action", *responses[-1][1:])
        queries = tuple(Example(tuple(words.split()), response) for response in responses)
        _write(folder / "val_behavior" / f"{number:02d}.txt", Episode(study, queries))


def _few_shot_response(words: Sequence[str], rng: Random) -> tuple[str, ...]:
    variants = SlipRates(0.1, 0.2).rule_variants(GOLD, GOLD.symbols)
    return (sample_perturbed_grammar(variants, rng) or GOLD).interpret(words)


def _write_open_ended(folder: Path) -> None:
    everyone = [_participant(number) for number in range(N_PARTICIPANTS)]
    mock = _participant(N_PARTICIPANTS)
    for name, held_out in [("all", None), *((f"cross{k + 1}", k) for k in range(N_FOLDS))]:
        task = folder / f"open_ended_{name}"
        _write(task / "mock" / "000000.txt", mock)
        for number, episode in enumerate(everyone):
            in_fold = held_out is not None and number % N_FOLDS == held_out
            parts = ("train", "val") if held_out is None else ("val",) if in_fold else ("train",)
            for part in parts:
                _write(task / part / f"{number:02d}.txt", episode)


def _participant(number: int) -> Episode:
    rng = Random(1000 + number)
    words, colours = rng.sample(WORDS, 5), rng.sample(COLOURS, 5)
    lengths = [1] * 5 if number % 3 else [rng.randint(1, 3) for _ in words]
    meanings = [(colour,) * n for colour, n in zip(colours, lengths, strict=True)]
    queries = []
    for numbers in OPEN_ENDED_QUERIES:
        output = [symbol for digit in numbers for symbol in meanings[int(digit)]]
        if number % 4 == 3:
            output = output[::-1]
        if number == 7:
            output = (output * 14)[:14]
        queries.append(Example(tuple(words[int(digit)] for digit in numbers), tuple(output)))
    return Episode((), tuple(queries))


def _write_probes(folder: Path) -> None:
    for name, (n_study, kind, query, n_pool) in PROBES.items():
        rng = Random(name)
        pool = tuple(f"c{number + 1}" for number in range(n_pool))
        study = tuple(
            Example(
                (f"p{i + 1}",), ("c1",) if kind == "c1" else (f"c{i + 1}",) * (3 - i if kind else 1)
            )
            for i in range(n_study)
        )
        meanings = {example.input[0]: example.output for example in study}
        queries = []
        for _ in range(N_PROBE_RESPONSES):
            unused = [c for c in pool if (c,) not in meanings.values()] or list(pool)
            known = {word: meanings.get(word, (rng.choice(unused),)) for word in query.split()}
            output = tuple(symbol for word in query.split() for symbol in known[word])
            if rng.random() < 0.2:
                output = tuple(rng.choice(pool) for _ in output)
            queries.append(Example(tuple(query.split()), output))
        _write(folder / f"{name}.txt", Episode(study, tuple(queries), pool=pool))


def _example(words: str, grammar: Grammar) -> Example:
    return Example(tuple(words.split()), grammar.interpret(words.split()))


def _write(path: Path, episode: Episode) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(format_episode(episode), "utf-8")
