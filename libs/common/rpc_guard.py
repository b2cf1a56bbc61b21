"""Who may call which method of control and of usage: by certificate, else by a token.

A Unix socket is its owner's alone, and asks for nothing.
"""

from __future__ import annotations

import hmac
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from typing import Any, Final

import grpc

from libs.common.clients.caller import HEADER, SCHEME
from libs.common.errors import RequestError, RpcTokenMissing, WrongRole
from libs.common.grpcio_tls import peer_uris
from libs.common.identities import refusal
from libs.common.rpc import Context, abort

Roles = Mapping[str, Collection[str]]  # of certificates, by the path of a method
EXPECTED: Final = (
    "expected `authorization: Bearer` with its rpc_token: set CONSTELLATION_RPC_TOKEN or "
    "CONSTELLATION_RPC_TOKEN_FILE, as it is set there"
)


class Guard(grpc.aio.ServerInterceptor):
    """Refuses calls before anything is made of what they ask."""

    def __init__(self, roles: Roles, *, token: str = "") -> None:
        self._roles = roles
        self._token = token.encode()

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        """Return the handler of a method, with a look at who calls before it."""
        handler = await continuation(details)
        return handler and _guarded(handler, lambda call: self._check(details.method, call))

    async def _check(self, method: str, context: Context) -> None:
        if (error := self._refusal(method, context)) is not None:
            await abort(context, error)

    def _refusal(self, method: str, context: Context) -> RequestError | None:
        if context.peer().startswith("unix:"):
            return None
        if _is_encrypted(context):
            why = refusal(peer_uris(context), self._roles.get(method, ()), f"call {method}")
            return WrongRole(why) if why else None
        if not self._token or hmac.compare_digest(_token_of(context), self._token):
            return None
        return RpcTokenMissing(f"{method}: {EXPECTED}")


def _is_encrypted(context: Context) -> bool:
    return context.auth_context().get("transport_security_type") == [b"ssl"]


def _token_of(context: Context) -> bytes:
    found = dict(context.invocation_metadata() or ()).get(HEADER, "")
    text = found if isinstance(found, str) else found.decode("ascii", "replace")
    return text.removeprefix(SCHEME).encode() if text.startswith(SCHEME) else b""


def _guarded(handler: Any, check: Callable[[Context], Awaitable[None]]) -> Any:
    """Return the same handler, which checks first; the four kinds of it are two to us."""
    kind = next(each for each in _KINDS if getattr(handler, each) is not None)
    inner = getattr(handler, kind)

    async def answer(request: Any, context: Context) -> Any:
        await check(context)
        return await inner(request, context)

    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        await check(context)
        async with aclosing(inner(request, context)) as answers:
            async for each in answers:
                yield each

    return handler._replace(**{kind: stream if inspect.isasyncgenfunction(inner) else answer})


_KINDS: Final = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
