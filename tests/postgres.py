"""A real PostgreSQL, in a folder and on a port of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pg8000.native
from pg8000.exceptions import DatabaseError, InterfaceError

from tests.random_ports import random_port

DEBIAN = Path("/usr/lib/postgresql")  # which puts initdb and postgres into no PATH
USER, PASSWORD = "constellation", "secret"
# What is lost with the machine's power is lost; a server that is killed loses nothing.
SETTINGS = {
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "40",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "warning",
}


def binaries() -> Path | None:
    """Return where the newest PostgreSQL's programs are, if there is one."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else DEBIAN.glob("*/bin")
    return max((each for each in folders if (each / "postgres").exists()), default=None)


class PostgreSQL:
    """Starts, is stopped without a goodbye, and comes back with what it had."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._user = "postgres" if os.geteuid() == 0 else None  # it refuses to be root's
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self.port = random_port()
        self._make()

    def start(self) -> None:
        """Return when it takes connections."""
        settings = {**SETTINGS, "port": self.port, "unix_socket_directories": self._folder}
        flags = [word for each in settings.items() for word in ("-c", "{}={}".format(*each))]
        with (self._folder / "log").open("ab") as log:
            self._process = self._run("postgres", "-D", str(self._folder / "data"), *flags, log=log)
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def stop(self) -> None:
        """End it as `pg_ctl stop -m immediate` does: all connections are cut, nothing is tidied."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(20)
            self._process = None

    def url(self, database: str) -> str:
        """Return the address of a database, with its driver."""
        return f"postgresql+pg8000://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the name of a database that nobody else has."""
        self._databases += 1
        name = f"d{self._databases}"
        self.ask(f"create database {name}")
        yield name
        self.ask(f"drop database {name} with (force)")

    def ask(self, query: str, **values: object) -> Any:
        """Run a statement beside all others, and return its rows."""
        with closing(self._connection()) as connection:
            return connection.run(query, **values)

    def connections(self, database: str) -> int:
        """Return how many there are to a database."""
        counting = "select count(*) from pg_stat_activity where datname = :name"
        return int(self.ask(counting, name=database)[0][0])

    def cut(self, database: str) -> None:
        """End all connections to a database from the server's side."""
        ending = "select pg_terminate_backend(pid) from pg_stat_activity where datname = :name"
        self.ask(ending, name=database)

    def log(self) -> str:
        """What it has said."""
        return (self._folder / "log").read_text(errors="replace")

    def _make(self) -> None:
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        words = self._folder / "password"
        words.write_text(PASSWORD)
        data = ["--pgdata", str(self._folder / "data"), "--no-sync", "--encoding", "UTF8"]
        who = ["--username", USER, "--pwfile", str(words), "--auth", "scram-sha-256"]
        with (self._folder / "log").open("ab") as log:
            making = self._run("initdb", *data, *who, log=log)
            assert making.wait(50) == 0, self.log()

    def _run(self, program: str, *arguments: str, log: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(self._binaries / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            env={**os.environ, "LC_ALL": "C"},
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
        )

    def _connection(self) -> pg8000.native.Connection:
        socket = str(self._folder / f".s.PGSQL.{self.port}")
        return pg8000.native.Connection(
            USER, password=PASSWORD, unix_sock=socket, database="postgres", timeout=10
        )

    def _answers(self) -> bool:
        try:
            self._connection().close()
        except (InterfaceError, DatabaseError, OSError):
            return False
        return True
