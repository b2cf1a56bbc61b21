"""What a client may cost: bytes, seconds and counts, of a request and of a connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds with working defaults; seconds are kept to about a quarter of one."""

    max_header_bytes: int = 32 * 1024  # request line and headers; above: 431
    max_headers: int = 100
    max_body_bytes: int = 10 * 1024 * 1024  # above: 413, before a byte is read where it is told
    header_s: float = 10  # from accept, or a request's first byte, to its whole head; then 408
    body_s: float = 30  # for the whole body; then 408
    idle_s: float = 75  # between two requests; closed without a word
    write_s: float = 60  # a client that reads nothing for so long is dropped
    max_requests: int = 100_000  # on one connection; 0: no bound
    max_pipelined: int = 16  # more are left in the kernel while one is being answered
    max_connections: int = 20_000  # above: 503
    max_per_address: int = 0  # of these, of one address; above: 429; 0: no bound
    write_buffer: int = 128 * 1024  # `Responder.write` asks for patience above
