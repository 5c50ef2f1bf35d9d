"""The `biml` command: its subcommands, exit codes and signals."""

import argparse
import codecs
import io
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FrameType
from typing import Any

from biml import plugins
from biml.arguments import whole_number
from biml.errors import BimlError, UsageError, did_you_mean, system_problem
from biml.version import __version__

MakeParser = Callable[[Sequence[str]], argparse.ArgumentParser]


COMMANDS = {
    "train": "Train a model, or resume its training.",
    "eval": "Evaluate a model: likelihood of responses, accuracy, samples.",
    "ask": "Query models with any strings under many remappings, and classify the answers.",
    "generate": "Write a set of meta-training and validation episodes, sampled from the "
    "meta-grammar.",
    "data": "Download, import and list human data, SCAN, COGS, published episodes and networks.",
    "episode-types": "List the types of episodes that models are trained and evaluated on.",
    "interpret": "Print the output that a grammar gives to each input, one per line.",
    "export": "Convert a trained network: safetensors, Hugging Face Hub, published code.",
    "models": "List the pretrained models, or show the card of one.",
    "attention": "Draw how a network attends to study examples at each symbol of its response.",
    "reproduce": "Reproduce the paper's results and write a report.",
    "report": "Render the page and figures of a results folder from its tables.",
    "logs": "Show the log of a language model as a page: prompts, answers, responses, errors.",
    "rescore": "Score a language model's logged answers again by the present rules.",
    "experiment": "Run experiments with people in the browser; follow, simulate and export them.",
    "play": "Serve a page on which you teach models words and see their responses.",
}
"""Commands and their help lines, which are here so that `biml --help` imports none of them."""

_MODULES = {
    "generate": "data",
    "episode-types": "data",
    "export": "models",
    "report": "reproduce",
    "rescore": "logs",
}
"""Modules of commands that have none of their own.

A module defines its own command by `configure` and `run`, another by `configure_export`, ….
"""


INTERRUPTED = 128 + signal.SIGINT
"""Exit code after Ctrl-C, as in shells."""

TERMINATION_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Sent by service managers and closed terminals; Windows has no SIGHUP."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose subcommands report unknown options with their own usage."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            hint = did_you_mean(unknown[0], self._option_string_actions, 2)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint and f'; {hint}'}")
        return namespace, []

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            hint = did_you_mean(str(value), map(str, action.choices or ()), 2)
            error.message += hint and f"; {hint}"
            raise


def main(argv: Sequence[str] | None = None) -> int:
    """Run `biml COMMAND …`; the exit code is 0, 1 for a failure or 2 for misuse.

    Without `argv` this is the whole program, which ends afterwards.
    """
    return _run_program(_parser, argv)


def run_single_command(name: str, argv: Sequence[str] | None = None) -> int:
    """Run one subcommand as a program, as the published `train.py` and `eval.py` are."""
    return _run_program(lambda _: _single_command_parser(name), argv)


def _parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """A parser of the subcommand that `argv` names; the others have no options in it.

    Importing every command takes several times as long as most of them run.
    """
    parser = Parser(
        prog="biml",
        description="Meta-Learning for Compositionality (MLC, BIML): train, evaluate and compare "
        "models of few-shot compositional learning.",
    )
    parser.add_argument("--version", action="version", version=f"biml {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    named = next((word for word in argv if word in COMMANDS), None)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        if name == named:
            _configure(subparser, name)
    return parser


def _single_command_parser(name: str) -> argparse.ArgumentParser:
    parser = Parser(prog=f"{name}.py", description=COMMANDS[name])
    _configure(parser, name)
    return parser


def _configure(parser: argparse.ArgumentParser, name: str) -> None:
    """Add a command's own options and `--plugin`."""
    module = import_module(f"biml.cli.{_MODULES.get(name, name)}")
    suffix = f"_{name.replace('-', '_')}" if name in _MODULES else ""
    getattr(module, f"configure{suffix}")(parser)
    parser.set_defaults(run=getattr(module, f"run{suffix}"))
    parser.add_argument(
        "--plugin",
        type=plugins.load,
        action="append",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="run this Python file (or import this module), which registers episode types, "
        "architectures, responders or measures; may be repeated",
    )
    kinds = ("episode type", "architecture", "responder", "measure")
    names = {f"{kind}s": ", ".join(plugins.registered(kind)) for kind in kinds}
    added = "; ".join(f"{kind} {which}" for kind, which in names.items() if which)
    parser.epilog = f"Registered by plugins: {added}." if added else None


def load_plugins(argv: Sequence[str]) -> list[str]:
    """Load the plugins that a command line names; return its other words.

    They are loaded before the parser is built, so that its choices and help have them.
    """
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        option, equals, value = word.partition("=")
        if option == "--plugin":
            value = value if equals else next(words, "")
            if not value:
                raise UsageError("--plugin needs a Python file or a module name")
            plugins.load(value)
        elif word == "--":
            rest += [word, *words]
        else:
            rest.append(word)
    plugins.load_installed()
    return rest


ASCII_FALLBACKS = {
    **{"→": "->", "←": "<-", "⇄": "<->", "✓": "v", "✗": "x", "×": "x", "…": "...", "±": "+-"},
    **{"−": "-", "–": "-", "—": "-", "’": "'", "‘": "'", "“": '"', "”": '"', "≤": "<=", "≥": ">="},
}
"""Readable forms of characters that an output's encoding may lack."""


def _ascii_fallback(error: UnicodeError) -> tuple[str, int]:
    """Characters that an encoding lacks in ASCII: readable, or by number, as `\\u25b2`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    codes = (ASCII_FALLBACKS.get(c) or ascii(c)[1:-1] for c in missing)
    return "".join(codes), error.end


codecs.register_error("biml", _ascii_fallback)


def accept_any_text(stream: object) -> None:
    """Let an output stream write what its encoding lacks, unless the user has chosen how."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors in _DEFAULT_ERROR_HANDLERS:
        stream.reconfigure(errors="biml")


_DEFAULT_ERROR_HANDLERS = ("strict", "surrogateescape", "backslashreplace")


def _run_program(make_parser: MakeParser, argv: Sequence[str] | None) -> int:
    accept_any_text(sys.stdout)
    accept_any_text(sys.stderr)
    if argv is None:
        install_signal_handlers()
    code = _exit_code(make_parser, argv)
    if argv is None and code == INTERRUPTED:
        # Python takes a while to exit; another Ctrl-C would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def install_signal_handlers() -> None:
    """Let signals end the program like errors, so that it leaves nothing half-written."""
    for number in TERMINATION_SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup SIGHUP stays ignored
            signal.signal(number, _exit_on_signal)


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    for each in TERMINATION_SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # a second one would disturb the cleanup
    raise SystemExit(128 + number)


def _exit_code(make_parser: MakeParser, argv: Sequence[str] | None) -> int:
    try:
        argv = load_plugins(sys.argv[1:] if argv is None else argv)
        args = make_parser(argv).parse_args(argv)
        whole_number("--seed", getattr(args, "seed", None) or 0, 0)  # None: of the run resumed
        return int(args.run(args) or 0)
    except BimlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has closed the pipe (`biml … | head`).
        sys.stderr.close()
        return 1
    except (MemoryError, RuntimeError, OSError) as error:
        if not (problem := system_problem(error)):
            raise
        print(f"error: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
