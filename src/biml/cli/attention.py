"""`biml attention`: which study examples a network attends to at each symbol of its response."""

import argparse
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from biml.cli import add_data_dir, add_dir_model
from biml.errors import UsageError, unknown_name
from biml.io import atomic_write, check_creatable

if TYPE_CHECKING:
    from biml.evaluation.trace import Trace

SUFFIXES = (".png", ".svg", ".pdf")


def configure(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    help = "an episode file with study examples; gold, the default, is the human few-shot task"
    option("--study", default="gold", metavar="FILE", help=help)
    option("--query", metavar="WORDS", help="the query (default: the first of the episode)")
    option("--response", metavar="SYMBOLS", help="the response (default: the model's own)")
    help = "a model file or name (default: %(default)s)"
    option("--model", default="net-BIML-top", metavar="NAME", help=help)
    help = (
        "names of attention, such as decoder.1.cross_attention or encoder.0.attention; * stands "
        "for anything (default: %(default)s)"
    )
    option("--name", default="decoder.*.cross_attention", metavar="NAME", help=help)
    option("--head", type=int, nargs="+", metavar="N", help="heads, counted from 0 (default: all)")
    help = "draw each token of the study examples, not their sums"
    option("--tokens", action="store_true", help=help)
    help = "the figure, .png, .svg or .pdf (default: %(default)s)"
    option("--out", type=Path, default=Path("attention.png"), metavar="FILE", help=help)
    add_dir_model(parser)
    add_data_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Print the examples that each symbol attends to most, and write the figure."""
    import matplotlib

    from biml.episodes.episode_type import gold_episode
    from biml.episodes.registry import EPISODE_TYPES
    from biml.episodes.text_format import read_episode
    from biml.evaluation.api import load
    from biml.evaluation.registry import SYMBOLIC, is_language_model
    from biml.evaluation.strings import check_words
    from biml.paths import DataFolders, resolve_model
    from biml.report.attention_figure import attention_figure
    from biml.report.figure_style import STYLE

    if args.out.suffix not in SUFFIXES:
        raise UsageError(f"--out {args.out}: the name must end with {', '.join(SUFFIXES)}")
    check_creatable(args.out)
    if args.model in SYMBOLIC or is_language_model(args.model):
        raise UsageError(f"--model {args.model}: only a network of biml has attention to draw")
    is_gold, has_query = args.study == "gold", args.query is not None
    episode = gold_episode() if is_gold else read_episode(args.study, needs_queries=not has_query)
    query = tuple(args.query.split()) if has_query else episode.queries[0].input
    model = load(resolve_model(args.model, args.dir_model, DataFolders(args.data_dir)))
    response = None if args.response is None else tuple(args.response.split())
    row = EPISODE_TYPES.get(model.episode_type)
    shown = () if row and not row.uses_study else episode.study  # none to basic seq2seq
    if shown:
        check_words(shown, [query])
        known = {symbol for example in shown for symbol in example.output} | {*model.symbols}
        for symbol in response or ():
            if symbol not in known:
                raise unknown_name("symbol", symbol, sorted(known), "--response")
    study = [(example.input, example.output) for example in shown]
    trace = model.trace(study, query, response)
    all_names = [name for name in trace.activations if name.endswith("attention")]
    names = [name for name in all_names if fnmatchcase(name, args.name)]
    if not names:
        raise unknown_name("attention", args.name, all_names, "--name")
    n_heads = len(trace[names[0]])
    for head in args.head or ():
        if not 0 <= head < n_heads:
            raise unknown_name("head", str(head), map(str, range(n_heads)), "--head")
    print(f"{' '.join(query)} → {' '.join(trace.response[:-1])}")
    if trace.examples and all(name.endswith("cross_attention") for name in names):
        _print_most_attended(trace, names, args.head)
    figure = attention_figure(trace, names, args.head, by_token=args.tokens)
    with matplotlib.rc_context(STYLE), atomic_write(args.out) as file:
        figure.savefig(file, format=args.out.suffix[1:], dpi=150)
    print(f"Written: {args.out}")


def _print_most_attended(trace: "Trace", names: list[str], heads: list[int] | None) -> None:
    """Print the three study examples with the largest mean attention, for each token."""
    import numpy as np

    from biml.report.attention_figure import attention_to_examples

    weights = np.concatenate([trace[name][heads or slice(None)] for name in names]).mean(0)
    shares, labels = attention_to_examples(trace, weights)
    tokens = trace.tokens(names[0])
    width = max(map(len, tokens))
    for token, row in zip(tokens, shares, strict=True):
        most = sorted(range(len(row)), key=lambda i: -row[i])[:3]
        print(f"{token:{width}}  " + "   ".join(f"{100 * row[i]:2.0f}% {labels[i]}" for i in most))
