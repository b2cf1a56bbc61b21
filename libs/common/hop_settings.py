"""Settings of a service that speaks with others of ours, and where they stand for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from libs.common.hop_tls import HopTls, hop_tls

FOR_ALL: Final = {  # variables that count where a service's own say nothing
    "hop_cert": "CONSTELLATION_HOP_CERT",
    "hop_key": "CONSTELLATION_HOP_KEY",
    "hop_ca": "CONSTELLATION_HOP_CA",
}


@dataclass(frozen=True, kw_only=True)
class HopSettings:
    """Who the service is to the others of ours, and whom it trusts."""

    hop_cert: Path | None = None
    """PEM file with [this service's certificate](security.md); with the next two, all that our
    services say to one another over TCP is encrypted, and both sides show theirs."""
    hop_key: Path | None = None
    """PEM file with the key of `hop_cert`."""
    hop_ca: Path | None = None
    """PEM file with the authority that certificates of the others must be of."""

    @property
    def hop_tls(self) -> HopTls | None:
        """Return the files of mutual TLS, None where it is not set up. CannotListen."""
        return hop_tls(self.hop_cert, self.hop_key, self.hop_ca)


def for_all(env: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Return settings by name: the variable that gives them to all services, and what it says."""
    return {name: (each, env[each]) for name, each in FOR_ALL.items() if env.get(each)}
