"""TLS from files that change: a certificate renewed on disk serves the next connection."""

from __future__ import annotations

import logging
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECK_S = 1.0
log = logging.getLogger("libs.http1")
Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """A certificate chain and its key in PEM; with `client_ca`, clients must show one, too."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context that follows the files. Raises OSError, of which SSLError is one."""
        context = LiveContext(ssl.PROTOCOL_TLS_SERVER)
        context.follow(self)
        return context

    def load(self) -> ssl.SSLContext:
        """Return a context of what the files hold now. Raises OSError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self.cert, self.key)
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.client_ca)
        return context

    def stamp(self) -> Stamp:
        """Return what changes when a file does. Raises OSError."""
        found = [path.stat() for path in (self.cert, self.key, self.client_ca) if path]
        return tuple((each.st_mtime_ns, each.st_ino, each.st_size) for each in found)


class LiveContext(ssl.SSLContext):
    """Stands before the context of now; event loops ask it for one handshake after the other.

    A new context each time, rather than new files into the old one: half a pair that fails
    leaves the old one whole, and a client CA that was taken out is trusted no more.
    """

    _files: TlsFiles
    _now: ssl.SSLContext
    _stamp: Stamp
    _checked: float

    def follow(self, files: TlsFiles) -> None:
        """Load the files, and again whenever they change."""
        self._files = files
        self._stamp = files.stamp()
        self._now = files.load()
        self._checked = time.monotonic()

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Begin a handshake with what the files hold."""
        if time.monotonic() - self._checked >= CHECK_S:
            self._checked = time.monotonic()
            self._look()
        return self._now.wrap_bio(*args, **options)

    def _look(self) -> None:
        try:
            stamp = self._files.stamp()
        except OSError:
            stamp = ()
        if stamp == self._stamp:
            return
        self._stamp = stamp  # so that a broken pair is told of once
        try:
            self._now = self._files.load()
        except (OSError, ValueError) as error:
            log.error("TLS files cannot be loaded, the old ones serve on: %s", error)
        else:
            log.info("TLS files were loaded again: %s", self._files.cert)
