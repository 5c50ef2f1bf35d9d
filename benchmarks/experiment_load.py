"""An experiment under load: response times, and answers lost when the server is killed.

    python benchmarks/experiment_load.py [--participants 300] [--think 3] [--kills 0]

Participants go through a design at once, each in their own connection, and take `--think` seconds
for a screen on average. The time of a trial is from sending an answer to having the next screen.
With `--kills`, the server process is killed (SIGKILL) after a random number of answers, up to one
for each participant, and started again; at the end, every answer that the server has acknowledged
must be in the database, once.
"""

import argparse
import asyncio
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from biml.experiment.design import Design, read_design
from biml.experiment.screens import Screen
from biml.experiment.session import Session
from biml.experiment.store import Store
from biml.web.researcher import right_answer

Answers = dict[int, Mapping[str, Any]]


class Server:
    """The server process, which can be killed and started again at the same port."""

    def __init__(self, design: str, database: str) -> None:
        self._design, self._database = design, database
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        words = ["experiment", "serve", self._design, "--database", self._database]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "biml", *words, "--port", str(self.port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise SystemExit("the server did not start")

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@dataclass
class Person:
    """A participant with one connection, who tries again until an answer is acknowledged."""

    name: str
    port: int
    think: float
    times: list[float] = field(default_factory=list)
    acknowledged: Answers = field(default_factory=dict)
    retries: int = 0
    _cookie: str = ""
    _streams: Any = None

    async def request(self, method: str, path: str, form: Mapping[str, str] | None = None) -> str:
        """The head and body of a response; connects again as long as there is no server."""
        body = urlencode(form or {})
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
        head += f"Cookie: {self._cookie}\r\nContent-Length: {len(body)}\r\n\r\n"
        while True:
            idle = self._streams is not None
            try:
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self.port)
                reader, writer = self._streams
                writer.write((head + body).encode())
                response = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", response)
                assert length is not None
                text = response + (await reader.readexactly(int(length[1]))).decode()
                if " 503 " not in response[:20] and " 500 " not in response[:20]:
                    return text
            except (OSError, EOFError):
                self._streams = None
                if idle:  # the server may close connections on which nothing comes
                    continue
            self.retries += 1
            await asyncio.sleep(random.uniform(0.1, 0.4))

    async def run(self, store: Store, design: Design, seconds: float) -> None:
        """Go through the design, or as far as the time allows."""
        end = time.monotonic() + seconds
        await asyncio.sleep(random.uniform(0, self.think))
        started = await self.request("POST", "/start", {"PROLIFIC_PID": self.name})
        self._cookie = re.search(r"set-cookie: ([^;]+)", started)[1]  # type: ignore[index]
        found = await asyncio.to_thread(store.find, external_id=self.name)
        assert found is not None
        page = await self.request("GET", "/")
        token = re.search(r'name="form_token" value="(\w+)"', page)[1]  # type: ignore[index]
        session = Session(design, found.seed, found.condition)
        while session.status == "running" and time.monotonic() < end:
            await asyncio.sleep(random.expovariate(1 / self.think))
            screen = session.screen
            payload = right_answer(design, screen)
            form = {"form_token": token, **form_of(screen, payload)}
            start = time.perf_counter()
            answered = await self.request("POST", "/answer", form)
            assert answered.startswith("HTTP/1.1 303"), answered[:300]
            self.acknowledged[screen.number] = payload
            page = await self.request("GET", "/")
            self.times.append(time.perf_counter() - start)
            session.answer(payload)
            shown = f'name="screen" value="{session.screen.number}"'
            assert session.status != "running" or shown in page


def form_of(screen: Screen, payload: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a form in which a browser sends an answer."""
    fields = {"screen": str(screen.number)}
    if payload.get("consent"):
        fields["consent"] = "yes"
    if "response" in payload:
        fields["response"] = " ".join(payload["response"])
    for number, response in enumerate(payload.get("responses", ())):
        fields[f"response.{number}"] = " ".join(response)
    for name, value in payload.get("answers", {}).items():
        fields[f"answer.{name}"] = str(value)
    return fields


async def load(
    server: Server, people: list[Person], store: Store, design: Design, kills: int, seconds: float
) -> None:
    """Run all participants, and kill the server so many times meanwhile."""
    running = [asyncio.create_task(person.run(store, design, seconds)) for person in people]
    for _ in range(kills):
        wanted = n_acknowledged(people) + random.randint(1, len(people))
        while n_acknowledged(people) < wanted and not all(task.done() for task in running):
            await asyncio.sleep(random.uniform(0, 0.1))
        await asyncio.to_thread(server.end, signal.SIGKILL)
        await asyncio.to_thread(server.start)
    await asyncio.gather(*running)


def n_acknowledged(people: list[Person]) -> int:
    return sum(len(person.acknowledged) for person in people)


def lost_answers(people: list[Person], store: Store) -> int:
    """Acknowledged answers that the database does not have; screens are unique there."""
    lost = 0
    for person in people:
        found = store.find(external_id=person.name)
        saved = {a.screen: a.payload for a in store.answers(found)} if found else {}
        assert list(saved) == list(range(len(saved)))
        lost += sum(saved.get(n) != payload for n, payload in person.acknowledged.items())
    return lost


def run(
    source: str, database: str, n_people: int, think: float, kills: int, seconds: float
) -> tuple[list[Person], int]:
    """The participants of one run, and how many acknowledged answers were lost."""
    design = read_design(source)
    server = Server(source, database)
    store = Store.open(database, design)
    people = [Person(f"load-{number}", server.port, think) for number in range(n_people)]
    try:
        asyncio.run(load(server, people, store, design, kills, seconds))
    finally:
        server.end()
    lost = lost_answers(people, store)
    store.close()
    return people, lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--design", default="few-shot")
    parser.add_argument("--participants", type=int, default=300)
    parser.add_argument("--think", type=float, default=3.0, help="mean seconds for a screen")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--database", help="an address of PostgreSQL; default: a new SQLite file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = args.database or str(Path(folder) / "load.db")
        started = time.monotonic()
        people, lost = run(
            args.design, database, args.participants, args.think, args.kills, args.seconds
        )
        wall = time.monotonic() - started
    times = sorted(1000 * t for person in people for t in person.times)
    cuts = statistics.quantiles(times, n=100)
    print(f"{len(people)} participants, {len(times):,} trials in {wall:.0f} s")
    print(
        f"time of a trial: median {cuts[49]:.0f} ms, p95 {cuts[94]:.0f} ms, p99 {cuts[98]:.0f} ms"
    )
    print(f"{args.kills} kills, {sum(p.retries for p in people):,} requests tried again")
    print(f"{n_acknowledged(people):,} answers acknowledged, {lost} lost")


if __name__ == "__main__":
    main()
