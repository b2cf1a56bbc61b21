"""TLS from files that change: a certificate renewed on disk serves the next connection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from libs.live_tls import live_context


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """A certificate chain and its key in PEM; with `client_ca`, clients must show one, too."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context that follows the files. Raises OSError, of which SSLError is one."""
        files = [path for path in (self.cert, self.key, self.client_ca) if path]
        return live_context(self.load, files)

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
