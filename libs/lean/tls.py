"""TLS for HTTP/2: contexts for both sides, with or without certificates of clients."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Final, TypeAlias

ALPN: Final = "h2"
Path: TypeAlias = str | os.PathLike[str]


def server_context(cert: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """Return what a server needs; with `client_ca`, clients have to show a certificate of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _secure(context)
    context.load_cert_chain(cert, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    ca: Path | None, cert: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return what a client needs: whom it trusts (None: whom the system does), and who it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _secure(context)
    if ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context.load_verify_locations(ca)
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context


def _secure(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # what RFC 9113 allows of TLS 1.2
    context.set_alpn_protocols([ALPN])


def speaks_http2(transport: asyncio.BaseTransport) -> bool:
    """Whether HTTP/2 was agreed upon; without TLS it is taken for granted."""
    session = transport.get_extra_info("ssl_object")
    return session is None or session.selected_alpn_protocol() == ALPN


def peer_uris(transport: asyncio.BaseTransport) -> tuple[str, ...]:
    """Return whom the peer's certificate names as URIs; nothing where it has shown none."""
    session = transport.get_extra_info("ssl_object")
    certificate = (session.getpeercert() if session is not None else None) or {}
    names = certificate.get("subjectAltName", ())
    return tuple(str(value) for kind, value in names if kind == "URI")
