"""Reading request bodies: within a size, within a time, and not for long once entry leaves."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from libs.common.errors import BadInput, DeadlineExceeded, RequestError, Unavailable
from services.entry.fronts.bodies import check_encoding, decoded, json_object, too_large

LEAVING_S = 0.5  # what a body that is on its way still gets then
HANG_UP_S = 1.0  # for the refusal to be read: whoever hangs up at once may take it back


class BodyReader:
    """Reads bodies; one whose end does not come is refused, and its connection closed."""

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._leaving = False
        self._reading: set[asyncio.Timeout] = set()

    def __repr__(self) -> str:
        return f"<BodyReader reading={len(self._reading)} leaving={self._leaving}>"

    def leave(self) -> None:
        """Wait no longer than `LEAVING_S` from now on."""
        self._leaving = True
        self._seconds = min(self._seconds, LEAVING_S)
        latest = asyncio.get_running_loop().time() + self._seconds
        for bound in self._reading:
            bound.reschedule(min(latest, bound.when() or latest))

    async def json(self, request: web.Request) -> tuple[dict[str, Any], int]:
        """Return the body and its size, whatever content type it claims, as curl's -d does.

        Raises TooLarge, BadInput, DeadlineExceeded and, on leaving, Unavailable.
        """
        encoding, limit = request.headers.get("Content-Encoding", ""), request.client_max_size
        check_encoding(encoding)
        try:
            async with asyncio.timeout(self._seconds) as bound:
                self._reading.add(bound)
                try:
                    raw = await request.read()
                finally:
                    self._reading.discard(bound)
        except TimeoutError as error:
            _hang_up_soon(request)
            raise self._late() from error
        except web.HTTPRequestEntityTooLarge as error:
            raise too_large(limit) from error
        except web.RequestPayloadError as error:
            raise BadInput("body: cannot be read, it is cut short or badly encoded") from error
        raw = decoded(raw, encoding, limit=limit)
        return json_object(raw), len(raw)

    def _late(self) -> RequestError:
        if self._leaving:
            return Unavailable("entry is leaving, and the body had not come")
        return DeadlineExceeded(f"the body did not come within {self._seconds:g} s")


def _hang_up_soon(request: web.Request) -> None:
    """Close the connection after the answer, which by itself would wait for the body longer."""
    if transport := request.transport:
        asyncio.get_running_loop().call_later(HANG_UP_S, transport.close)
