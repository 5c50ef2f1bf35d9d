"""Ending a run early without losing anything: the first signal asks, a second Ctrl-C insists."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from biml.training.workers import under_torchrun


class StopRequest:
    """Whether this process was asked to stop after the current step.

    Attributes:
        signal_number: the signal that asked, or None.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __bool__(self) -> bool:
        return self.signal_number is not None


@contextmanager
def stop_on_signals(announce: Callable[[str], None]) -> Iterator[StopRequest]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a request inside the `with` block.

    A second Ctrl-C ends the process at once. Outside the main thread nothing is changed, since
    Python delivers signals nowhere else.

    Args:
        announce: is told, in words for the user, that the request was understood.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    # torchrun passes on a Ctrl-C that the terminal has already sent to everybody.
    doubled_within = 2.0 if under_torchrun() else 0.0
    since = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if not request:
            request.signal_number, since = number, time.monotonic()
            announce("stopping after this step (Ctrl-C again: at once, without saving)")
        elif number == signal.SIGINT and time.monotonic() - since >= doubled_within:
            # An exception may strike anywhere, and comes out of a backward pass as another one.
            os._exit(128 + number)

    before = {number: signal.signal(number, handle) for number in _signals()}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    numbers = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        numbers.append(hangup)  # under nohup it is ignored, and stays so
    return numbers
