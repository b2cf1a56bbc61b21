"""A server with OpenAI's API that fails as a test wants it: real ones cannot be made to."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

MODEL = "org/M"
Mood = Literal["well", "failing", "breaking"]


class TextServer:
    """Answers by HTTP/1.0, a connection for each call; a context manager."""

    def __init__(self, *, takes_s: float = 0.02) -> None:
        self.mood: Mood = "well"
        self.takes_s = takes_s
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _send(self, 200, {"data": [{"id": MODEL, "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.chat(self, is_stream=bool(body.get("stream")))

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def chat(self, handler: BaseHTTPRequestHandler, *, is_stream: bool) -> None:
        """Answer a call by the mood."""
        time.sleep(self.takes_s)
        if self.mood == "failing":
            _send(handler, 500, {"error": {"message": "out of order"}})
        elif is_stream:
            _stream(handler, breaks=self.mood == "breaking")
        else:
            choice = {"message": {"content": "well"}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 3, "completion_tokens": 1}
            _send(handler, 200, {"choices": [choice], "usage": usage})

    def __enter__(self) -> TextServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Refuse all connections from now on."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


def _send(handler: BaseHTTPRequestHandler, status: int, value: Any) -> None:
    body = json.dumps(value).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _stream(handler: BaseHTTPRequestHandler, *, breaks: bool) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    if breaks:
        handler.send_header("Content-Length", "1000000")  # which never comes
    handler.end_headers()
    deltas = [{"content": f"word{n} "} for n in range(3)]
    events = [{"choices": [{"delta": delta}]} for delta in deltas]
    if not breaks:
        usage = {"prompt_tokens": 3, "completion_tokens": 3}
        events.append({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage})
    for event in events:
        handler.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
    if not breaks:
        handler.wfile.write(b"data: [DONE]\n\n")
