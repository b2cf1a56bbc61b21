"""A ClickHouse for tests: the engine is the real one, chdb's; the HTTP in front of it is ours.

Nobody ships a ClickHouse server to where these tests run, but its engine as a library. This puts
of ClickHouse's HTTP interface before it what its driver uses: statements in the body or the query
string, settings and parameters as arguments, a database for each request, compressed inserts,
users, and the number of an error in a header. Everything that is done with a statement is done by
the engine, and all of it dies with the process.

Arguments: the folder of the data, the user's password, and a port (0: any, which is printed).
Run with `.tools/chdb` in PYTHONPATH.
"""

from __future__ import annotations

import base64
import re
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.frame

OF_THE_TRANSPORT = {
    *("query", "database", "session_id", "query_id", "client_protocol_version"),
    *("wait_end_of_query", "enable_http_compression", "http_headers_progress_interval_ms"),
    *("send_progress_in_http_headers", "compress", "decompress", "buffer_size"),
}
AUTHENTICATION_FAILED = 516
# Nothing is asked often enough to be compiled for it, and two threads are two cores.
LIGHT = {
    "compile_expressions": "0",
    "compile_aggregate_expressions": "0",
    "compile_sort_description": "0",
    "max_threads": "1",
}


class Engine(ThreadingHTTPServer):
    """Answers every request with a connection of its own to the one engine."""

    daemon_threads = True

    def __init__(self, folder: Path, password: str, port: int) -> None:
        self.folder = str(folder.resolve())
        self.password = password
        self.kept = chdb.connect(self.folder)  # else the engine would end with each request
        super().__init__(("127.0.0.1", port), Handler)


class Failed(Exception):
    """What the engine says of a statement."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one write
    server: Engine

    def do_GET(self) -> None:
        """Answer whether this is alive."""
        self._answer(200, b"Ok.\n")

    def do_POST(self) -> None:
        """Run a statement."""
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)) if self._sized() else b""
        if not self._sized():
            body = self._chunks()
        try:
            if not self._is_known():
                raise Failed(
                    AUTHENTICATION_FAILED, "Code: 516. DB::Exception: Authentication failed"
                )
            arguments = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
            answer, has_rows = self._run(arguments, body)
        except Failed as error:
            self._answer(500, str(error).encode(), {"X-ClickHouse-Exception-Code": str(error.code)})
        else:
            self._answer(200, answer, {"X-ClickHouse-Format": "any"} if has_rows else {})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _sized(self) -> bool:
        return self.headers.get("Transfer-Encoding") != "chunked"

    def _chunks(self) -> bytes:
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _is_known(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        return base64.b64decode(given).decode() == f"default:{self.server.password}"

    def _run(self, arguments: dict[str, str], body: bytes) -> tuple[bytes, bool]:
        encoding = self.headers.get("Content-Encoding", "")
        data = lz4.frame.decompress(body) if encoding == "lz4" else body
        statement = arguments.get("query", "").encode()
        if not statement:
            statement, data = data, b""
        parameters = {
            name.removeprefix("param_"): value
            for name, value in arguments.items()
            if name.startswith("param_")
        }
        connection = chdb.connect(self.server.folder)
        try:
            if arguments.get("database"):
                connection.query(f"USE `{arguments['database']}`")
            for name, value in (LIGHT | arguments).items():
                if name not in OF_THE_TRANSPORT and not name.startswith("param_"):
                    connection.query(f"SET {name} = '{value}'")
            insert = re.match(rb"INSERT INTO [^\n]+ FORMAT Native\n", statement)
            if insert:
                return self._insert(connection, insert[0], statement[insert.end() :] + data)
            found = connection.query(statement.decode(), "TabSeparated", params=parameters)
            has_rows = re.match(rb"\s*(SELECT|SHOW|DESCRIBE|WITH|EXISTS)", statement) is not None
            return found.bytes() or b"", has_rows
        except RuntimeError as error:
            code = re.search(r"Code: (\d+)", str(error))
            raise Failed(int(code[1]) if code else 1002, str(error)) from error
        finally:
            connection.close()

    def _insert(self, connection: Any, statement: bytes, data: bytes) -> tuple[bytes, bool]:
        head = statement.decode().removesuffix(" FORMAT Native\n")
        with tempfile.NamedTemporaryFile(suffix=".native") as file:
            file.write(data)
            file.flush()
            connection.query(f"{head} FROM INFILE '{file.name}' FORMAT Native")
        return b"", False

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


if __name__ == "__main__":
    engine = Engine(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    sys.stdout.write(f"{engine.server_port}\n")
    sys.stdout.flush()
    engine.serve_forever()
