"""Processes of a run: one alone, local workers, or those of torchrun; and signals to stop.

On a CPU two processes of one thread each train nearly twice as fast as one, whereas one process of
two threads hardly gains, so that by default a run has a process per core. The first process, which
the user started, starts the others and talks to them over the loopback interface.
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
from typing import IO, Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from biml import plugins
from biml.errors import OUT_OF_MEMORY, BimlError, UsageError, is_out_of_memory
from biml.training.hardware import prepare_cpu

TIMEOUT = timedelta(minutes=10)
"""How long the first process waits for the others; one that died is noticed at once, by its closed
connection. The others wait longer, as the first one may wait for a reader of its output."""

_LOST_CONNECTION = 75
"""Exit code of a worker that lost the connection to another one."""

# Ctrl-C and a service manager's SIGTERM reach the whole group, but the first process decides, so
# that workers ignore them, from before the seconds that importing takes.
_WORKER_SCRIPT = """
import signal
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
from biml.training.distributed import worker_main
worker_main()
"""


@dataclass
class StopFlag:
    """Whether this process got a signal to stop after the current step, and which."""

    signal_number: int | None = None

    def __bool__(self) -> bool:
        return self.signal_number is not None


@contextmanager
def graceful_shutdown(announce: Callable[[str], None]) -> Iterator[StopFlag]:
    """Let SIGINT, SIGTERM, SIGHUP and SIGPIPE set a flag; a second Ctrl-C ends the process at once.

    `announce` prints a message for the user, in another thread. Outside the main thread nothing
    changes, since Python handles signals nowhere else.

    A signal handler would run only between bytecodes of the main thread: not while it waits for
    another process, and perhaps while it prints a line. So a thread reads signals from the socket
    to which Python writes them (`signal.set_wakeup_fd`).
    """
    stop_flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield stop_flag
        return
    sender, receiver = socket.socketpair()
    sender.setblocking(False)
    numbers = _stop_signals()
    arguments = (receiver, numbers, stop_flag, announce)
    listener = threading.Thread(target=_listen_for_signals, args=arguments, daemon=True)
    listener.start()
    previous_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    # Python writes a signal to the socket only if it has a handler.
    handlers = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield stop_flag
    finally:
        signal.set_wakeup_fd(previous_fd)
        sender.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        listener.join()


def _listen_for_signals(
    receiver: socket.socket,
    numbers: list[signal.Signals],
    stop_flag: StopFlag,
    announce: Callable[[str], None],
) -> None:
    # torchrun forwards a Ctrl-C that the terminal has already sent to every process.
    ignore_for = 2.0 if under_torchrun() else 0.0
    first_at = 0.0
    message = "stopping after this step (Ctrl-C again: at once, without saving)"
    # Printing blocks when nobody reads the output, so that it has a thread of its own.
    printer = threading.Thread(target=announce, args=(message,), daemon=True)
    with receiver:
        while received := receiver.recv(1):
            number = received[0]
            if number not in numbers:
                continue
            if not stop_flag:
                stop_flag.signal_number, first_at = number, time.monotonic()
                printer.start()
            elif number == signal.SIGINT and time.monotonic() - first_at >= ignore_for:
                os._exit(128 + number)
    if stop_flag:
        printer.join()


def _stop_signals() -> list[signal.Signals]:
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGPIPE]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        numbers.append(hangup)  # under nohup it stays ignored
    return numbers


class LostProcessError(BimlError):
    """Another process of the run was killed, or does not answer."""

    can_resume = False  # whether the run has saved a checkpoint


@contextmanager
def _communication() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo or NCCL; in PyTorch they have no type of their own
        if is_out_of_memory(error):
            raise
        minutes = TIMEOUT.total_seconds() / 60
        problem = "was killed or failed, so that the connection to it was lost"
        if "timed out" in str(error).lower():
            problem = f"did not answer for {minutes:g} minutes; it may be stopped"
        raise LostProcessError(f"another process of this run {problem}") from error


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a run, seen from one of them; that of rank 0 logs and saves."""

    device: torch.device
    rank: int = 0
    size: int = 1

    def all_reduce(self, tensor: Tensor) -> None:
        """Sum a tensor over the processes, in place."""
        if self.size > 1:
            with _communication():
                dist.all_reduce(tensor)

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0, in every process."""
        if self.size == 1:
            return value
        box = [value]
        with _communication():
            dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]


class Job(Protocol):
    """What a worker process does; it is pickled."""

    def run(self, group: ProcessGroup) -> None: ...


@contextmanager
def init_process_group(job: Job, device: torch.device, n_processes: int) -> Iterator[ProcessGroup]:
    """Join torchrun's processes if it started this one, else start workers.

    Workers run `job.run(group)`, while this process runs the `with` block; they end with it. If one
    fails, a `BimlError` has its stderr.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        prepare_cpu()
        torch.set_num_threads(1)
    try:
        if under_torchrun():
            with _join_torchrun_group(device) as group:
                yield group
        elif n_processes > 1:
            with _start_workers(job, n_processes):
                yield ProcessGroup(device, 0, n_processes)
        else:
            yield ProcessGroup(device)
    finally:
        torch.set_num_threads(threads)
        if dist.is_initialized():
            dist.destroy_process_group()


