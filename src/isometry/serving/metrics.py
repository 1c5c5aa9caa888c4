"""What is counted, for Prometheus."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class Metrics:
    """The counters of one server; safe to use from several threads."""

    def __init__(self) -> None:
        # Of its own: two servers in a process do not add up.
        self._registry = CollectorRegistry(auto_describe=True)
        registry = self._registry
        self._requests = Counter(
            "isometry_requests_total",
            "Requests that were answered.",
            ("route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "isometry_request_seconds",
            "From a request's headers to its last byte.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._active = Gauge("isometry_requests_active", "Requests under way.", registry=registry)
        self._queue = Gauge(
            "isometry_queue_tokens", "Tokens that wait.", ("model",), registry=registry
        )
        self._tokens = Counter(
            "isometry_tokens_total", "Tokens computed.", ("model",), registry=registry
        )
        self._batches = Histogram(
            "isometry_batch_texts",
            "Texts that were computed together.",
            ("model",),
            buckets=_SIZES,
            registry=registry,
        )
        self._computing = Counter(
            "isometry_compute_seconds_total", "Time spent computing.", ("model",), registry=registry
        )
        self._cache = Counter(
            "isometry_cache_texts_total",
            "Texts that were looked up among former ones.",
            ("model", "result"),
            registry=registry,
        )
        self._reloads = Counter(
            "isometry_reloads_total", "Changed Spaces.", ("model", "result"), registry=registry
        )

        self._waiting = Gauge(
            "isometry_documents_waiting",
            "Writes that are on the disk and not in the table yet.",
            ("model",),
            registry=registry,
        )
        self._failing = Gauge(
            "isometry_documents_failing",
            "Whether writes cannot be brought into the table; the log says why.",
            ("model",),
            registry=registry,
        )
        self._torn = Gauge(
            "isometry_journal_torn_bytes",
            "What was cut off of an unfinished write when the journal was opened.",
            ("model",),
            registry=registry,
        )
        self._written = Counter(
            "isometry_documents_written_total",
            "Documents that were acknowledged.",
            ("model", "how"),
            registry=registry,
        )

    def started(self) -> None:
        """A request came."""
        self._active.inc()

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request is over; one whose client went away has status 499."""
        self._active.dec()
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def queued(self, model: str, tokens: int) -> None:
        """So many tokens wait now."""
        self._queue.labels(model).set(tokens)

    def computed(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """A batch is done."""
        self._batches.labels(model).observe(texts)
        self._tokens.labels(model).inc(tokens)
        self._computing.labels(model).inc(seconds)

    def looked_up(self, model: str, hits: int, misses: int) -> None:
        """Texts were looked for in the cache."""
        self._cache.labels(model, "hit").inc(hits)
        self._cache.labels(model, "miss").inc(misses)

    def reloaded(self, model: str, *, well: bool) -> None:
        """A Space was changed, and taken up or not."""
        self._reloads.labels(model, "ok" if well else "failed").inc()

    def stored(self, model: str, *, waiting: int, failing: bool, torn_bytes: int) -> None:
        """How what takes a Space's documents is now."""
        self._waiting.labels(model).set(waiting)
        self._failing.labels(model).set(failing)
        self._torn.labels(model).set(torn_bytes)

    def wrote(self, model: str, how: Literal["put", "deleted"], documents: int) -> None:
        """Documents were acknowledged."""
        self._written.labels(model, how).inc(documents)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
