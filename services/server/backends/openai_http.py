"""An OpenAI-compatible server (vLLM, SGLang, TGI and others) at an address, over HTTP.

Entry has written the body, the model's name in it; it passes as bytes. A stream's parts are the
data of its events.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import orjson
from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    TCPConnector,
)

from libs.common.addresses import base_url
from libs.common.catalog import Model
from libs.common.deadline import Deadline
from libs.common.envelope import InferRequest
from libs.common.errors import DeadlineExceeded, ModelFailed, RequestError, Unavailable
from libs.common.ports import Send
from services.server.backends.http_errors import error_in, error_of
from services.server.backends.keys import Keys
from services.server.backends.sse import EventReader, TooLong
from services.server.endpoints import Endpoint
from services.server.errors import InstanceLost
from services.server.ports import Answer, Depth

# Below what servers of this kind keep idle connections for (uvicorn: 5 s): whose connection is
# closed as we send knows not whether the model has the request.
KEEP_IDLE_S: Final = 4.0
CONNECT_S: Final = 5.0
MODELS_S: Final = 2.0
LAST_BYTES_S: Final = 0.2  # for the end of the body after the last event
MOST_ERROR_BYTES: Final = 64 * 1024
DONE: Final = b"[DONE]"
NO_ROUTE: Final = (404, 405, 501)
JSON: Final = "application/json"


class OpenAiBackend:
    """Implements `services.server.ports.Backend`; one pool of connections for all addresses."""

    def __init__(
        self,
        *,
        keys: Keys,
        connections: int = 512,
        max_message_bytes: int = 64 * 1024 * 1024,
        ca: Path | None = None,
    ) -> None:
        """`connections` is the most to each address; `ca` is whom https trusts instead of all."""
        self._keys = keys
        self._connections = connections
        self._max_message_bytes = max_message_bytes
        self._ca = ca
        self._session: ClientSession | None = None
        self._bases: dict[str, str] = {}

    def __repr__(self) -> str:
        state = "unconnected" if self._session is None else "connected"
        return f"<OpenAiBackend {state} {', '.join(sorted(self._bases))}>"

    async def infer(
        self, endpoint: Endpoint, model: Model, request: InferRequest, *, timeout_s: float
    ) -> Answer:
        """Run the request and return the body that answers it."""
        with _in_our_words():
            async with (
                asyncio.timeout(timeout_s),
                self._posted(endpoint, model, request) as response,
            ):
                body = await _read(response, self._max_message_bytes)
                return Answer(body, content_type=response.content_type)
        raise AssertionError("what is raised above is told in our words")

    async def stream(
        self,
        endpoint: Endpoint,
        model: Model,
        request: InferRequest,
        send: Send,
        *,
        deadline: Deadline,
    ) -> None:
        """Run the request and hand its events to `send`; leaving hangs up, which stops it there."""
        loop = asyncio.get_running_loop()
        due = min(deadline.first_part, deadline.total)
        with _in_our_words():
            async with (
                asyncio.timeout_at(due) as bound,
                self._posted(endpoint, model, request) as response,
            ):
                reader = EventReader(self._max_message_bytes)
                while chunk := await response.content.readany():
                    part = _Part(reader.feed(chunk), request.adapter)
                    if part.events:
                        room = send(part.events)
                        if room is not None:
                            bound.reschedule(deadline.total)  # it is the reader who is slow
                            await room
                        bound.reschedule(min(loop.time() + deadline.idle, deadline.total))
                    if part.error is not None:
                        raise part.error
                    if part.is_last:
                        await _finish(response)
                        return
                raise InstanceLost("the stream ended before its last event", sent=True)

    async def probe(
        self, endpoint: Endpoint, model: Model, depth: Depth, *, timeout_s: float
    ) -> bool | None:
        """Ask /health, or where there is none the list of models; never raises for a no."""
        if depth == "inference":
            return None
        base = self._base(endpoint.address)
        try:
            async with asyncio.timeout(timeout_s):
                root = base.rsplit("/", 1)[0]
                status = await self._status(f"{root}/health", model)
                if status in NO_ROUTE:
                    status = await self._status(f"{base}/models", model)
        except (ClientError, TimeoutError, OSError):
            return False
        return status == 200 or depth == "server"  # that somebody answers is what counts there

    async def flaw(self, endpoint: Endpoint, model: Model) -> str | None:
        """Look for the model's name in the list of those that are served there."""
        session = self._session or self._open()
        url = f"{self._base(endpoint.address)}/models"
        headers = self._keys.headers(model.backend.key)
        try:
            async with asyncio.timeout(MODELS_S), session.get(url, headers=headers) as response:
                if response.status in (401, 403):
                    self._keys.forget(model.backend.key)
                    return "the server refuses the key: see backend.key, and the setting `keys`"
                if response.status != 200:
                    return None
                names = names_in(await response.content.read(MOST_ERROR_BYTES))
        except (ClientError, TimeoutError, OSError):
            return None
        if not names or model.served_as in names:  # some list none
            return ""
        return f"it serves no {model.served_as!r} but {', '.join(names)}: see backend.served_as"

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    @asynccontextmanager
    async def _posted(
        self, endpoint: Endpoint, model: Model, request: InferRequest
    ) -> AsyncIterator[ClientResponse]:
        """Post the body; leaving before all is read closes the connection."""
        url = self._base(endpoint.address) + path_of(request)
        headers = {"Content-Type": JSON, "X-Request-Id": request.request_id}
        headers |= self._keys.headers(model.backend.key)
        if request.traceparent:
            headers["traceparent"] = request.traceparent
            if request.tracestate:
                headers["tracestate"] = request.tracestate
        session = self._session or self._open()
        response = await session.post(url, data=request.payload, headers=headers)
        try:
            if response.status != 200:
                if response.status in (401, 403):
                    self._keys.forget(model.backend.key)
                body = await response.content.read(MOST_ERROR_BYTES)
                raise error_of(response.status, body, adapter=request.adapter)
            yield response
        finally:
            response.close()  # keeps the connection if all of the body was read

    async def _status(self, url: str, model: Model) -> int:
        session = self._session or self._open()
        async with session.get(url, headers=self._keys.headers(model.backend.key)) as response:
            return response.status

    def _base(self, address: str) -> str:
        known = self._bases.get(address)
        if known is None:
            known = self._bases[address] = base_url(address)
        return known

    def _open(self) -> ClientSession:
        connector = TCPConnector(
            limit=0,
            limit_per_host=self._connections,
            keepalive_timeout=KEEP_IDLE_S,
            ssl=ssl.create_default_context(cafile=self._ca) if self._ca else True,
        )
        self._session = ClientSession(
            connector=connector,
            timeout=ClientTimeout(total=None, sock_connect=CONNECT_S),  # calls have bounds of ours
            auto_decompress=True,
            raise_for_status=False,
        )
        return self._session


