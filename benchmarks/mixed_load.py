"""A server that writes, asked everything at once for half an hour: is each answer right?

    python benchmarks/mixed_load.py SPACE [--minutes 30] [--clients 8] [--rate 40] [--json]

`isometry serve --write` runs on a copy of SPACE. Each client puts documents of its own, made of
WordNet's glosses. Then the time begins: it replaces, deletes, puts, fetches and searches them, and
sends bodies that are broken; it knows what it was promised, and so what every answer must be. A
document has a word that no other has, so that a search by words finds it alone, or nothing once it
is gone. Meanwhile the server's memory is read: `growth` sets the median of the last tenth of the
time against that of the minute after the first five. At the end the server is told to stop, and its
Space must hold what was promised.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pyarrow.parquet as pq

import isometry
from isometry.core.errors import InputError
from isometry.core.machine import machine
from isometry.corpora.readers import ReadingReport, open_source

WARM_SECONDS = 300.0
# How many documents of its own a client keeps, so that the Space does not grow for ever.
KEPT = 200
BROKEN: tuple[tuple[str, str, bytes], ...] = (
    ("POST", "/search", b'{"query": '),
    ("POST", "/search", b'{"query": ["a list"]}'),
    ("POST", "/search", b'{"query": "x", "k": -1}'),
    ("POST", "/search", b'{"query": "x", "filter": {"colour": "red"}}'),
    ("POST", "/search", b'{"query": "x", "dimensions": 1e99}'),
    ("POST", "/v1/embeddings", b'{"input": ""}'),
    ("POST", "/v1/embeddings", b'{"input": [[-1]]}'),
    ("POST", "/v1/embeddings", b"\xff\xfe"),
    ("POST", "/v1/embeddings", b"[" * 5000),
    ("POST", "/v1/rerank", b'{"query": "x", "documents": []}'),
    ("PUT", "/documents/never", b'{"title": "without a text"}'),
    ("PUT", "/documents/never", b'{"text": 7}'),
    ("POST", "/nowhere", b"{}"),
)


@dataclass
class Client:
    """One client, and what it was promised.

    Attributes:
        http: How it asks.
        name: What its documents' ids begin with.
        texts: What its documents are about.
        rng: Its choices.
        documents: What must be there: the text of each id.
        gone: What was there, with the word that is in it alone.
        wrong: What was not as it had to be.
        done: How many requests of each kind it made.
        took: Their seconds.
    """

    http: httpx2.AsyncClient
    name: str
    texts: list[str]
    rng: random.Random
    documents: dict[str, tuple[str, str]] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)

    async def fill(self) -> None:
        """As many documents as it will have from then on."""
        while len(self.documents) < KEPT:
            await self.put()

    async def turn(self) -> None:
        """One request of a random kind."""
        kinds: list[tuple[int, Callable[[], Coroutine[Any, Any, None]]]] = [
            (30, self.put), (8, self.delete), (12, self.get), (25, self.by_words),
            (15, self.by_vectors), (10, self.broken),
        ]  # fmt: skip
        (kind,) = self.rng.choices([kind for _, kind in kinds], [share for share, _ in kinds])
        started = time.perf_counter()
        try:
            await kind()
        except httpx2.HTTPError as error:
            self.wrong.append(f"{kind.__name__}: {type(error).__name__} {error}")
        self.done[kind.__name__] += 1
        self.took.append(time.perf_counter() - started)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        while True:
            answer = await self.http.request(method, path, json=body)
            if answer.status_code not in (429, 503):
                return answer.status_code, answer.json()
            self.done["busy"] += 1
            await asyncio.sleep(float(answer.headers["retry-after"]))

    def expect(self, what: str, true: bool, *seen: Any) -> None:
        if not true:
            self.wrong.append(f"{what}: {seen!r:.500}")

    async def put(self) -> None:
        known = list(self.documents)
        full = len(known) >= KEPT
        id = (
            self.rng.choice(known)
            if known and (full or self.rng.random() < 0.5)
            else f"{self.name}-{self.rng.getrandbits(40):010x}"
        )
        # Of letters alone, and so one word to every tokenizer of words.
        word = "z" + "".join(self.rng.choices("bcdfghjklmnpqrstvwxz", k=14))
        text = f"{self.rng.choice(self.texts)} {word}"
        status, answer = await self.ask("PUT", f"/documents/{id}", {"text": text, "title": "T"})
        before = self.documents.get(id)
        self.expect("put", status == (201 if before is None else 200), status, answer)
        if before is not None:
            self.gone[f"{id} before"] = before[1]
        self.documents[id] = (text, word)

    async def delete(self) -> None:
        if not self.documents:
            return
        id = self.rng.choice(list(self.documents))
        status, answer = await self.ask("DELETE", f"/documents/{id}")
        self.expect("delete", status == 200, status, answer)
        self.gone[id] = self.documents.pop(id)[1]

    async def get(self) -> None:
        for some, is_there in ((self.documents, True), (self.gone, False)):
            if not some:
                continue
            id = self.rng.choice(list(some))
            if not is_there and (id.endswith(" before") or id in self.documents):
                continue
            status, answer = await self.ask("GET", f"/documents/{id}")
            right = answer.get("text") == self.documents[id][0] if is_there else status == 404
            self.expect("get", right, is_there, status, answer)

    async def by_words(self) -> None:
        there = self.documents and (not self.gone or self.rng.random() < 0.7)
        if not there and not self.gone:
            return
        if there:
            id = self.rng.choice(list(self.documents))
            word, expected = self.documents[id][1], [id]
        else:
            word, expected = self.rng.choice(list(self.gone.values())), []
        status, answer = await self.ask("POST", "/search", {"query": word, "mode": "lexical"})
        found = [row["document"] for row in answer.get("results", [])]
        self.expect("by words", (status, found) == (200, expected), expected, status, answer)

    async def by_vectors(self) -> None:
        mode = self.rng.choice(["dense", "hybrid"])
        query = self.rng.choice(self.texts)
        status, answer = await self.ask("POST", "/search", {"query": query, "mode": mode, "k": 20})
        rows = answer.get("results", [])
        scores = [row["score"] for row in rows]
        own = [row["document"] for row in rows if row["document"].startswith(self.name)]
        right = status == 200 and rows and scores == sorted(scores, reverse=True)
        right = right and all(id in self.documents for id in own)
        self.expect("by vectors", bool(right), status, own, answer)

    async def broken(self) -> None:
        method, path, body = self.rng.choice(BROKEN)
        headers = {"content-type": "application/json"}
        answer = await self.http.request(method, path, content=body, headers=headers)
        while answer.status_code in (429, 503):
            await asyncio.sleep(float(answer.headers["retry-after"]))
            answer = await self.http.request(method, path, content=body, headers=headers)
        right = 400 <= answer.status_code < 500 and "message" in answer.json()["error"]
        self.expect("broken", right, path, body[:50], answer.status_code, answer.text[:200])


def resident_mib(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def load(
    address: str, process: int, seconds: float, clients: int, rate: float, texts: list[str]
) -> tuple[list[Client], list[tuple[float, float]]]:
    """Asks for so long; gives the clients, and the server's memory as time goes by."""
    async with contextlib.AsyncExitStack() as stack:
        people = [
            Client(
                await stack.enter_async_context(httpx2.AsyncClient(base_url=address, timeout=120)),
                f"load-{number}",
                texts,
                random.Random(number),
            )
            for number in range(clients)
        ]
        await asyncio.gather(*(each.fill() for each in people))
        begun = time.monotonic()
        memory: list[tuple[float, float]] = []

        async def ask(client: Client) -> None:
            while (now := time.monotonic()) - begun < seconds:
                await client.turn()
                await asyncio.sleep(max(0.0, now + clients / rate - time.monotonic()))

        async def watch() -> None:
            said = 0.0
            while True:
                passed = time.monotonic() - begun
                memory.append((passed, resident_mib(process)))
                if passed >= said:
                    print(f"{passed / 60:.0f} min: {memory[-1][1]:.0f} MiB", file=sys.stderr)
                    said += 60
                await asyncio.sleep(1)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*map(ask, people))
        watching.cancel()
    return people, memory


