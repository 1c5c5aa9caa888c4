"""Running the application until it is told to stop."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Generator, Sequence

import uvicorn

from isometry.core.errors import InputError
from isometry.serving.app import create_app
from isometry.serving.protocol import bounded_protocol
from isometry.serving.settings import Settings
from isometry.serving.sources import Source

# Longer than clients keep a connection that they do not use: else both close it at a time.
_KEEP_ALIVE = 30
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """uvicorn, which ends well when it is asked to: what was accepted is answered first.

    Args:
        sources: What to serve.
        settings: Where, for whom, and with what limits.
        on_started: Called with the server's address once it takes requests.
    """

    def __init__(
        self,
        sources: list[Source],
        settings: Settings,
        on_started: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.failure: InputError | None = None
        self._host = settings.host
        self._on_started = on_started
        super().__init__(
            uvicorn.Config(
                create_app(sources, settings, self._fail),
                http=bounded_protocol(settings.limits),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=round(settings.limits.shutdown_seconds),
            )
        )

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Begins to take requests."""
        await super().startup(list(sockets) if sockets else None)
        if sockets:
            host = f"[{self._host}]" if ":" in self._host else self._host
            self._on_started(f"http://{host}:{sockets[0].getsockname()[1]}")

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Takes Ctrl-C and SIGTERM as a wish to end, and nothing more: it is no failure."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _fail(self, error: InputError) -> None:
        self.failure = error
        self.should_exit = True


def bind(settings: Settings) -> socket.socket:
    """A socket at the address, so that a port in use is known before anything is loaded.

    Raises:
        InputError: When the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((settings.host, settings.port))
        # Two sockets may be bound to a port, but only one listens.
        opened.listen(2048)
    except OSError as error:
        opened.close()
        reason = error.strerror or str(error)
        raise InputError(
            f"Cannot listen on {settings.host}:{settings.port}: {reason}.",
            "Choose another --port, or 0 for a free one.",
        ) from error
    return opened


def run(
    sources: list[Source], settings: Settings, on_started: Callable[[str], None] = lambda _: None
) -> None:
    """Serves until Ctrl-C or SIGTERM.

    Args:
        sources: What to serve.
        settings: Where, for whom, and with what limits.
        on_started: Called with the server's address once it takes requests.

    Raises:
        InputError: When the port is in use, or a model cannot be loaded.
    """
    with bind(settings) as opened:
        server = Server(sources, settings, on_started)
        server.run(sockets=[opened])
    if server.failure is not None:
        raise server.failure
