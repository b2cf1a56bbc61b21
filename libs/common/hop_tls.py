"""TLS between our processes, with certificates of both sides: who we are, and whom we trust."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from libs import lean
from libs.common.addresses import host_port
from libs.common.rpc import CannotListen

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HopTls:
    """PEM files, both ways; they are followed as they change."""

    cert: Path
    key: Path
    ca: Path

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """Return whom we trust, then who we are."""
        return self.ca, self.cert, self.key

    def server_context(self) -> ssl.SSLContext:
        """Return what a server needs that answers those of our authority alone. OSError."""
        return lean.server_context(self.cert, self.key, self.ca)

    def client_context(self) -> ssl.SSLContext:
        """Return what a client needs. OSError."""
        return lean.client_context(self.ca, self.cert, self.key)


def hop_tls(cert: Path | None, key: Path | None, ca: Path | None) -> HopTls | None:
    """Return the three files, None for none of them.

    CannotListen for a part of them, and for what cannot be read or does not fit together.
    """
    if not (cert or key or ca):
        return None
    if not (cert and key and ca):
        raise CannotListen("hop_cert, hop_key and hop_ca belong together: expected all or none")
    for path in (cert, key, ca):
        check_readable(path)
    tls = HopTls(cert=cert, key=key, ca=ca)
    try:
        tls.server_context()
    except OSError as error:
        raise CannotListen(
            f"hop_cert {cert}, hop_key {key} and hop_ca {ca}: expected a certificate, its key and "
            f"an authority in PEM: {error}"
        ) from error
    return tls


def warn_if_open(address: str, tls: HopTls | None) -> None:
    """Say so where an address that others may reach is to be listened on without TLS."""
    if tls is not None or not address or address.startswith("unix:"):
        return
    host, _ = host_port(address)
    if not _is_loopback(host):
        log.warning(
            "%s: anybody who reaches it may call, and read along: hop_cert, hop_key and hop_ca "
            "are not set (docs/security.md)",
            address,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_readable(path: Path) -> None:
    """Raise CannotListen, with the file's name, for one that cannot be read."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise CannotListen(f"{path}: {error.strerror}") from error
