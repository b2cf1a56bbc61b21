"""A channel: calls to one address, over a connection that is made when it is needed."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
import time
from collections import OrderedDict

from libs.eager import Promise, Timers
from libs.lean.addresses import authority, host_port, unix_path
from libs.lean.calls import Call, ClientStream, UnaryCall
from libs.lean.client import ClientConnection
from libs.lean.connecting import Connector, connect
from libs.lean.limits import Limits
from libs.lean.messages import Message
from libs.lean.method import Method
from libs.lean.status import Status


class Patience:
    """How long a call waits for a connection."""

    __slots__ = ("call", "channel", "due")

    def __init__(self, channel: Channel, call: Call, due: float) -> None:
        self.channel = channel
        self.call = call
        self.due = due

    def expire(self) -> None:
        """Let the call fail, unless it is on its way."""
        self.channel.give_up(self.call)


class Channel:
    """Belongs to the loop of its first call. Closed once, it stays closed."""

    def __init__(
        self,
        address: str,
        *,
        tls: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        if unix_path(address) is None:
            host_port(address)  # raises now what would be raised at each attempt
        self.address = address
        self.limits = limits or Limits()
        self.timers = Timers()
        self._tls = tls
        self._server_hostname = server_hostname
        self._target = f"{'https' if tls else 'http'} {authority(address)}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: ClientConnection | None = None
        self._all: set[ClientConnection] = set()  # those that only finish what they have, too
        self._waiting: OrderedDict[Call, Patience] = OrderedDict()
        self._is_closed = False
        self._connector = Connector(
            self._attempt,
            is_wanted=lambda: bool(self._waiting) and self._connection is None,
            on_connected=self._use,
            on_failed=self._fail_waiting,
        )

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "connected" if self.is_connected else "idle"
        if self._connector.is_at_work:
            state = "connecting"
        calls = sum(len(each.streams) for each in self._all)
        return f"<Channel {self.address} {state} calls={calls} waiting={len(self._waiting)}>"

    @property
    def is_connected(self) -> bool:
        """Whether calls are sent at once."""
        return self._connection is not None

    def unary(self, method: Method, message: Message, *, timeout_s: float) -> Promise[bytes]:
        """Call; the promise gives the answer, or raises RpcError. Cancelling it cancels the call.

        A message of several chunks is sent as one message, without joining them.
        """
        loop = self._loop or self._start()
        call = UnaryCall(self, method, message, time.monotonic() + timeout_s, loop)
        self._begin(call)
        return call.promise

    def stream(self, method: Method, message: Message, *, timeout_s: float) -> ClientStream:
        """Call; the stream gives the messages of the answer."""
        loop = self._loop or self._start()
        call = ClientStream(self, method, message, time.monotonic() + timeout_s, loop)
        self._begin(call)
        return call

    async def close(self) -> None:
        """End the connection; calls in flight fail."""
        self._is_closed = True
        await self._connector.stop()
        self._connector.trouble = "the channel is closed"
        self._fail_waiting()
        connections = list(self._all)
        for connection in connections:
            connection.close("the channel is closed")
            connection.turn()
        for connection in connections:
            await asyncio.shield(connection.lost)

    # calls

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        return self._loop

    def _begin(self, call: Call) -> None:
        self.timers.add(call)
        connection = self._connection
        if connection is not None and not self._waiting and connection.has_room():
            connection.open(call)
        elif self._is_closed:
            call.fail(Status.UNAVAILABLE, "the channel is closed", sent=False)
        elif connection is None and self._connector.is_hopeless():
            self._fail(call)
        else:
            self._wait(call)

    def _wait(self, call: Call) -> None:
        patience = Patience(self, call, time.monotonic() + self.limits.connect_s)
        self._waiting[call] = patience
        self.timers.add(patience)
        if self._connection is None:
            self._connector.want()

    def forget(self, call: Call) -> None:
        """Let go of a call that is not sent yet."""
        patience = self._waiting.pop(call, None)
        if patience is not None:
            self.timers.discard(patience)

    def give_up(self, call: Call) -> None:
        """Let a call fail that has waited long enough; for a place in line it goes on waiting."""
        if self._connection is None and call in self._waiting:
            self.forget(call)
            self._fail(call)

    def _fail(self, call: Call) -> None:
        text = f"{self.address}: {self._connector.trouble}"
        call.fail(Status.UNAVAILABLE, text, sent=False)

    def _fail_waiting(self) -> None:
        for call in list(self._waiting):  # who hears of it may call again
            self.forget(call)
            self._fail(call)

    # connections

    async def _attempt(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        return await connect(
            self.address,
            lambda: ClientConnection(self._target, self.limits, loop, self._changed),
            tls=self._tls,
            server_hostname=self._server_hostname,
            timeout_s=self.limits.connect_s,
            silence_s=self.limits.silence_s,
        )

    def _use(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._all.add(connection)
        connection.lost.add_done_callback(lambda _: self._all.discard(connection))
        self._send_waiting()

    def _changed(self, connection: ClientConnection) -> None:
        """Hear that a connection has room again, or takes no more calls."""
        if connection is not self._connection:
            return
        if connection.takes_calls():
            self._send_waiting()
            return
        self._connection = None
        self._connector.trouble = connection.reason
        if connection.asks_for_calm:  # as gRPC does: what it calls too often, we do half as often
            self.limits = dataclasses.replace(self.limits, keepalive_s=self.limits.keepalive_s * 2)
        if self._waiting:
            self._wait_anew()

    def _wait_anew(self) -> None:
        """Let calls that waited for their turn wait for another connection."""
        due = time.monotonic() + self.limits.connect_s
        for patience in self._waiting.values():
            patience.due = due
            self.timers.add(patience)
        self._connector.want()

    def _send_waiting(self) -> None:
        while self._waiting and self._connection is not None and self._connection.has_room():
            call, patience = self._waiting.popitem(last=False)
            self.timers.discard(patience)
            self._connection.open(call)
