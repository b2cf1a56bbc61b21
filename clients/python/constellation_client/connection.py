"""Where a client connects to, and how: the channel's settings, TLS, and the four methods."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from constellation_client.pb import binding_pb2 as pb

SERVICE: Final = "/constellation.v1.BindingService/"
METHODS: Final[dict[str, Any]] = {  # by name, with their answers
    "Run": pb.RunResponse,
    "RunStream": pb.RunStreamResponse,
    "Models": pb.ModelsResponse,
    "Cancel": pb.CancelRunResponse,
}
OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
SOURCES: Final = {
    "worker_binding": pb.SOURCE_WORKER_BINDING,
    "pages_binding": pb.SOURCE_PAGES_BINDING,
    "rest": pb.SOURCE_REST,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM files: whom to trust (none: the system's), and who we are, if that is asked for."""

    ca: str | Path | None = None
    cert: str | Path | None = None
    key: str | Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what gRPC makes of them."""
        ca, cert, key = (
            Path(each).read_bytes() if each else None for each in (self.ca, self.cert, self.key)
        )
        return grpc.ssl_channel_credentials(ca, key, cert)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is the same for all calls of a client."""

    address: str
    token: str
    account: str
    tls: Tls | None
    timeout: float | None
    retries: int
    source: pb.Source.ValueType

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Say who calls."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


def settings(
    address: str,
    *,
    token: str | None,
    account: str,
    tls: Tls | bool,
    timeout: float | None,
    retries: int,
    source: str,
) -> Settings:
    """Check what a client is made with; ValueError says what is wrong."""
    if source not in SOURCES:
        raise ValueError(f"source: expected one of {', '.join(SOURCES)}, got {source!r}")
    if retries < 0:
        raise ValueError(f"retries: expected 0 or more, got {retries}")
    return Settings(
        address=address,
        token=os.environ.get("CONSTELLATION_TOKEN", "") if token is None else token,
        account=account,
        tls=Tls() if tls is True else tls or None,
        timeout=timeout,
        retries=retries,
        source=SOURCES[source],
    )
