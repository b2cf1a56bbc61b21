"""Server-sent events as a backend writes them: bytes in, the data of each event out."""

from __future__ import annotations

from typing import Final

DATA: Final = b"data:"


class TooLong(ValueError):
    """An event is longer than what is kept of one."""


class EventReader:
    """Cuts a stream of bytes into events; comments and other fields than data are left out."""

    def __init__(self, most_bytes: int) -> None:
        """Keep at most so many bytes of an event that has not ended."""
        self._most_bytes = most_bytes
        self._rest = b""
        self._data: list[bytes] = []

    def __repr__(self) -> str:
        return f"<EventReader rest={len(self._rest)}>"

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of the events that this chunk ends. Raises TooLong."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        found: list[bytes] = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(DATA):
                self._data.append(line[len(DATA) :].removeprefix(b" "))
            elif not line and self._data:
                found.append(b"\n".join(self._data))
                self._data = []
        if len(self._rest) + sum(map(len, self._data)) > self._most_bytes:
            raise TooLong(f"an event is longer than {self._most_bytes} bytes")
        return found
