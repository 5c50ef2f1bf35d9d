"""The `biml` command: one subcommand a module of this package."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FrameType

from biml.errors import OUT_OF_MEMORY, BimlError, ran_out_of_memory

COMMANDS = (
    "train",
    "eval",
    "generate",
    "data",
    "interpret",
    "export",
    "models",
    "reproduce",
    "report",
)

INTERRUPTED = 128 + signal.SIGINT
"""The exit code after Ctrl-C, as shells have it."""

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What service managers and closed terminals send; Windows has no SIGHUP."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `biml COMMAND …`; the exit code is 0, 1 for a failure or 2 for misuse.

    Without `argv` it is the program itself, which ends after this.
    """
    return _run(_parser, argv)


def door(name: str, argv: Sequence[str] | None = None) -> int:
    """Run one subcommand as a program of its own, as the published `train.py` and `eval.py` are."""
    return _run(lambda: _parser_of(name), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="biml",
        description="Behaviorally-Informed Meta-Learning: train, evaluate and compare models of "
        "few-shot compositional learning.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"biml.commands.{name}")
        command = commands.add_parser(name, help=module.SUMMARY, description=module.SUMMARY)
        module.configure(command)
        command.set_defaults(run=module.run)
    return parser


def _parser_of(name: str) -> argparse.ArgumentParser:
    module = import_module(f"biml.commands.{name}")
    parser = argparse.ArgumentParser(prog=f"{name}.py", description=module.SUMMARY)
    module.configure(parser)
    parser.set_defaults(run=module.run)
    return parser


def _run(parser: Callable[[], argparse.ArgumentParser], argv: Sequence[str] | None) -> int:
    if argv is None:
        _end_in_order()
    code = _guarded(parser, argv)
    if argv is None and code == INTERRUPTED:
        # Python takes a while to end, and would show where in that another Ctrl-C struck.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def _end_in_order() -> None:
    """Let signals end the program as errors do, so that it leaves nothing half-written."""
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup one is ignored, and stays so
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)  # a second one would disturb the clearing away
    raise SystemExit(128 + number)


def _guarded(parser: Callable[[], argparse.ArgumentParser], argv: Sequence[str] | None) -> int:
    try:
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
        if not ran_out_of_memory(error):
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