def under_torchrun() -> bool:
    """Whether torchrun (or the like) started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def process_rank() -> int:
    """The rank of this process, known before its group is."""
    return int(os.environ["RANK"]) if under_torchrun() else 0


@contextmanager
def _join_torchrun_group(device: torch.device) -> Iterator[ProcessGroup]:
    if device.type == "cuda":
        number, n_gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if number >= n_gpus:
            raise UsageError(
                f"torchrun started more processes than this machine has GPUs ({n_gpus}); start it "
                f"with --nproc-per-node {n_gpus}, or train with --device cpu"
            )
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    threading.Thread(target=_stop_with_parent, args=(os.getppid(),), daemon=True).start()
    backend = "nccl" if device.type == "cuda" else "gloo"
    with _communication():
        store, rank, size = next(dist.rendezvous("env://"))
        timeout = TIMEOUT if rank == 0 else 3 * TIMEOUT
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    try:
        yield ProcessGroup(device, rank, size)
    except LostProcessError:
        if _reported_by_first(store, rank):
            raise SystemExit(1) from None
        raise


def _reported_by_first(store: Any, rank: int) -> bool:
    """Whether the first process also found that another one was lost, and says so itself."""
    with suppress(RuntimeError):  # the first process may be lost, and the store with it
        if rank == 0:
            store.set("biml: lost process", "")
        else:
            store.wait(["biml: lost process"], timedelta(seconds=10))
            return True
    return False


def _stop_with_parent(parent: int) -> None:
    """Stop this process as SIGTERM does when torchrun ends; a kill gives it no time to do so."""
    while os.getppid() == parent:
        time.sleep(1)
    if not dist.is_initialized():
        os._exit(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _init_gloo(store: Any, rank: int, size: int) -> None:
    # Otherwise gloo looks up the host name, which fails or hangs on many laptops.
    if sys.platform in ("linux", "darwin"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    # Workers end with the first process, however it does.
    timeout = TIMEOUT if rank == 0 else timedelta(days=1)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timeout)


class _LocalWorkers:
    """Spawned workers; a closed stdin stops them, stderr is kept for error reports."""

    def __init__(self, count: int) -> None:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self.stderr_files: list[IO[bytes]] = [tempfile.TemporaryFile() for _ in range(count)]  # noqa: SIM115
        self.processes = [
            subprocess.Popen(
                # -P: do not import from the current directory.
                [sys.executable, "-P", "-c", _WORKER_SCRIPT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
            )
            for stderr in self.stderr_files
        ]

    def send(self, job: Job, size: int) -> None:
        for rank, process in enumerate(self.processes, 1):
            self._send_object(process, plugins.loaded())
            self._send_object(process, (job, rank, size))
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
        """How a worker ended, or None if none does within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for number, (process, stderr) in enumerate(self._with_stderr(), 1):
                code = process.poll()
                if code in (None, _LOST_CONNECTION):
                    continue
                stderr.seek(0)
                text = stderr.read()[-4000:].decode(errors="replace").strip()
                name = f"worker process {number} of {len(self.processes)}"
                if code >= 0:
                    return f"{name} failed:\n{text}"
                hint = "; if memory ran out, reduce --workers" if code == -9 else ""
                return f"{name} was ended by signal {-code}{hint}. {text}".strip()
            time.sleep(0.05)
        return None

    def _with_stderr(self) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
        return zip(self.processes, self.stderr_files, strict=True)

    def close(self) -> None:
        for process in self.processes:
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(BrokenPipeError):
                    pipe.close()  # which ends the process, see `_exit_with_parent`
        for process, stderr in self._with_stderr():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            stderr.close()


@contextmanager
def _start_workers(job: Job, n_processes: int) -> Iterator[None]:
    workers = _LocalWorkers(n_processes - 1)
    try:
        workers.send(job, n_processes)
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        workers.start(store.port)
        with _communication():
            _init_gloo(store, 0, n_processes)
        yield
    except LostProcessError as error:
        error.args = (workers.failure_message() or str(error),)
        raise
    finally:
        workers.close()


def worker_main() -> None:
    """Run the job read from standard input, in a worker."""
    for source in pickle.load(sys.stdin.buffer):
        plugins.load(source)
    job, rank, size = pickle.load(sys.stdin.buffer)
    prepare_cpu()
    torch.set_num_threads(1)
    print("ready", flush=True)
    os.dup2(2, 1)  # the first process reads stdout no further
    port = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _init_gloo(dist.TCPStore("127.0.0.1", port, is_master=False), rank, size)
    try:
        job.run(ProcessGroup(torch.device("cpu"), rank, size))
    except LostProcessError:
        sys.exit(_LOST_CONNECTION)
    except BimlError as error:
        sys.exit(f"{error}")
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        sys.exit(OUT_OF_MEMORY)
    finally:
        dist.destroy_process_group()


def _exit_with_parent() -> None:
    """Exit when stdin closes: when the first process ends, however it does."""
    while os.read(0, 1):  # sys.stdin would hold a lock at the interpreter's exit
        pass
    os._exit(1)
