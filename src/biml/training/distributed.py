"""The processes of a run: one alone, several that we start ourselves, or those of torchrun.

On a CPU two processes of one thread each train nearly twice as fast as one, whereas one process
with two threads hardly gains, so by default a run has a process for each core. The first of them is
the one that the user started; it starts the others and talks to them over the loopback interface.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import IO, Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from biml import plugins
from biml.errors import OUT_OF_MEMORY, BimlError, UsageError, is_out_of_memory
from biml.training.hardware import prepare_cpu


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


# === The processes of a run: one alone, several that we start ourselves, or those of torchrun.


TIMEOUT = timedelta(days=1)
"""A process that dies is noticed at once by its closed connection; one that is only slow may be."""

# Ctrl-C and a service manager's SIGTERM reach the whole group, but the first process decides; so
# the others ignore them, from before the seconds that importing takes.
_WORKER_SCRIPT = """
import signal
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
from biml.training.distributed import worker_main
worker_main()
"""


@dataclass(frozen=True)
class ProcessGroup:
    """This process's place among those of the run.

    Attributes:
        rank: 0 for the one that saves and reports.
        size: number of processes.
        device: where this one computes.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    def all_reduce(self, tensor: Tensor) -> None:
        """Replace the tensor, in every process, by its sum over all processes."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def broadcast(self, value: Any) -> Any:
        """The first process's value, in every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]


class Job(Protocol):
    """What every process of a run does; it is pickled to those that we start."""

    def run(self, group: ProcessGroup) -> None: ...


@contextmanager
def init_process_group(job: Job, device: torch.device, n_processes: int) -> Iterator[ProcessGroup]:
    """The team of this process: of torchrun's processes if it started us, else of `workers`.

    Other processes than this one run `job.run(team)`; this one does what the caller does
    inside the `with` block, and takes the others with it when it leaves.

    Raises:
        BimlError: another process failed; the message has its last words.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        prepare_cpu()
        torch.set_num_threads(1)
    try:
        if under_torchrun():
            yield _join_torchrun_group(device)
        elif n_processes > 1:
            with _start_workers(job, n_processes) as others:
                yield from _lead_workers(others, device, n_processes)
        else:
            yield ProcessGroup(device)
    finally:
        torch.set_num_threads(threads)
        if dist.is_initialized():
            dist.destroy_process_group()


def under_torchrun() -> bool:
    """Whether torchrun (or the like) started this process and decides how many there are."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def process_rank() -> int:
    """0 for the process that saves and reports, known before the team is assembled."""
    return int(os.environ["RANK"]) if under_torchrun() else 0


def _join_torchrun_group(device: torch.device) -> ProcessGroup:
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if device.type == "cuda":
        number, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if number >= there:
            raise UsageError(
                f"torchrun started more processes than this machine has GPUs ({there}); start it "
                f"with --nproc-per-node {there}, or train with --device cpu"
            )
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return ProcessGroup(device, rank, size)


def _lead_workers(
    workers: "_LocalWorkers", device: torch.device, n_processes: int
) -> Iterator[ProcessGroup]:
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    workers.start(store.port)
    try:
        _init_gloo(store, 0, n_processes)
        yield ProcessGroup(device, 0, n_processes)
    except RuntimeError as error:  # what a lost connection raises
        lost = workers.failure_message()
        if lost is None:
            raise
        raise BimlError(lost) from error


def _init_gloo(store: Any, rank: int, size: int) -> None:
    # Without this gloo looks up the machine's name, which fails or hangs on many laptops.
    if sys.platform in ("linux", "darwin"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=TIMEOUT)


class _LocalWorkers:
    """The processes that we started, their life-lines (standard input) and their last words."""

    def __init__(self, count: int) -> None:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self.stderr_files: list[IO[bytes]] = [tempfile.TemporaryFile() for _ in range(count)]  # noqa: SIM115
        self.processes = [
            subprocess.Popen(
                # -P: what lies in the current directory is not imported from there.
                [sys.executable, "-P", "-c", _WORKER_SCRIPT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                env=environment,
            )
            for words in self.stderr_files
        ]

    def send(self, job: Job, size: int) -> None:
        for number, process in enumerate(self.processes):
            self._send_object(process, plugins.loaded())
            self._send_object(process, (job, number + 1, size))
        for process in self.processes:
            assert process.stdout is not None
            if process.stdout.readline().strip() != b"ready":
                raise BimlError(self.failure_message() or "a worker process could not be started")

    def start(self, port: int) -> None:
        for process in self.processes:
            self._send_object(process, port)

    def _send_object(self, process: subprocess.Popen[bytes], value: Any) -> None:
        assert process.stdin is not None
        try:
            pickle.dump(value, process.stdin)
            process.stdin.flush()
        except BrokenPipeError:
            raise BimlError(self.failure_message() or "a worker process ended early") from None

    def failure_message(self, timeout: float = 5.0) -> str | None:
        """How the first process that ended did so, or None if all live on."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for number, process in enumerate(self.processes):
                if process.poll() is not None:
                    return self._describe_exit(number, process.returncode)
            time.sleep(0.05)
        return None

    def _describe_exit(self, number: int, code: int) -> str:
        self.stderr_files[number].seek(0)
        text = self.stderr_files[number].read()[-4000:].decode(errors="replace").strip()
        name = f"worker process {number + 1} of {len(self.processes)}"
        if code < 0:
            hint = "; if memory ran short, --workers 1 needs less" if code == -9 else ""
            return f"{name} was ended by signal {-code}{hint}. {text}".strip()
        return f"{name} failed:\n{text}"

    def close(self) -> None:
        for process in self.processes:
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(BrokenPipeError):
                    pipe.close()  # the closed life-line ends the process, see `_follow`
        for process, words in zip(self.processes, self.stderr_files, strict=True):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            words.close()


@contextmanager
def _start_workers(job: Job, n_processes: int) -> Iterator[_LocalWorkers]:
    others = _LocalWorkers(n_processes - 1)
    try:
        others.send(job, n_processes)
        yield others
    finally:
        others.close()


def worker_main() -> None:
    """What a started process does: it reads its job from standard input and takes part in it."""
    for source in pickle.load(sys.stdin.buffer):
        plugins.load(source)
    job, rank, size = pickle.load(sys.stdin.buffer)
    prepare_cpu()
    torch.set_num_threads(1)
    print("ready", flush=True)
    os.dup2(2, 1)  # nobody reads our standard output after this
    port = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _init_gloo(dist.TCPStore("127.0.0.1", port, is_master=False), rank, size)
    try:
        job.run(ProcessGroup(torch.device("cpu"), rank, size))
    except BimlError as error:
        sys.exit(f"{error}")
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        sys.exit(OUT_OF_MEMORY)
    finally:
        dist.destroy_process_group()


def _exit_with_parent() -> None:
    """End when the first process does, however it ends: then its end of our input closes."""
    while os.read(0, 1):  # not sys.stdin, whose lock would be missed when the interpreter ends
        pass
    os._exit(1)
