"""How a ClickHouse is reached by its address, and what its errors say to people."""

from __future__ import annotations

import logging
import math
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from services.analytics.ports import StoreError

# What the driver warns of we tell, in one line, and once.
logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)

ANSWER_SECONDS = 2  # for the word of a server that it took too long

PORTS = {"http": 8123, "https": 8443}

# ClickHouse's numbers for errors.
UNKNOWN_DATABASE = 81
TIMEOUT_EXCEEDED = 159
REFUSED = {193, 194, 516}  # wrong password, required password, authentication failed


class StoreAway(StoreError):
    """The store cannot be reached; it may be there later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickHouseAddress:
    """Where a database of ClickHouse is, and who asks."""

    url: str  # http(s)://host[:port]/database
    user: str = "default"
    password: str = field(default="", repr=False)
    password_file: Path | None = None
    ca_file: Path | None = None  # of the certificate's authority; none: the system's
    connect_seconds: float = 5.0

    def __str__(self) -> str:
        return self.url

    @property
    def database(self) -> str:
        """Return the name of the database."""
        return unquote(urlsplit(self.url).path.strip("/")) or "default"

    def connect(self, *, seconds: float, create: bool = False) -> Client:
        """Return a client whose calls take hardly longer than that. Raises StoreError.

        With `create` its database is made where there is none.
        """
        with translated(self):
            try:
                return self._connect(seconds, self.database)
            except ClickHouseError as error:
                if not create or _code(error) != UNKNOWN_DATABASE:
                    raise
            client = self._connect(seconds, "default")
            client.command(
                "CREATE DATABASE IF NOT EXISTS {name:Identifier}", {"name": self.database}
            )
            client.close()
            return self._connect(seconds, self.database)

    def _connect(self, seconds: float, database: str) -> Client:
        parts = urlsplit(self.url)
        if self.ca_file is not None and not self.ca_file.is_file():
            raise StoreError(f"clickhouse_ca_file {self.ca_file} is not there")
        return clickhouse_connect.get_client(
            interface=parts.scheme,
            host=parts.hostname or "localhost",
            port=parts.port or PORTS[parts.scheme],
            username=self.user,
            password=self._password(),
            database=database,
            ca_cert=str(self.ca_file) if self.ca_file else None,
            connect_timeout=math.ceil(self.connect_seconds),
            send_receive_timeout=math.ceil(seconds) + ANSWER_SECONDS,
            query_retries=0,
            autogenerate_session_id=False,
            client_name="constellation",
        )

    def _password(self) -> str:
        if self.password_file is None:
            return self.password
        try:
            return self.password_file.read_text().strip()
        except OSError as error:
            raise StoreError(
                f"clickhouse_password_file {self.password_file}: {error.strerror}"
            ) from error


@contextmanager
def translated(where: object) -> Iterator[None]:
    """Turn what ClickHouse and the way to it raise into StoreError, or TimeoutError."""
    try:
        yield
    except ClickHouseError as error:
        if _code(error) == TIMEOUT_EXCEEDED:
            raise TimeoutError(_line(error)) from error
        if _code(error) in REFUSED:
            raise StoreError(f"ClickHouse at {where} refuses the user or its password") from error
        if _code(error) is not None:
            raise StoreError(f"ClickHouse at {where}: {_line(error)}") from error
        cause = _innermost(error)
        kind = StoreError if isinstance(cause, ssl.SSLCertVerificationError) else StoreAway
        raise kind(f"ClickHouse at {where} cannot be reached: {_why(cause)}") from error


def _code(error: ClickHouseError) -> int | None:
    code: int | None = getattr(error, "code", None)
    return code


def _line(error: ClickHouseError) -> str:
    """Return the first line of what the server said, without its version."""
    found = re.search(r"DB::Exception: (.*)", str(error))
    text = found[1] if found else str(error)
    return re.sub(r"\s*\((version|for url) .*", "", text)[:300]


def _innermost(error: BaseException) -> BaseException:
    """Return what the error is about: the last one that is about no other."""
    while True:
        others = (getattr(error, "reason", None), error.__cause__, *error.args[:1])
        deeper = next((each for each in others if isinstance(each, BaseException)), None)
        if deeper is None:
            return error
        error = deeper


def _why(error: BaseException) -> str:
    """Return why no answer came, in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    text = getattr(error, "strerror", None) or str(error)
    return str(text).partition("\n")[0].rpartition(": ")[2][:200]
