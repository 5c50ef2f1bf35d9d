"""`biml data`, `biml generate` and `biml episode-types`: the data of training and evaluation."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from biml.cli import add_data_dir, count
from biml.episodes.datasets import EPISODES_PER_EPOCH, VALIDATION_EPISODES
from biml.episodes.episode_type import FEW_SHOT, OPEN_ENDED, PROBES
from biml.errors import UsageError
from biml.grammar import MetaGrammar
from biml.grammar.meta_grammar import MAX_VALUES, MIN_VALUES
from biml.human.resources import RESOURCES, resource
from biml.io import write_file
from biml.paths import DataFolders, user_data_folder
from biml.progress import progress_bars

HUMAN_TASKS = (FEW_SHOT, OPEN_ENDED, PROBES)

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx", ".parquet", ".json", ".jsonl")


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    download = actions.add_parser("download", help="download from the published address")
    download.add_argument(
        "kind",
        metavar="|".join(RESOURCES),
        choices=tuple(RESOURCES),
        help="; ".join(f"{row.name}: {row.description}" for row in RESOURCES.values()),
    )
    download.add_argument("--url", help="another address of a zip archive with the same files")

    local = actions.add_parser(
        "import",
        help="import a local zip archive, folder or file, or a custom experiment",
        description="Imports a local zip archive, folder or checkpoint. A custom experiment is a "
        "table of responses (columns participant, item, query, response; CSV, Excel, Parquet or "
        "JSON) with --study, or a folder of episode files whose queries are the responses.",
    )
    local.add_argument("path", metavar="PATH", type=Path)
    help = (
        "for a table of responses: an episode file with the study examples and the queries, "
        "or a folder of them named after the items; a file without study examples makes an "
        "open-ended task"
    )
    local.add_argument("--study", type=Path, metavar="PATH", help=help)
    help = (
        "names of columns in the table that are not recognised: query=Question, or, where "
        "each query has a column, the query itself: 'dax fep=Q1'; position=NAME joins the rows of "
        "a table with one row for each symbol"
    )
    local.add_argument("--columns", nargs="+", default=[], metavar="KEY=NAME", help=help)
    help = (
        "rows without a response (empty, NA, don't know) or a query (empty, or without a "
        "word of the study file) are an error, or left out; of an open-ended task, the whole "
        "participant (default: %(default)s)"
    )
    local.add_argument("--missing", choices=("error", "skip"), default="error", help=help)
    help = "read and check the table or the episode files, but write nothing"
    local.add_argument("--dry-run", "--dry_run", action="store_true", help=help)

    default = (
        "where to put the data, made if it is missing (default: the user's data folder, "
        f"{user_data_folder()}"
    )
    for action, end in ((download, ")"), (local, "; for a custom experiment NAME-data)")):
        action.add_argument("--dest", type=Path, metavar="FOLDER", help=default + end)
        action.add_argument("--overwrite", action="store_true", help="replace existing data")

    status = actions.add_parser("status", help="list which data are found where")
    add_data_dir(status)

    export = actions.add_parser(
        "export",
        help="write human responses to a task as transcripts in the format of Psych-101",
        description="Writes a JSON line for each participant (of unknown participants for each "
        "response) of the published data or a custom experiment: text with responses between << "
        "and >>, in words and colours drawn at random. `biml eval --transcripts` reads it.",
    )
    export.add_argument("task", choices=tuple(t.replace("_", "-") for t in HUMAN_TASKS))
    export.add_argument(
        "--out", type=Path, metavar="FILE.jsonl", help="default: TASK.jsonl in the current folder"
    )
    export.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of words and colours (%(default)s)"
    )
    export.add_argument("--overwrite", action="store_true", help="replace an existing file")
    add_data_dir(export)


def run(args: argparse.Namespace) -> None:
    from biml.human.download import download, import_path

    if args.action == "status":
        _print_status(DataFolders(args.data_dir))
        return
    if args.action == "export":
        _export(args)
        return
    if args.action == "import" and _is_custom_experiment(args):
        _import_experiment(args)
        return
    folder = args.dest or user_data_folder()
    try:
        with progress_bars() as progress:
            options = {"overwrite": args.overwrite, "progress": progress}
            if args.action == "import":
                result = import_path(args.path, folder, **options)
            else:
                result = download(resource(args.kind), folder, url=args.url, **options)
    except KeyboardInterrupt:
        if args.action == "download":
            print("stopped; the same command resumes where the server allows", file=sys.stderr)
        raise
    print(f"{result.resource.name}: {result.files:,} files in {result.folder}")
    if result.kept:
        print(f"left unchanged (--overwrite replaces them): {', '.join(result.kept)}")
    if args.dest is not None and DataFolders().get(result.resource.folder) != result.folder:
        folder = shlex.quote(str(args.dest))
        print(f"other commands find it with --data_dir {folder} or BIML_DATA={folder}")


def _export(args: argparse.Namespace) -> None:
    from biml.episodes.packed import PUBLISHED
    from biml.episodes.registry import evaluation_type
    from biml.episodes.transcripts import transcripts_of_episodes

    task, path = args.task.replace("-", "_"), args.out or Path(f"{args.task}.jsonl")
    if path.exists() and not args.overwrite:
        raise UsageError(
            f"{path} exists already; --overwrite replaces it, --out names another file"
        )
    row = evaluation_type(task)
    assert row is not None
    evaluation = row.open_evaluation(DataFolders(args.data_dir), 0)
    name = f"{args.task}, {'custom' if evaluation.is_imported else PUBLISHED}"
    rows = transcripts_of_episodes(evaluation.episodes, task, experiment=name, seed=args.seed)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_file(path, "".join(lines))
    n_responses = sum(len(episode.queries) for episode in evaluation.episodes)
    print(f"{count(n_responses, 'response')} in {count(len(lines), 'transcript')} in {path}")
    print(f"evaluate models on it with biml eval --ll --transcripts {shlex.quote(str(path))}")


def _is_custom_experiment(args: argparse.Namespace) -> bool:
    """Whether a path is a custom experiment; a UsageError unless `--study` goes with a table."""
    from biml.human.readers import is_episode_folder

    path = args.path
    if path.is_dir() and args.study is not None:
        raise UsageError(
            f"--study goes with a table of responses, but {path} is a folder; "
            "episode files contain their study examples"
        )
    if args.study is None and path.suffix.lower() in TABLE_SUFFIXES:
        raise UsageError(
            f"{path}: give --study an episode file with the study examples (or a folder of them, "
            "one per item); for an open-ended task, a file without study examples"
        )
    custom = args.study is not None or is_episode_folder(path)
    if args.study is None and (args.columns or args.missing != "error"):
        raise UsageError("--columns and --missing go with a table of responses and --study")
    if args.dry_run and not custom:
        raise UsageError("--dry-run goes with a custom experiment")
    return custom


def _import_experiment(args: argparse.Namespace) -> None:
    from biml.episodes.episode import SIMULATED_PREFIX
    from biml.human.experiment import TASK_EPISODE_TYPES, write_experiment
    from biml.human.readers import read_episode_files, read_response_table

    if args.study is None:
        experiment = read_episode_files(args.path)
    else:
        columns = _column_names(args.columns)
        options = {"columns": columns, "missing": args.missing}
        experiment = read_response_table(args.path, args.study, **options)
    name = Path(os.path.abspath(args.path)).stem  # `.` has no name
    destination = args.dest or Path(f"{name}-data")
    if args.dry_run:
        where = "would be imported; --dry-run writes nothing"
    else:
        where = f"in {write_experiment(experiment, destination, overwrite=args.overwrite)}"
    participants = len(experiment.participants)
    print(
        f"{experiment.task.replace('_', '-')}: {count(len(experiment.responses), 'response')} of "
        f"{count(participants, 'participant') if participants else 'unknown participants'} to "
        f"{count(len(experiment.items), 'item')} {where}"
    )
    for note in experiment.notes:
        print(f"note: {note}")
    if n_simulated := sum(p.startswith(SIMULATED_PREFIX) for p in experiment.participants):
        print(f"note: {count(n_simulated, 'participant')} simulated by models, not people")
    if participants and experiment.n_anonymous:
        print(
            f"note: {count(experiment.n_anonymous, 'response')} without a participant; results "
            "cannot be split by participant"
        )
    if experiment.ignored:
        hint = "" if participants else "; --columns participant=NAME names that of participants"
        print(f"ignored columns: {', '.join(experiment.ignored)}{hint}")
    if experiment.unanswered:
        print(f"items without responses: {', '.join(experiment.unanswered)}")
    if experiment.vocabulary_overflow:
        print(f"note: {experiment.vocabulary_overflow}; train a model with a custom vocabulary")
    if not args.dry_run:
        types = " or ".join(TASK_EPISODE_TYPES[experiment.task])
        folder = shlex.quote(str(destination))
        print(f"evaluate models with --data_dir {folder} --episode_type {types}")


def _column_names(words: Sequence[str]) -> dict[str, str]:
    """The option `--columns` by its keys."""
    pairs = [word.partition("=") for word in words]
    for key, equals, name in pairs:
        if not (key.strip() and equals and name.strip()):
            raise UsageError(f"--columns {key}{equals}{name}: write KEY=NAME, as in query=Question")
    return {key.strip(): name.strip() for key, _, name in pairs}


def _print_status(data: DataFolders) -> None:
    from biml.human.download import resource_status

    for row in resource_status(data):
        name = row.resource.name
        if row.folder is None:
            print(f"{name:<16} missing: biml data download {name}")
        else:
            print(f"{name:<16} {row.files:,} files, {row.size / 1e6:,.1f} MB in {row.folder}")
    print("searched, in this order:")
    for path in data.search_paths:
        print(f"  {path.folder} ({path.origin})")


PUBLISHED_META_GRAMMAR = MetaGrammar()

MAX_WORDS = len(PUBLISHED_META_GRAMMAR.words)

LIMITS = MAX_VALUES | {
    "n_primitives": len(PUBLISHED_META_GRAMMAR.symbols),
    "n_functions": MAX_WORDS - MIN_VALUES["n_primitives"],
}

META_GRAMMAR_OPTIONS = (
    ("n_primitives", "primitives", "words with a symbol of their own"),
    ("n_functions", "functions", "function words"),
    ("max_rhs", "", "longest right-hand side of a function"),
    ("max_input", "", "longest input in words"),
    ("max_output", "", "longest output in symbols"),
    ("n_study", "study", "study examples per episode"),
    ("n_query", "queries", "queries per episode"),
)
"""Fields of `MetaGrammar`, the older spellings of their options, and their meaning."""


def configure_generate(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    help = (
        "the folder to write, made with its parents; training finds it by the name "
        "data_algebraic (default: %(default)s in the current directory)"
    )
    option("--out", type=Path, default=Path("data_algebraic"), metavar="FOLDER", help=help)
    help = (
        "text (the default), episode files to train on; or parquet, splits for "
        "`datasets.load_dataset` with a dataset card, in another folder than data_algebraic"
    )
    option("--format", choices=("text", "parquet"), default="text", help=help)
    for name, default, help in (
        ("train", EPISODES_PER_EPOCH, "number of training episodes"),
        ("val", VALIDATION_EPISODES, "number of validation episodes"),
        ("test", 0, "number of test episodes"),
        ("seed", 0, "the files depend on this and the options here, not on --workers"),
    ):
        help += " (default: %(default)s)"
        option(f"--{name}", type=int, default=default, metavar="N", help=help)
    meta = parser.add_argument_group(
        "the meta-grammar that grammars are sampled from",
        f"With the published words, --n_primitives and --n_functions are at most {MAX_WORDS} "
        "together.",
    )
    for name, old, meaning in META_GRAMMAR_OPTIONS:
        meta.add_argument(
            f"--{name}",
            *([f"--{old}"] if old else []),
            dest=old or name,
            type=int,
            default=getattr(PUBLISHED_META_GRAMMAR, name),
            metavar="N",
            help=f"{meaning}, {_option_range(name)} (%(default)s)"
            + (f"; --{old} is the older spelling" if old else ""),
        )
    meta.add_argument(
        "--holdout_grammar",
        "--apart",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an episode file, such as the study file of an experiment, whose grammar is held out "
        "of training under any remapping of its words and symbols; may be given several times; "
        "--apart is the older spelling",
    )
    option("--workers", type=int, metavar="N", help="processes (default: one per core)")
    option("--overwrite", action="store_true", help="replace an existing folder")


def run_generate(args: argparse.Namespace) -> None:
    from biml.episodes.generate import DatasetSpec, generate
    from biml.episodes.text_format import read_episode

    held_out = tuple(map(read_episode, args.holdout_grammar))
    meta = _meta_grammar(args)
    spec = DatasetSpec(args.train, args.val, args.seed, meta, held_out, test=args.test)
    if args.format == "parquet" and args.out.name == "data_algebraic":
        raise UsageError(
            "training reads episode files in a folder called data_algebraic; name another --out "
            "for --format parquet"
        )
    with progress_bars() as progress:
        options = {"format": args.format, "workers": args.workers, "overwrite": args.overwrite}
        sizes = generate(spec, args.out, **options, progress=progress)
    splits = ", ".join(f"{name} {n:,}" for name, n in sizes.items())
    print(f"Episodes in {args.out.resolve()}: {splits}")
    if args.format == "parquet":
        print(f"read them with datasets.load_dataset({str(args.out)!r})")
    elif args.out.name != "data_algebraic":
        print("training looks for a folder called data_algebraic; rename it to be found")


def _meta_grammar(args: argparse.Namespace) -> MetaGrammar:
    """The meta-grammar of the options; a UsageError names an option that is out of range."""
    values = {name: getattr(args, old or name) for name, old, _ in META_GRAMMAR_OPTIONS}
    for name, value in values.items():
        if not MIN_VALUES[name] <= value <= LIMITS[name]:
            raise UsageError(f"--{name} is {value}, but must be {_option_range(name)}")
    n_primitives, n_functions = values["n_primitives"], values["n_functions"]
    if n_primitives + n_functions > MAX_WORDS:
        raise UsageError(
            f"--n_primitives {n_primitives} and --n_functions {n_functions} need "
            f"{n_primitives + n_functions} words, but there are {MAX_WORDS}; lower one of the two"
        )
    return MetaGrammar(**values)


def _option_range(name: str) -> str:
    return f"{MIN_VALUES[name]} to {LIMITS[name]}"


def configure_episode_types(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="show only this episode type")


def run_episode_types(args: argparse.Namespace) -> None:
    from biml.episodes.registry import EPISODE_TYPES, episode_type

    rows = EPISODE_TYPES.values() if args.name is None else (episode_type(args.name),)
    for row in rows:
        print(f"{row.name}\n    {row.summary}")
        sources = f"trains on {', '.join(row.data_sources) or 'its own data'}"
        print(f"    {sources if row.training else 'for evaluation only'}")
        if row.evaluation_task:
            print(f"    evaluation episodes: {row.evaluation_task}")
        if row.tasks:
            print(f"    its models can be evaluated on: {', '.join(row.tasks)}")
        if row.requirements:
            print(f"    needs {', '.join(row.requirements)} (see `biml data status`)")
