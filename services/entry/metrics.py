"""Entry's Prometheus metrics: every request once, with its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from libs.common.errors import Internal, RequestError

CLIENT_LEFT = 499  # as nginx counts them
OVERLOADED = (429, 503)


@dataclass(slots=True)
class Counted:
    """What a front learns of a request while it answers."""

    task: str = ""
    error: RequestError | None = None  # of a stream that broke after its 200


class EntryMetrics:
    """What the entries of this process have answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "constellation_entry_"
        self.registry = registry
        self.requests = Counter(
            f"{prefix}requests",
            "Requests by HTTP status (499: the client left) and task.",
            ("colo", "status", "task"),
            registry=registry,
        )
        self.errors = Counter(
            f"{prefix}errors",
            "Errors told to clients, by public code.",
            ("colo", "code"),
            registry=registry,
        )
        self.refused = Counter(
            f"{prefix}refused",
            "Requests that no colo had room for, by model.",
            ("colo", "model"),
            registry=registry,
        )
        self.in_flight = Gauge(
            f"{prefix}in_flight", "Requests being answered.", ("colo",), registry=registry
        )

    @contextmanager
    def request(self, colo: str) -> Iterator[Counted]:
        """Count the request that is answered inside, whatever becomes of it."""
        counted, status = Counted(), 500
        in_flight = self.in_flight.labels(colo)
        in_flight.inc()
        try:
            yield counted
            status = 200
        except RequestError as error:
            status, counted.error = error.http, error
            raise
        except (asyncio.CancelledError, ConnectionError):
            status = CLIENT_LEFT
            raise
        except Exception:
            counted.error = Internal("")
            raise
        finally:
            in_flight.dec()
            self.requests.labels(colo, status, counted.task).inc()
            if counted.error:
                self.errors.labels(colo, counted.error.code).inc()
