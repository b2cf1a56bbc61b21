"""A fleet of real processes whose instances are processes, too, and calls of it all the time."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from httpx2 import TransportError

from libs.common.clients.control import ControlClient
from libs.common.errors import Unavailable
from libs.common.world_map import Override
from tests.system.harness import Client, Service, answers, free_ports, processes_of, until

MODEL = "@cf/test/echo"
SERVER = """
import http.server, json, sys, time

class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.answer({"data": [{"id": "echo"}]})
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.05)
        message = {"role": "assistant", "content": "Hello!"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "message": message, "text": "Hello!", "finish_reason": "stop"}
        self.answer({"choices": [choice], "usage": usage})
    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Answers).serve_forever()
"""
CONFIG = """
colos:
  - {name: ams, region: eu}
"""
CATALOG = """
name: "%s"
task: text-generation
backend:
  kind: openai_http
  dialect: openai_http
  served_as: echo
  command: ["%s", "%s", "{host}", "{port}"]
  ready_path: /v1/models
resources: {cpus: 0.1}
scaling: {min: 1, max: 4, boot_s: 1}
"""


class Fleet:
    """The processes, and how many instances there should be."""

    def __init__(self, state: Path, env: Mapping[str, str] | None = None) -> None:
        self.state = state
        config = state / "config"
        (config / "models").mkdir(parents=True)
        (config / "constellation.yaml").write_text(CONFIG)
        self._script = state / "server.py"
        self._script.write_text(SERVER)
        catalog = CATALOG % (MODEL, sys.executable, self._script)
        (config / "models" / "echo.yaml").write_text(catalog)
        first, second, self.http, grpc, listen = free_ports(5)
        self.controls = f"127.0.0.1:{first},127.0.0.1:{second}"
        shared = ["--config", str(config)]
        there = [*shared, "--control", self.controls]
        node = ["node", "--name", "ams-node", "--colo", "ams", *there]
        server = ["server", "--name", "ams-server", "--colo", "ams", *there]
        server += ["--listen", f"127.0.0.1:{listen}"]
        entry = ["entry", "--name", "entry", "--colo", "ams", *there]
        entry += ["--http", f"127.0.0.1:{self.http}", "--grpc", f"127.0.0.1:{grpc}"]
        a = ["scheduler", "--name", "a", "--listen", f"127.0.0.1:{first}", *shared]
        b = ["scheduler", "--name", "b", "--listen", f"127.0.0.1:{second}", *shared]
        self.services = {
            name: Service(arguments, state, dict(env or {}))
            for name, arguments in (
                ("a", a),
                ("b", b),
                ("node", node),
                ("server", server),
                ("entry", entry),
            )
        }
        self.wanted = 1
        self.killed: set[str] = set()

    def start(self) -> None:
        self.services["a"].start().wait_for("scheduler is up: ")
        self.services["b"].start().wait_for("standing by")
        for name in ("node", "server", "entry"):
            self.services[name].start().wait_for(" is up: ")
        until(lambda: answers(f"http://127.0.0.1:{self.http}/readyz"), seconds=20, what="entry")
        self.comes_to(1)

    def stop(self) -> None:
        for service in reversed(self.services.values()):
            service.stop()

    def instances(self) -> list[int]:
        found = processes_of(self.state).items()
        return [pid for pid, each in found if str(self._script) in each and "launch" not in each]

    def want(self, count: int) -> None:
        """Write bounds by hand, as soon as control can be had."""

        async def write() -> bool:
            async with ControlClient(self.controls) as control:
                try:
                    await control.put(Override(model=MODEL, min=count, max=count))
                except Unavailable:
                    return False
                return True

        def is_written() -> bool:
            self.supervise()
            return asyncio.run(write())

        until(is_written, seconds=60, what=lambda: f"control takes it: {self.logs()}")
        self.wanted = count

    def supervise(self) -> None:
        """Start schedulers again that have ended, but those that a test has killed."""
        for name in {"a", "b"} - self.killed:
            if self.services[name].process.poll() is not None:
                self.services[name].start()

    def comes_to(self, count: int, *, seconds: float = 30.0) -> float:
        """Wait until so many instances run and answer; return how long it took."""
        began = time.monotonic()
        until(
            lambda: len(self.instances()) == count,
            seconds=seconds,
            what=lambda: f"{count} instances, there are {self.instances()}: {self.logs()}",
        )
        took = time.monotonic() - began
        until(self.answers, seconds=20, what=lambda: f"an answer: {self.logs()}")
        return took

    def answers(self) -> bool:
        client = Client(self.http)
        try:
            return client.run(MODEL, messages=MESSAGES).status_code == 200
        finally:
            client.close()

    def logs(self) -> str:
        return "\n".join(f"--- {n}\n{s.text()[-1500:]}" for n, s in self.services.items())


MESSAGES = [{"role": "user", "content": "Hello!"}]


class Calls:
    """Calls all the time, and counts what comes of them."""

    def __init__(self, http: int) -> None:
        self._http = http
        self.ends: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(3)]

    def __enter__(self) -> Calls:
        for each in self._threads:
            each.start()
        time.sleep(1.0)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(1.0)
        self._stop.set()
        for each in self._threads:
            each.join()

    def __str__(self) -> str:
        return ", ".join(f"{count} ended with {end}" for end, count in sorted(self.ends.items()))

    def _call(self) -> None:
        client = Client(self._http)
        while not self._stop.is_set():
            # one that is told again after two instances died under it is refused from then on
            said = [{"role": "user", "content": f"Hello {next(self._numbers)}!"}]
            try:
                self.ends[str(client.run(MODEL, messages=said).status_code)] += 1
            except TransportError as error:
                self.ends[type(error).__name__] += 1
            time.sleep(0.02)
        client.close()
