"""The server beside the usual handler around sentence-transformers, under many clients.

    python benchmarks/serve.py [--clients N] [--seconds S] [--rounds N] [--model MODEL] [--json]

The peer is what people write: FastAPI with a plain `def` handler that calls
`SentenceTransformer.encode` for the one text of a request, run by uvicorn. Both have the same model
in float32, and torch has a thread a core in both. Each runs in a process of its own, and while one
is asked the other idles; a round measures both, and its ratio is what counts, for both had the same
machine. Every text is sent once only, so that no cache helps. The clients are a third process's
coroutines, one connection each, asking again as soon as they are answered.

Then one client alone: how much longer a request takes than `encode` itself in this process, beside
how long an empty handler takes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

# As the command `isometry` sets it, before torch is loaded; for every process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import httpx2
import numpy as np
from pydantic import BaseModel

from isometry.core.errors import InputError
from isometry.core.machine import machine

OURS, PEER = "isometry serve", "FastAPI + SentenceTransformer.encode"
TEXT = "how do I rotate the keys of the cluster without a restart, number {}"


class Asked(BaseModel):
    input: str


def peer(model: str, port: int) -> None:
    """The usual handler, and an empty one."""
    import uvicorn
    from fastapi import FastAPI

    from isometry.encoders.text import TextEncoder

    encoder = TextEncoder.load(model).model
    app = FastAPI()

    @app.post("/v1/embeddings")
    def embed(asked: Asked) -> dict[str, Any]:
        vector = encoder.encode([asked.input], show_progress_bar=False, normalize_embeddings=True)
        return {"data": [{"embedding": vector[0].tolist()}]}

    @app.post("/empty")
    def empty(asked: Asked) -> dict[str, Any]:
        return {"data": [{"embedding": [float(len(asked.input))]}]}

    @app.get("/readyz")
    def ready() -> dict[str, Any]:
        return {}

    uvicorn.run(app, port=port, log_level="error")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return int(opened.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], port: int) -> Iterator[str]:
    """A server in a process of its own, ready to answer."""
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as started:
        try:
            while True:
                with contextlib.suppress(httpx2.TransportError):
                    if httpx2.get(f"{address}/readyz").status_code == 200:
                        break
                if started.poll() is not None:
                    raise InputError(f"The server ended with {started.returncode}.")
                time.sleep(0.1)
            yield address
        finally:
            started.terminate()


@contextlib.contextmanager
def both(model: str) -> Iterator[dict[str, str]]:
    """The addresses of both servers."""
    ours, theirs = free_port(), free_port()
    serve = [sys.executable, "-m", "isometry", "serve", f"model={model}", "--port", str(ours)]
    other = [sys.executable, __file__, "--model", model, "--peer", str(theirs)]
    with process(serve, ours) as first, process(other, theirs) as second:
        yield {OURS: first, PEER: second}


async def load(address: str, clients: int, seconds: float, first: int) -> list[float]:
    """The seconds of each request that so many clients made in so long, one after the other."""
    numbers = iter(range(first, 1 << 40))
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection(*address.removeprefix("http://").split(":"))
        while (start := time.perf_counter()) < end:
            await exchange(reader, writer, "/v1/embeddings", TEXT.format(next(numbers)))
            took.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return took


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, text: str
) -> bytes:
    """One request and its answer, with as little work of the client's own as there can be."""
    body = json.dumps({"input": text}).encode()
    writer.write(
        b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (path.encode(), len(body), body)
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    return await reader.readexactly(length)


def check(addresses: dict[str, str]) -> float:
    """The cosine of both servers' vectors for one text."""
    made = []
    for address in addresses.values():
        answer = httpx2.post(f"{address}/v1/embeddings", json={"input": TEXT.format("x")}).json()
        made.append(np.array(answer["data"][0]["embedding"]))
    return float(made[0] @ made[1] / np.linalg.norm(made[0]) / np.linalg.norm(made[1]))


def under_load(
    addresses: dict[str, str], clients: int, seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """One row for each server: medians over the rounds, and those of the ratios."""
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in addresses}
    sent = 0
    for number in range(rounds + 1):
        for name, address in addresses.items():
            took = asyncio.run(load(address, clients, seconds, sent))
            sent += len(took)
            # The first round warms both up.
            if number:
                p50, p99 = np.percentile(took, [50, 99])
                figures[name].append((len(took) / seconds, float(p50), float(p99)))
    peers = np.array(figures[PEER])
    rows = []
    for name, some in figures.items():
        own = np.array(some)
        middle, ratios = np.median(own, axis=0), np.median(own / peers, axis=0)
        rows.append(
            {
                "server": name,
                "requests_per_second": float(middle[0]),
                "p50_ms": 1000 * float(middle[1]),
                "p99_ms": 1000 * float(middle[2]),
                "throughput_ratio": float(ratios[0]),
                "p99_ratio": float(ratios[2]),
            }
        )
    return rows


def alone(addresses: dict[str, str], model: str, requests: int) -> dict[str, float]:
    """Median milliseconds of one text at a time: encoded here, asked of the server, and nothing."""
    from isometry.encoders.text import TextEncoder

    encoder = TextEncoder.load(model)
    took: dict[str, list[float]] = {"encode": [], "served": [], "empty": []}

    async def measure() -> None:
        ours = await asyncio.open_connection(*addresses[OURS].removeprefix("http://").split(":"))
        theirs = await asyncio.open_connection(*addresses[PEER].removeprefix("http://").split(":"))
        for number in range(requests):
            text = TEXT.format(f"alone {number}")
            start = time.perf_counter()
            encoder.encode([text])
            took["encode"].append(time.perf_counter() - start)
            for name, place, path in (
                ("served", ours, "/v1/embeddings"),
                ("empty", theirs, "/empty"),
            ):
                start = time.perf_counter()
                await exchange(*place, path, text)
                took[name].append(time.perf_counter() - start)

    asyncio.run(measure())
    figures = {f"{name}_ms": 1000 * statistics.median(some[5:]) for name, some in took.items()}
    return figures | {"overhead_ms": figures["served_ms"] - figures["encode_ms"]}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="packaged:minilm")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0, help="of load a server and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200, help="of one client alone")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--peer", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        if options.peer is not None:
            peer(options.model, options.peer)
            return 0
        with both(options.model) as addresses:
            cosine = check(addresses)
            rows = under_load(addresses, options.clients, options.seconds, options.rounds)
            one = alone(addresses, options.model, options.requests)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        found = {"clients": options.clients, "machine": machine(), "cosine": cosine}
        print(json.dumps({**found, "load": rows, "alone": one}, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(
        *("", "requests/s", "p50 ms", "p99 ms", "throughput", "p99"),
        title=f"{options.clients} clients, {os.cpu_count()} cores; cosine {cosine:.6f}",
    )
    for row in rows:
        table.add_row(
            row["server"],
            f"{row['requests_per_second']:,.1f}",
            f"{row['p50_ms']:,.1f}",
            f"{row['p99_ms']:,.1f}",
            f"x {row['throughput_ratio']:.2f}",
            f"x {row['p99_ratio']:.2f}",
        )
    console = Console(width=100)
    console.print(table)
    console.print(
        f"One client: encode {one['encode_ms']:.2f} ms, served {one['served_ms']:.2f} ms"
        f" ({one['overhead_ms']:+.2f}), an empty handler {one['empty_ms']:.2f} ms."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
