"""Mutual TLS for grpcio, with certificates that are renewed while it runs."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc

from libs.common.hop_tls import HopTls
from libs.common.rpc import Context, channel
from libs.live_tls import Live

LINGER_S: Final = 3600.0  # for calls to end on a channel whose certificate was renewed


def server_credentials(tls: HopTls) -> grpc.ServerCredentials:
    """Return credentials that follow the files; clients must show a certificate. OSError."""

    def load() -> Any:
        tls.server_context()  # refuses what does not fit together, which grpc would take
        pair = [(tls.key.read_bytes(), tls.cert.read_bytes())]
        return grpc.ssl_server_certificate_configuration(pair, tls.ca.read_bytes())

    live = Live(load, tls.files)
    # Only what is new: grpc makes of each answer a factory of handshakes in place of the last,
    # which another thread may just be using, and such a process ends by a fault of memory.
    return grpc.dynamic_ssl_server_credentials(
        live.now(),
        live.news,  # type: ignore[arg-type]  # None is for no change
        require_client_authentication=True,
    )


def peer_uris(context: Context) -> tuple[str, ...]:
    """Return whom the caller's certificate names as URIs; nothing where it has shown none."""
    found = context.auth_context().get("peer_uri", ())
    return tuple(each.decode("ascii", "replace") for each in found)


class LiveChannel:
    """A channel for as long as its certificate is not renewed, then another one.

    grpcio's clients do not read files again; calls that are under way end where they are.
    """

    def __init__(self, address: str, tls: HopTls | None, **options: Any) -> None:
        self.address = address
        self._options = options
        use = tls is not None and not address.startswith("unix:")
        self._live = Live(lambda: _client_credentials(tls), tls.files) if use and tls else None
        self._made_with: grpc.ChannelCredentials | None = None
        self._channel: grpc.aio.Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<LiveChannel {self.address} {'open' if self._channel else 'closed'}>"

    def now(self) -> grpc.aio.Channel:
        """Return the channel for the next call."""
        credentials = self._live.now() if self._live else None
        if self._channel is not None and credentials is self._made_with:
            return self._channel
        if self._channel is not None:
            closing = asyncio.create_task(_close_later(self._channel), name=f"old {self!r}")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        self._made_with = credentials
        self._channel = channel(self.address, credentials=credentials, **self._options)
        return self._channel

    async def close(self) -> None:
        """Let go of the connections; calls in flight fail."""
        found, self._channel = self._channel, None
        for each in self._closing:
            each.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        if found is not None:
            await found.close()


async def _close_later(old: grpc.aio.Channel) -> None:
    try:
        await asyncio.sleep(LINGER_S)
    finally:
        await old.close()


def _client_credentials(tls: HopTls) -> grpc.ChannelCredentials:
    tls.client_context()  # refuses what does not fit together, which grpc would take
    return grpc.ssl_channel_credentials(
        tls.ca.read_bytes(), tls.key.read_bytes(), tls.cert.read_bytes()
    )