def names_in(body: bytes) -> list[str]:
    """Return the names in a list of models; none for what is no such list."""
    try:
        return [str(each["id"]) for each in orjson.loads(body)["data"]]
    except (ValueError, TypeError, LookupError):
        return []


def path_of(request: InferRequest) -> str:
    """Return the route below the base: a body that begins with a prompt is no conversation."""
    if request.task == "text-embeddings":
        return "/embeddings"
    return "/completions" if request.payload.startswith(b'{"prompt"') else "/chat/completions"


class _Part:
    """What came together of a stream: the data of events, and how it ended if it has."""

    def __init__(self, events: list[bytes], adapter: str) -> None:
        self.events: list[bytes] = []
        self.is_last = False
        self.error: RequestError | None = None
        for event in events:
            self.is_last = event == DONE
            self.error = error_in(event, adapter=adapter)
            if self.is_last or self.error is not None:
                return
            self.events.append(event)


async def _read(response: ClientResponse, most_bytes: int) -> bytes:
    """Read a whole body, within a bound."""
    chunks, size = [], 0
    while chunk := await response.content.readany():
        chunks.append(chunk)
        size += len(chunk)
        if size > most_bytes:
            raise ModelFailed(f"the answer is longer than {most_bytes} bytes", sent=True)
    return b"".join(chunks)


async def _finish(response: ClientResponse) -> None:
    """Read what is left after the last event, so that the connection can be used again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_BYTES_S):
            while await response.content.readany():
                pass


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Say what failed in our errors."""
    try:
        yield
    except ConnectionTimeoutError as error:
        raise Unavailable("the server cannot be reached in time") from error
    except TimeoutError as error:
        raise DeadlineExceeded("the model did not answer in time", sent=True) from error
    except ClientConnectorError as error:
        raise Unavailable(f"the server cannot be reached: {error}") from error
    except TooLong as error:
        raise ModelFailed(str(error), sent=True) from error
    except (ClientError, OSError) as error:
        raise InstanceLost(f"the instance was lost: {error!r}", sent=True) from error
