"""Who we are to control and to usage: a certificate, or where there is no TLS a token."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from libs.common.grpcio_tls import LiveChannel
from libs.common.hop_tls import HopTls

HEADER: Final = "authorization"
SCHEME: Final = "Bearer "


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What clients show; nothing of it is needed on a Unix socket."""

    tls: HopTls | None = None
    token: str = field(default="", repr=False)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what each call carries."""
        return ((HEADER, SCHEME + self.token),) if self.token else ()

    def channel(self, address: str) -> LiveChannel:
        """Return a channel; nothing is opened yet. OSError: the files cannot be read."""
        return LiveChannel(address, self.tls)


NOBODY: Final = Caller()
