"""What a service alone answers over HTTP to those who look after it: metrics, and how it is.

It answers in a thread of its own, so that it can also tell of a loop that is stuck.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from libs.common.addresses import host_port, in_brackets
from libs.common.rpc import CannotListen

TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")
STUCK_S: Final = 5.0  # no piece of work may keep a loop so long


class OpsPort:
    """Answers /metrics, /healthz and /readyz; `is_ready` is set by who runs the service."""

    def __init__(self, registry: CollectorRegistry, *, stuck_s: Callable[[], float]) -> None:
        self._metrics: WSGIApplication = make_wsgi_app(registry)
        self._stuck_s = stuck_s
        self.is_ready = False

    def __repr__(self) -> str:
        return f"<OpsPort {self._unwell() or 'well'}, {'ready' if self.is_ready else 'not ready'}>"

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer one request, as WSGI has it."""
        path = environ.get("PATH_INFO", "")
        if path == "/healthz":
            return _tell(start, self._unwell())
        if path == "/readyz":
            return _tell(start, self._unwell() or ("" if self.is_ready else "it is not up"))
        return self._metrics(environ, start)

    @contextmanager
    def listening(self, address: str) -> Iterator[str]:
        """Listen while inside, and yield the URL; CannotListen where that is not to be had."""
        host, port = host_port(address)
        kind = _Server6 if ":" in host else ThreadingWSGIServer
        try:
            server = make_server(host, port, self, server_class=kind, handler_class=_Quiet)
        except OSError as error:
            raise CannotListen(f"cannot listen on {address}: {error.strerror}") from error
        thread = Thread(target=server.serve_forever, name="ops", daemon=True)
        thread.start()
        try:
            yield f"http://{in_brackets(host)}:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _unwell(self) -> str:
        stuck_s = self._stuck_s()
        return f"its event loop is stuck for {stuck_s:.0f} s" if stuck_s > STUCK_S else ""


class _Server6(ThreadingWSGIServer):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Leave out the line per request."""


def _tell(start: StartResponse, wrong: str) -> Iterable[bytes]:
    start("503 Service Unavailable" if wrong else "200 OK", [TEXT])
    return [f"{wrong or 'ok'}\n".encode()]