def growth(memory: list[tuple[float, float]], seconds: float) -> float | None:
    """The last tenth's median over that of the minute after the first five; none if too short."""
    early = [mib for passed, mib in memory if WARM_SECONDS <= passed < WARM_SECONDS + 60]
    late = [mib for passed, mib in memory if passed >= 0.9 * seconds]
    if seconds < 2 * WARM_SECONDS or not early:
        return None
    return statistics.median(late) / statistics.median(early)


def measure(folder: Path, minutes: float, clients: int, rate: float) -> dict[str, Any]:
    """The whole run."""
    glosses = open_source("wordnet:", limit=5000).documents(ReadingReport())
    texts = [document.body() for document in glosses]
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(shutil.copytree(folder, Path(temporary) / "space"))
        command = [sys.executable, "-m", "isometry", "serve", str(copy), "--write", "--port", "0"]
        with (
            Path(temporary, "log").open("w+") as log,
            subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as server,
        ):
            try:
                address = ready(server, Path(log.name))
                done, memory = asyncio.run(
                    load(address, server.pid, 60 * minutes, clients, rate, texts)
                )
            finally:
                server.terminate()
                ended = server.wait(120)
            said = Path(log.name).read_text()
        wrong = [line for client in done for line in client.wrong]
        if ended:
            wrong.append(f"the server ended with {ended}: {said[-500:]}")
        wrong += [line for line in said.splitlines() if "Traceback" in line]
        wrong += unkept(copy, done)
    took = sorted(second for client in done for second in client.took)
    requests = sum((client.done for client in done), Counter[str]())
    return {
        "minutes": minutes,
        "clients": clients,
        "machine": machine(),
        "requests": dict(requests),
        "wrong": len(wrong),
        "examples": wrong[:20],
        "p50_ms": 1000 * took[len(took) // 2],
        "p99_ms": 1000 * took[len(took) * 99 // 100],
        "memory_mib": [round(mib) for _, mib in memory[:: max(1, len(memory) // 30)]],
        "growth": growth(memory, 60 * minutes),
        "documents": sum(len(client.documents) for client in done),
    }


def ready(server: subprocess.Popen[bytes], log: Path) -> str:
    """The address, once the server answers."""
    while server.poll() is None:
        if match := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            try:
                if httpx2.get(f"{match[0]}/readyz").status_code == 200:
                    return match[0]
            except httpx2.TransportError:
                pass
        time.sleep(0.2)
    raise InputError(f"The server ended with {server.returncode}: {log.read_text()[-500:]}")


def unkept(folder: Path, clients: list[Client]) -> list[str]:
    """What the stopped Space does not hold as it was promised."""
    # What still waits in the journal is folded in by whoever writes next.
    isometry.compact(folder, keep_hours=0)
    space = isometry.Space.open(folder)
    space.verify()
    table = pq.read_table(space.documents, columns=["id", "text"]).to_pylist()
    held = {row["id"]: row["text"] for row in table if row["id"].startswith("load-")}
    promised = {id: text for client in clients for id, (text, _) in client.documents.items()}
    return [
        f"at the end: {id}"
        for id in held.keys() | promised.keys()
        if held.get(id) != promised.get(id)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("space", type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rate", type=float, default=40, help="requests a second, of all clients")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.space, given.minutes, given.clients, given.rate)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{sum(found['requests'].values()):,} requests: {found['requests']}")
        print(f"{found['wrong']} wrong; p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms")
        grown = found["growth"]
        said = "too short to tell" if grown is None else f"{100 * (grown - 1):+.1f} %"
        print(f"memory after the first five minutes: {said}; {found['memory_mib']} MiB")
        for line in found["examples"]:
            print(line)
    sys.exit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
