"""Valid conversations, broken at random, fed to our protocols: nothing may come of it but order.

`python -m tests.lean.fuzzing 600` goes on for ten minutes and prints the seed that fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import sys
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from libs.eager import Promise
from libs.lean import Limits, RpcError, frames
from libs.lean.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WITH_PRIORITY,
    ErrorCode,
    frame,
)
from libs.lean.headers import encode
from tests.lean.support import COUNT, ECHO, ENDLESS, FAIL, HANG
from tests.lean.wire import (
    ANSWER,
    OK,
    REQUEST,
    ClientWire,
    ServerWire,
    Wire,
    answer,
    data,
    headers,
    message,
    request,
)

Random: TypeAlias = random.Random
LIMITS = Limits(
    stream_window=4000,
    max_streams=20,
    send_buffer=5000,
    max_message_bytes=100_000,
    max_header_bytes=2000,
)
PATHS = [ECHO.path, COUNT.path, ENDLESS.path, FAIL.path, HANG.path, "/unknown"]


def harmless(source: Random, stream_id: int) -> bytes:
    """Return a frame that a peer may nearly always send."""
    size = source.choice((1, 5, 100, 65_535, 1 << 20))
    initial = (4, source.choice((0, 7, 65_535, 1 << 20)))
    return source.choice(
        (
            frame(PING, source.randrange(2), 0, source.randbytes(8)),
            frame(SETTINGS, 1, 0),
            frames.settings([initial][: source.randrange(2)]),
            frames.settings([(3, source.randrange(9)), (5, 20_000), (source.randrange(8, 99), 1)]),
            frames.window_update(source.choice((0, stream_id)), size),
            frames.rst_stream(stream_id, source.randrange(15)),
            frame(PRIORITY, 0, stream_id, b"\0\0\0\x63\1"),
            frame(source.randrange(10, 256), source.randrange(256), stream_id, source.randbytes(9)),
        )
    )


def harmful(source: Random) -> bytes:
    """Return a frame that ends a stream or the connection, if it does not come just right."""
    stream_id = source.randrange(12)
    size = source.choice((0, 0x7FFFFFFF))
    many = message(source.randbytes(source.randrange(300))) * source.randrange(1, 4)
    return source.choice(
        (
            frames.settings([(source.randrange(8), size)]),
            frames.window_update(source.choice((0, stream_id)), size),
            frames.goaway(stream_id, source.randrange(15), "why"),
            frame(DATA, PADDED, stream_id, b"\x03" + source.randbytes(source.randrange(3, 40))),
            frame(source.randrange(10), source.randrange(256), stream_id, source.randbytes(9)),
            data(many, stream_id),
            data(source.randbytes(source.randrange(30)), stream_id, end=source.random() < 0.5),
        )
    )


def of_client(source: Random) -> list[bytes]:
    """Return what a client may send after its preface."""
    pieces = [frame(SETTINGS, 1, 0)]
    for i in range(source.randrange(1, 8)):
        stream_id = 2 * i + 1
        content = b"%d" % source.randrange(2000)
        spread = message(bytes(source.randrange(3000)))
        pieces.append(harmless(source, max(1, stream_id - 2)) if i else frame(PING, 0, 0, bytes(8)))
        block = encode(
            [*REQUEST, ("grpc-timeout", f"{source.randrange(100)}{source.choice('mSHx')}")]
        )
        pieces += source.choice(
            (
                [request(content, stream_id, source.choice(PATHS))],
                [request(content, stream_id, source.choice(PATHS))],
                [
                    frame(HEADERS, 0, stream_id, block[:9]),
                    frame(CONTINUATION, END_HEADERS, stream_id, block[9:]),
                    *(data(spread[k : k + 700], stream_id) for k in range(0, len(spread), 700)),
                    data(b"", stream_id, end=True),
                ],
                [
                    frame(HEADERS, END_HEADERS | WITH_PRIORITY, stream_id, bytes(5) + block),
                    frame(DATA, END_STREAM | PADDED, stream_id, b"\x09" + spread[:900] + bytes(9)),
                ],
                [headers(REQUEST, stream_id), frame(RST_STREAM, 0, stream_id, bytes(4))],
            )
        )
    return pieces


def of_server(source: Random) -> list[bytes]:
    """Return what a server may send after its first SETTINGS."""
    pieces = [frame(SETTINGS, 1, 0)]
    for i in range(6):
        stream_id = 2 * i + 1
        content = source.randbytes(source.randrange(1000))
        spread = [data(content[k : k + 100], stream_id) for k in range(0, len(content), 100)]
        failed = [*ANSWER, ("grpc-status", str(source.randrange(20))), ("grpc-message", "%C3%")]
        pieces += source.choice(
            (
                [answer(content, stream_id)],
                [headers(ANSWER, stream_id), *spread],
                [headers(ANSWER, stream_id), data(message(content) * 3, stream_id)],
                [headers(failed, stream_id, end=True)],
                [headers(OK, stream_id, end=True)],
                [harmless(source, 1)],
            )
        )
    return pieces


def broken(source: Random, pieces: list[bytes]) -> list[bytes]:
    """Return the pieces with a few of them, and a few of their bytes, out of order."""
    pieces = list(pieces)
    for _ in range(source.choice((0, 0, 1, 3))):
        at = source.randrange(len(pieces) + 1)
        stray = (harmless(source, 1), harmful(source), source.choice(pieces))
        pieces.insert(at, source.choice(stray))
    whole = bytearray(b"".join(pieces))
    for _ in range(source.choice((0, 0, 1, 2, 8))):
        at = source.randrange(len(whole))
        match source.randrange(4):
            case 0:
                whole[at] ^= 1 << source.randrange(8)
            case 1:
                whole[at] = source.randrange(256)
            case 2:
                del whole[at : at + source.randrange(1, 12)]
            case _:
                whole[at:at] = source.randbytes(source.randrange(1, 12))
        if not whole:
            break
    count = source.choice((0, 1, 3, 10))
    cuts = sorted(source.randrange(len(whole) + 1) for _ in range(count))
    bounds = [0, *cuts, len(whole)]
    return [bytes(whole[a:b]) for a, b in itertools.pairwise(bounds)]


def converse(source: Random, wire: Wire, chunks: list[bytes]) -> None:
    """Feed it all, with some pauses; whatever it was, the protocol has to be in order."""
    protocol = wire.protocol
    for chunk in chunks:
        wire.transport.written.clear()
        if source.random() < 0.1:
            protocol.pause_writing()
        elif protocol.is_paused and source.random() < 0.6:
            protocol.resume_writing()
        wire.protocol.data_received(chunk)
        wire.protocol.turn()
        check(wire)
    if protocol.is_paused and source.random() < 0.5:
        protocol.resume_writing()
    wire.transport.lose()
    protocol.turn()
    assert not protocol.streams
    assert not protocol._queued


def check(wire: Wire) -> None:
    protocol = wire.protocol
    assert len(protocol.streams) <= 20
    assert sum(map(len, protocol._partial)) <= 9 + LIMITS.max_frame_bytes
    assert sum(map(len, protocol._block)) <= 4 * LIMITS.max_header_bytes + LIMITS.max_frame_bytes
    assert len(protocol._reset_ids) <= 1000
    assert len(wire.transport.written) < 1_000_000
    for stream in protocol.streams.values():
        queued = stream.queue.size if stream.queue is not None else 0
        assert queued <= LIMITS.send_buffer + 100_000
        assert stream.send_window <= frames.LARGEST_WINDOW
    for kind, _, _, payload in _frames(bytes(wire.transport.written)):
        if kind == frames.GOAWAY:
            assert frames.word(payload, 4) != ErrorCode.INTERNAL_ERROR, payload


def _frames(written: bytes) -> list[tuple[int, int, int, bytes]]:
    found = []
    while written and not written.startswith(b"PRI"):
        length_kind, flags, stream_id = frames.HEAD.unpack_from(written)
        end = 9 + (length_kind >> 8)
        assert len(written) >= end, "a frame is cut short"
        found.append((length_kind & 0xFF, flags, stream_id, written[9:end]))
        written = written[end:]
    return found


async def one_server(seed: int) -> int:
    """Return how many calls were handled."""
    source = Random(seed)
    wire = ServerWire(LIMITS, begun=False)
    start = frames.PREFACE + frames.settings([(4, source.choice((0, 10, 65_535, 1 << 20)))])
    if source.random() < 0.9:
        wire.feed(start)
        start = b""
    chunks = broken(source, of_client(source))
    converse(source, wire, [start + chunks[0], *chunks[1:]])
    return len(wire.handlers.calls)


async def one_client(seed: int) -> int:
    """Return how many calls were answered."""
    source = Random(seed)
    wire = ClientWire(LIMITS)
    ended: list[Promise[bytes]] = []
    streams = []
    for _ in range(3):
        ended.append(wire.channel.unary(ECHO, bytes(source.randrange(3000)), timeout_s=5))
        streams.append(wire.channel.stream(COUNT, b"1", timeout_s=5))
    reads = [each.read() for each in streams[:2]]
    converse(source, wire, broken(source, of_server(source)))
    answered = 0
    promises: list[Promise[Any]] = [*ended, *reads]
    for promise in promises:
        assert promise.done
        with contextlib.suppress(RpcError):
            promise.result()
            answered += 1
    assert all(each.is_over for each in streams)
    assert len(wire.channel.timers) == 0
    return answered


BOTH: list[Callable[[int], object]] = [one_server, one_client]


async def for_seconds(seconds: float, first_seed: int) -> int:
    """Return how many inputs there was time for."""
    end = time.monotonic() + seconds
    for seed in itertools.count(first_seed):
        try:
            await one_server(seed)
            await one_client(seed)
        except BaseException:
            print("seed", seed)  # noqa: T201 - the one thing that must not get lost
            raise
        if seed % 64 == 0:
            await asyncio.sleep(0)
            if time.monotonic() > end:
                break
    return 2 * (seed - first_seed)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # handlers fail as they should
    began = time.time_ns()
    print(asyncio.run(for_seconds(float(sys.argv[1]), began)), "inputs")  # noqa: T201
