"""Ending a run early without losing anything: the first signal asks, a second Ctrl-C insists."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from biml.training.workers import under_torchrun


class StopFlag:
    """Whether this process was asked to stop after the current step.

    Attributes:
        signal_number: the signal that asked, or None.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __bool__(self) -> bool:
        return self.signal_number is not None


@contextmanager
def graceful_shutdown(announce: Callable[[str], None]) -> Iterator[StopFlag]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a request inside the `with` block.

    A second Ctrl-C ends the process at once. Outside the main thread nothing is changed, since
    Python takes signals nowhere else.

    A handler would run wherever the main thread happens to be: not before a wait for another
    process ends, and in the midst of writing a line, where writing another is an error. So a thread
    of its own hears of signals, by the socket that Python notes them in, and does what they ask.

    Args:
        announce: is told, in words for the user and in another thread, that the request was
            understood.
    """
    request = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    noting, heard = socket.socketpair()
    noting.setblocking(False)
    numbers = _stop_signals()
    listener = threading.Thread(
        target=_signal_listener, args=(heard, numbers, request, announce), daemon=True
    )
    listener.start()
    noted_before = signal.set_wakeup_fd(noting.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, _ignore_in_handler) for number in numbers}
    try:
        yield request
    finally:
        signal.set_wakeup_fd(noted_before)
        noting.close()
        for number, handler in before.items():
            signal.signal(number, handler)
        listener.join()


def _signal_listener(
    receiver: socket.socket,
    numbers: list[signal.Signals],
    stop_flag: StopFlag,
    announce: Callable[[str], None],
) -> None:
    """Do what signals ask, until the other end of the socket is closed."""
    # torchrun passes on a Ctrl-C that the terminal has already sent to everybody.
    doubled_within = 2.0 if under_torchrun() else 0.0
    since = 0.0
    understood = "stopping after this step (Ctrl-C again: at once, without saving)"
    # Where nobody reads what is written, telling takes for ever; so listening goes on meanwhile.
    telling = threading.Thread(target=announce, args=(understood,), daemon=True)
    with receiver:
        while noted := receiver.recv(1):
            number = noted[0]
            if number not in numbers:
                continue
            if not stop_flag:
                stop_flag.signal_number, since = number, time.monotonic()
                telling.start()
            elif number == signal.SIGINT and time.monotonic() - since >= doubled_within:
                os._exit(128 + number)
    if stop_flag:
        telling.join()


def _ignore_in_handler(number: int, frame: FrameType | None) -> None:
    """Python notes a signal in the socket only where it has a handler."""


def _stop_signals() -> list[signal.Signals]:
    numbers = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        numbers.append(hangup)  # under nohup it is ignored, and stays so
    return numbers
