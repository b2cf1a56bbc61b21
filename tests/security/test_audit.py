"""The audit of dependencies: fails for an advisory, goes on where there are none to be had."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.security.audit import LOCKS, audit

BAD, GOOD = "aiohttp", "orjson"
ADVISORY = {
    "id": "GHSA-of-a-test",
    "aliases": ["CVE-2026-1"],
    "summary": "Bad.",
    "affected": [
        {
            "package": {"name": BAD, "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}],
        }
    ],
}


class Advisories(BaseHTTPRequestHandler):
    """Knows one thing, against one package; `away` and `hung` are what else a network does."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server: Any = self.server
        server.let_go.wait(0 if self.path != "/hung" else 30)
        known = {"vulns": [ADVISORY]} if asked["package"]["name"] == BAD else {}
        self.send_response(403 if self.path == "/away" else 200)
        self.end_headers()
        self.wfile.write(b"<html>" if self.path == "/page" else json.dumps(known).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def advisories() -> Iterator[str]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Advisories)
    server.let_go = threading.Event()
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.let_go.set()
        server.shutdown()
        serving.join()
        server.server_close()


def lock(folder: Path, package: str) -> Path:
    path = folder / "requirements.lock"
    path.write_text(f"{package}==1.0 --hash=sha256:{'0' * 64}\n")
    return path


def test_an_advisory_fails_it_and_says_what_mends_it(tmp_path: Path) -> None:
    with advisories() as url:
        bad = audit([lock(tmp_path, BAD)], "--osv-url", url)
        good = audit([lock(tmp_path, GOOD)], "--osv-url", url)

    assert bad == (False, [f"{BAD} 1.0: CVE-2026-1, GHSA-of-a-test; mended by 9.9"])
    assert good == (True, ["no advisory on 1 dependencies"])


def test_our_lock_files_can_be_read(tmp_path: Path) -> None:
    with advisories() as url:
        fine, lines = audit(LOCKS, "--osv-url", url)

    assert not fine
    assert lines[0].startswith(f"{BAD} ")
    assert len(lines) == 1


@pytest.mark.parametrize("way", ["/away", "/page"])
def test_who_does_not_give_advisories_does_not_fail_it(tmp_path: Path, way: str) -> None:
    with advisories() as url:
        ended = audit([lock(tmp_path, GOOD)], "--osv-url", url + way)

    assert ended == (True, ["dependencies were not audited: the advisories could not be had"])


def test_nobody_there_does_not_fail_it(tmp_path: Path) -> None:
    ended = audit([lock(tmp_path, GOOD)], "--osv-url", "http://127.0.0.1:9")

    assert ended == (True, ["dependencies were not audited: the advisories could not be had"])


def test_who_never_answers_is_waited_for_so_long(tmp_path: Path) -> None:
    with advisories() as url:
        ended = audit([lock(tmp_path, GOOD)], "--osv-url", f"{url}/hung", seconds=3)

    assert ended == (True, ["dependencies were not audited: no end within 3 s"])


def test_a_lock_file_that_cannot_be_read_fails_it(tmp_path: Path) -> None:
    fine, (line,) = audit([tmp_path / "not-there.lock"])

    assert not fine
    assert "not-there.lock" in line
