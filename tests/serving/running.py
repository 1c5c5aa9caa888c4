"""Servers for tests: a real one in a thread, and an application without a network."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
from starlette.testclient import TestClient

from isometry.serving.app import create_app
from isometry.serving.models import Models
from isometry.serving.server import Server, bind
from isometry.serving.settings import Limits, Settings
from isometry.serving.sources import read_sources


@dataclass
class Running:
    """A server that takes requests."""

    address: str
    port: int
    server: Server


@contextlib.contextmanager
def running(
    *sources: str,
    limits: Limits | None = None,
    token: str = "",
    writable: bool = False,
    beside_base: bool = False,
) -> Iterator[Running]:
    """Runs uvicorn on a free port, in a thread, until the block ends."""
    settings = Settings(port=0, limits=limits or Limits(), token=token, writable=writable)
    started = threading.Event()
    addresses: list[str] = []

    def on_started(address: str) -> None:
        addresses.append(address)
        started.set()

    with bind(settings) as opened:
        read = read_sources(sources, beside_base=beside_base)
        server = Server(read, settings, on_started)
        thread = threading.Thread(target=server.run, args=([opened],), daemon=True)
        thread.start()
        try:
            assert started.wait(300)
            until(lambda: httpx2.get(f"{addresses[0]}/readyz", timeout=120).status_code == 200)
            yield Running(addresses[0], int(addresses[0].rpartition(":")[2]), server)
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def answering(
    *sources: str,
    limits: Limits | None = None,
    token: str = "",
    writable: bool = False,
    beside_base: bool = False,
    ready: bool = True,
) -> Iterator[tuple[TestClient, Any]]:
    """An application that is called without a network, and its state."""
    settings = Settings(token=token, limits=limits or Limits(), writable=writable)
    app: Any = create_app(read_sources(sources, beside_base=beside_base), settings)
    state = app._app._app.state
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        if ready:
            until(lambda: client.get("/readyz").status_code == 200)
        yield client, state


def until(true: Callable[[], bool], pause: float = 0.02) -> None:
    """Returns as soon as something is true; asks again after so many seconds."""
    end, never = time.monotonic() + 300, threading.Event()
    while not true():
        assert time.monotonic() < end, "this never becomes true"
        # Who asks without a pause takes the processor from who is asked.
        never.wait(pause)


@contextlib.contextmanager
def held(models: Models) -> Iterator[None]:
    """Lets no model compute inside the block."""
    with models._loader._turn:
        yield


def sample(client: Any, name: str, **labels: str) -> float:
    """A value of /metrics; 0 where there is none."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    for line in client.get("/metrics").text.splitlines():
        if line.partition("{")[0].partition(" ")[0] == name and all(w in line for w in wanted):
            return float(line.rpartition(" ")[2])
    return 0.0
