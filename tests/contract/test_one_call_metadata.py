"""Metadata of one call alone: over each transport, and gone with the next call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from libs.common.hops import ServerCall, Transport, connect, listening
from libs.lean import Method

ECHO = Method("/test.Service/Echo", metadata=(("always", "here"),))


@pytest.mark.parametrize("transport", ["lean", "grpcio"])
async def test_metadata_of_one_call_goes_with_that_call(transport: Transport) -> None:
    seen: list[Mapping[str, str]] = []

    def echo(call: ServerCall, message: bytes) -> None:
        seen.append(call.metadata)  # type: ignore[attr-defined]
        call.finish((message,))

    def each(call: ServerCall, message: bytes) -> None:
        seen.append(call.metadata)  # type: ignore[attr-defined]
        call.send((message,))
        call.end()

    parts: list[Any] = []
    streamed = Method("/test.Service/Stream", tell_deadline=True)
    async with listening("127.0.0.1:0", {ECHO.path: echo, streamed.path: each}) as address:
        channel = connect(address, transport=transport)
        await channel.unary(ECHO.beside(("traceparent", "one")), (b"a",), timeout_s=5)
        await channel.unary(ECHO, (b"a",), timeout_s=5)
        await channel.unary(ECHO.beside(("traceparent", "two")), (b"a",), timeout_s=5)
        stream = channel.stream(streamed.beside(("traceparent", "three")), (b"b",), timeout_s=5)
        await stream.forward(parts.extend)
        await channel.close()

    assert [each.get("traceparent") for each in seen] == ["one", None, "two", "three"]
    assert [each.get("always") for each in seen] == ["here", "here", "here", None]
    assert parts == [b"b"]


@pytest.mark.parametrize("value", ["a\nb", " a", "é", "x" * 20_000])
def test_what_no_header_can_hold_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"header|bytes"):
        ECHO.beside(("traceparent", value))
