"""`biml ask`: models' answers to any strings, under many remappings of one study set."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from biml.cli import add_data_dir, add_dir_model, count, find_model
from biml.errors import UsageError, check_extra
from biml.io import check_creatable, read_text, write_file
from biml.progress import progress_bars

if TYPE_CHECKING:
    import pandas as pd

    from biml.episodes.episode import Episode
    from biml.evaluation.api import Model
    from biml.evaluation.strings import AskedString

GOLD_STUDY, SUITE_NAME = "gold", "systematicity"

FIGURE_SUFFIXES = (".png", ".svg")
OUT_SUFFIXES = (".json", ".csv", *FIGURE_SUFFIXES)

ALL_REMAPPINGS = "all"

WIDE = 120
"""Columns of a terminal that has room for an interval beside each figure, not below it."""

_LEGEND = (
    "In percent, with 95% intervals. readings: answers that the study examples allow; gold: by the "
    "study set's own rules (else the most probable reading); mass: probability that the model "
    "gives to readings; spread: range of readings over symbols of the held-out word; variation: "
    "answers that differ from the most frequent one to the string."
)


def configure(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    help = (
        "an episode file, whose study examples are shown (and whose grammar, where it has "
        f"one, gives the gold readings); {GOLD_STUDY}, the default, is the human few-shot task"
    )
    option("--study", default=GOLD_STUDY, metavar="FILE", help=help)
    help = "a query, such as '2 after 3 DAX thrice'; may be repeated"
    option("--query", action="append", default=[], metavar="WORDS", help=help)
    option(
        "--queries", type=Path, metavar="FILE", help="one query per line; # begins a comment line"
    )
    option(
        "--suite",
        choices=(SUITE_NAME,),
        help="strings over the gold study examples, by kind: longer compositions than studied, two "
        "functions in a row, repetition, phrases as arguments",
    )
    help = (
        "model files or names, symbolic models such as oracle, or language models "
        "such as hf:NAME (default: net-BIML-top)"
    )
    option("--model", nargs="+", default=["net-BIML-top"], metavar="NAME", help=help)
    help = "prompts of language models: plain (the default), chat, rules-first, or your template"
    option("--prompt", metavar="NAME", help=help)
    help = (
        "number of remappings, each with another order of study examples; "
        f"{ALL_REMAPPINGS}: one for each name of the held-out word and of its symbol (default: 60)"
    )
    option("--remappings", type=_n_remappings, default=None, metavar="N", help=help)
    option("--seed", type=int, default=0, metavar="N", help="seed of remappings and orders (0)")
    help = "time limit of the search for the readings of a string (%(default)s)"
    option("--seconds", type=float, default=30.0, metavar="S", help=help)
    help = "write everything (.json), a row for each answer (.csv), or a figure (.png, .svg)"
    option("--out", type=Path, nargs="+", default=[], metavar="FILE", help=help)
    add_dir_model(parser)
    add_data_dir(parser)


def _n_remappings(text: str) -> int:
    """The number of remappings; 0 stands for all pairs."""
    if text == ALL_REMAPPINGS:
        return 0
    if not re.fullmatch(r"0*[1-9][0-9]{0,4}", text, re.ASCII):
        wanted = f"a number from 1 to 99,999, or {ALL_REMAPPINGS}"
        raise argparse.ArgumentTypeError(f"give {wanted}, not {text[:80]!r}")
    return int(text)


def run(args: argparse.Namespace) -> None:
    """Print readings and answers of each query; of a suite the figures of each kind."""
    check_extra("analysis", "tables of answers need", "pandas")
    import pandas as pd

    from biml.episodes.data_use import CAVEAT_MARK, caveat
    from biml.episodes.episode_type import SYSTEMATICITY, gold_episode
    from biml.episodes.text_format import read_episode
    from biml.evaluation.api import load
    from biml.evaluation.registry import is_language_model
    from biml.evaluation.strings import N_REMAPPINGS, SUITE, ask, read_strings
    from biml.paths import strip_suffix

    for path in args.out:
        if path.suffix not in OUT_SUFFIXES:
            raise UsageError(f"--out {path}: the name must end with {', '.join(OUT_SUFFIXES)}")
        check_creatable(path)
    if not args.seconds > 0:
        raise UsageError(f"--seconds {args.seconds:g}: give a number above 0")
    if args.suite and args.study != GOLD_STUDY:
        raise UsageError(f"--suite {args.suite} has strings over --study {GOLD_STUDY} only")
    queries = [("", words) for words in _queries(args)]
    if args.suite:
        queries += [(kind, tuple(text.split())) for kind, of in SUITE.items() for text in of]
    if not queries:
        raise UsageError("give --query WORDS, --queries FILE or --suite " + SUITE_NAME)
    is_gold = args.study == GOLD_STUDY
    study = gold_episode() if is_gold else read_episode(args.study, needs_queries=False)
    if not study.study:
        raise UsageError(f"{args.study}: there are no study examples below *SUPPORT*")
    if args.prompt and not any(map(is_language_model, args.model)):
        raise UsageError("--prompt is for language models (--model hf:… or openai:…); leave it out")
    prompt = {"prompt": args.prompt} if args.prompt else {}
    models = [
        load(find_model(name, args), **(prompt if is_language_model(name) else {}))
        for name in dict.fromkeys(args.model)
    ]
    strings = read_strings(study, list(dict.fromkeys(queries)), args.seconds)
    n = N_REMAPPINGS if args.remappings is None else args.remappings or None
    console = Console(highlight=False)
    parts = []
    for model in models:
        answers = _ask(model, lambda model: ask(model, study, strings, n, args.seed))
        answers.insert(0, "model", strip_suffix(model.name))
        parts.append(answers)
        _print_model(console, model, answers, strings, is_gold=is_gold)
        if args.suite and (uses := model.data_use.uses_of_task(SYSTEMATICITY)):
            console.print(f"{CAVEAT_MARK} {caveat(uses)}")
    if any(len(answers) for answers in parts):
        console.print(_LEGEND, style="dim")
    everything = pd.concat(parts, ignore_index=True)
    if args.out and everything.empty:
        raise UsageError("nothing to write: no model has an output for any of the queries")
    for path in args.out:
        _write(path, everything, strings, study, models)
        console.print(f"Written: {path}", markup=False, soft_wrap=True)


def _queries(args: argparse.Namespace) -> list[tuple[str, ...]]:
    """The queries of the command line, then those of the file."""
    lines = list(args.query)
    if args.queries is not None:
        without_notes = (line.partition("#")[0] for line in read_text(args.queries).splitlines())
        lines += [line for line in without_notes if line.strip()]
    queries = [tuple(line.split()) for line in lines]
    if not all(queries):
        raise UsageError("--query has no words")
    if args.queries is not None and not queries:
        raise UsageError(f"{args.queries}: there is no query; write one a line")
    return queries


def _ask(model: "Model", put_questions: "Callable[[Model], pd.DataFrame]") -> "pd.DataFrame":
    """Carry out `put_questions`; of a language model with the cost first, and progress."""
    from biml.llm.estimate import estimate
    from biml.llm.responder import LanguageModel

    language = model.responder
    if not isinstance(language, LanguageModel):
        return put_questions(model)
    cost = estimate(language, lambda dry: put_questions(replace(model, responder=dry)))
    print(f"{model.name}: {cost}", file=sys.stderr)
    with progress_bars(transient=True) as progress:
        return put_questions(replace(model, responder=replace(language, progress=progress)))


def _print_model(
    console: Console,
    model: "Model",
    answers: "pd.DataFrame",
    strings: "Sequence[AskedString]",
    *,
    is_gold: bool,
) -> None:
    from biml.episodes.data_use import caveat
    from biml.episodes.episode_type import FEW_SHOT_GOLD, gold_episode
    from biml.evaluation.strings import summarise
    from biml.paths import strip_suffix

    title = f"{strip_suffix(model.name)} ({model.architecture})"
    title += f", {count(answers['remapping'].nunique(), 'remapping')}"
    if "prompt_hash" in model.info:
        title += f", prompt {model.info['prompt']} {model.info['prompt_hash']}"
    console.print(title, style="bold", markup=False)
    console.print(f"The model was {model.provenance}.", style="dim", markup=False)
    gold = {query.input for query in gold_episode().queries} if is_gold else set()
    if uses := model.data_use.uses_of_task(FEW_SHOT_GOLD):
        for string in (each for each in strings if each.words in gold):
            text = f"{' '.join(string.words)!r} is one of the gold queries. {caveat(uses)}"
            console.print(text, markup=False)
    for string in (each for each in strings if not each.kind):
        _print_string(console, answers, string)
    suite = answers[answers["kind"] != ""]
    if len(suite):
        _print_summary(console, "kind", summarise(suite, ["kind"]))
        _print_summary(console, "query", summarise(suite, ["query"]))


def _print_string(console: Console, answers: "pd.DataFrame", string: "AskedString") -> None:
    """The readings of one query, the answers to it, and what they are by names."""

    from biml.evaluation.strings import answer_counts, summarise

    query = " ".join(string.words)
    of_query = answers[answers["query"] == query]
    found = string.readings
    console.print()
    console.print(Text(query, "bold"))
    if found.complete:
        how = f"{count(found.n_grammars, 'consistent grammar')}, all that there are"
    else:
        how = f"{count(found.n_grammars, 'consistent grammar')}; the time was up, and at most "
        how += f"{100 * found.unsearched:.3g}% of the probability is in others"
    console.print(f"Readings ({how}):", soft_wrap=True)
    for reading in found.readings:
        mark = " (gold)" if reading.output == string.gold else ""
        text = f"  {100 * reading.probability:5.1f}%  {' '.join(reading.output)}{mark}"
        console.print(text, markup=False)
    if not found.readings:
        console.print("  none")
    if not len(of_query):
        console.print("Answers: the rules that this model is given have no output for it.")
        return
    console.print("Answers:")
    for row in answer_counts(of_query, string):
        interval = f"[{row['low']:.0f}, {row['high']:.0f}]"
        text = f"  {row['percent']:5.1f}% {interval:10}  {row['response'] or '(nothing)'}"
        console.print(f"{text}  ({row['answer']})", markup=False)
    for name in ("symbol", "word"):
        _print_summary(console, f"held-out {name}", summarise(of_query, [name]), name)


def _print_summary(
    console: Console, heading: str, frame: "pd.DataFrame", key: str | None = None
) -> None:
    last = ("spread", "variation") if key is None else ()
    between = " " if console.width >= WIDE else "\n"
    table = Table(box=None, pad_edge=False)
    table.add_column(heading, overflow="fold")
    for name in ("n", "readings", "gold", "mass", *last):
        table.add_column(name, justify="right", no_wrap=True)
    for row in frame.to_dict("records"):
        texts = []
        for name in ("readings", "gold", "probability", *last):
            digits = int(name == "probability")  # varies little
            low, high = (f"{row[f'{name}_{end}']:.{digits}f}" for end in ("low", "high"))
            number = f"{row[name]:.1f}{between}[{low}, {high}]"
            texts.append(number.replace(f"{between}[nan, nan]", "").replace("nan", "–"))
        table.add_row(Text(str(row[key or heading])), str(row["n"]), *map(Text, texts))
    console.print(table)


def _write(
    path: Path,
    answers: "pd.DataFrame",
    strings: "Sequence[AskedString]",
    study: "Episode",
    models: "Sequence[Model]",
) -> None:
    writers: dict[str, Callable[[], bytes]] = {
        ".csv": lambda: answers.to_csv(index=False, lineterminator="\n").encode(),
        ".json": lambda: _json(answers, strings, study, models),
    }
    if path.suffix in writers:
        content = writers[path.suffix]()
    else:
        from biml.report.strings_figure import strings_figure

        figure = strings_figure(answers)
        content = figure.png if path.suffix == ".png" else figure.svg
    write_file(path, content)


def _json(
    answers: "pd.DataFrame",
    strings: "Sequence[AskedString]",
    study: "Episode",
    models: "Sequence[Model]",
) -> bytes:
    """Readings, and of each model the answers to each query, by symbol and by word."""
    from biml.evaluation.strings import answer_counts, summarise
    from biml.paths import strip_suffix

    def summary(frame: "pd.DataFrame", by: list[str]) -> Any:
        return json.loads(summarise(frame, by).to_json(orient="records"))

    def about(string: "AskedString") -> dict[str, Any]:
        found = string.readings
        of_query = answers[answers["query"] == " ".join(string.words)]
        readings = [
            {
                "output": " ".join(reading.output),
                "probability": reading.probability,
                "is_gold": reading.output == string.gold,
                "grammar": str(reading.grammar).splitlines(),
            }
            for reading in found.readings
        ]
        return {
            "query": " ".join(string.words),
            "kind": string.kind,
            "readings": readings,
            "n_grammars": found.n_grammars,
            "complete": found.complete,
            "unsearched": found.unsearched,
            "models": {
                str(model): {
                    "answers": answer_counts(group, string),
                    "summary": summary(group, ["query"])[0],
                    "by_symbol": summary(group, ["symbol"]),
                    "by_word": summary(group, ["word"]),
                }
                for model, group in of_query.groupby("model", sort=False)
            },
        }

    content: dict[str, Any] = {
        "study": [[" ".join(e.input), " ".join(e.output)] for e in study.study],
        "remappings": int(answers["remapping"].nunique()),
        "models": {
            strip_suffix(model.name): {"architecture": model.architecture}
            | {name: model.info[name] for name in ("prompt", "prompt_hash") if name in model.info}
            | model.data_use.as_json()
            for model in models
        },
        "queries": [about(string) for string in strings],
    }
    if (answers["kind"] != "").any():
        content["kinds"] = summary(answers[answers["kind"] != ""], ["model", "kind"])
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
