"""The `biml` command: one subcommand a module of this package."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FrameType
from typing import Any

from biml import plugins
from biml.errors import OUT_OF_MEMORY, BimlError, UsageError, is_out_of_memory

COMMANDS = {
    "train": ("train", "SUMMARY", "configure", "run"),
    "eval": ("eval", "SUMMARY", "configure", "run"),
    "generate": ("data", "GENERATE_SUMMARY", "configure_generate", "run_generate"),
    "data": ("data", "SUMMARY", "configure", "run"),
    "interpret": ("interpret", "SUMMARY", "configure", "run"),
    "export": ("models", "EXPORT_SUMMARY", "configure_export", "run_export"),
    "models": ("models", "SUMMARY", "configure", "run"),
    "reproduce": ("reproduce", "SUMMARY", "configure", "run"),
    "report": ("reproduce", "REPORT_SUMMARY", "configure_report", "run_report"),
}
"""For each command its module of this package, and in it the help line, options and action."""

INTERRUPTED = 128 + signal.SIGINT
"""The exit code after Ctrl-C, as shells have it."""

TERMINATION_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""What service managers and closed terminals send; Windows has no SIGHUP."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `biml COMMAND …`; the exit code is 0, 1 for a failure or 2 for misuse.

    Without `argv` it is the program itself, which ends after this.
    """
    return _run_program(_parser, argv)


def run_single_command(name: str, argv: Sequence[str] | None = None) -> int:
    """Run one subcommand as a program of its own, as the published `train.py` and `eval.py` are."""
    return _run_program(lambda: _single_command_parser(name), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="biml",
        description="Behaviorally-Informed Meta-Learning: train, evaluate and compare models of "
        "few-shot compositional learning.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        summary, configure, run = _command(name)
        command = commands.add_parser(name, help=summary, description=summary)
        configure(command)
        _add_plugin_option(command)
        command.set_defaults(run=run)
    return parser


def _single_command_parser(name: str) -> argparse.ArgumentParser:
    summary, configure, run = _command(name)
    parser = argparse.ArgumentParser(prog=f"{name}.py", description=summary)
    configure(parser)
    _add_plugin_option(parser)
    parser.set_defaults(run=run)
    return parser


def _add_plugin_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plugin",
        type=plugins.load,
        action="append",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="run this Python file (or import this module), which registers episode types, "
        "architectures, responders or measures; may be repeated",
    )


def load_plugins(argv: Sequence[str]) -> list[str]:
    """Load the plugins that a command line names; return its other words.

    They are loaded before the parser is built, so that its choices and help have them.

    Raises:
        BimlError: a plugin fails, or --plugin lacks its value.
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


def _command(name: str) -> tuple[str, Any, Any]:
    module, *attributes = COMMANDS[name]
    source = import_module(f"biml.cli.{module}")
    summary, configure, run = (getattr(source, attribute) for attribute in attributes)
    return summary, configure, run


def _run_program(parser: Callable[[], argparse.ArgumentParser], argv: Sequence[str] | None) -> int:
    if argv is None:
        install_signal_handlers()
    code = _exit_code(parser, argv)
    if argv is None and code == INTERRUPTED:
        # Python takes a while to end, and would show where in that another Ctrl-C struck.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def install_signal_handlers() -> None:
    """Let signals end the program as errors do, so that it leaves nothing half-written."""
    for number in TERMINATION_SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup one is ignored, and stays so
            signal.signal(number, _exit_on_signal)


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    for each in TERMINATION_SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # a second one would disturb the clearing away
    raise SystemExit(128 + number)


def _exit_code(parser: Callable[[], argparse.ArgumentParser], argv: Sequence[str] | None) -> int:
    try:
        argv = load_plugins(sys.argv[1:] if argv is None else argv)
        args = parser().parse_args(argv)
        return int(args.run(args) or 0)
    except BimlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`biml … | head`); there is nobody left to tell.
        sys.stderr.close()
        return 1
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"error: {OUT_OF_MEMORY}", file=sys.stderr)
        return 1
    except OSError as error:
        # Such as a folder that may not be read, where nothing nearer knew what to say.
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
