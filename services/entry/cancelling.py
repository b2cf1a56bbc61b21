"""Cancelling a request by its id, whichever entry it came through and wherever it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from libs.common.errors import RequestError, Unavailable
from libs.common.ports import Inference
from libs.common.world import World
from libs.common.world_map import Server
from services.entry.bad_input import bad_input

AGAIN_MS = 1000
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Cancelling:
    """Asks every server: an id does not tell where the request has got to by now."""

    def __init__(self, *, world: World, connections: Callable[[str], Inference]) -> None:
        self._world = world
        self._connections = connections

    def __repr__(self) -> str:
        return f"<Cancelling at {len(self._world.table(Server))} servers>"

    async def cancel(self, *, account: str, request_id: str) -> list[str]:
        """Cancel an account's requests of this id, ours or the client's; return our ids of them.

        An unknown one is no error. BadInput: it can be no id. Unavailable: none was found, and
        a server that may have it could not be asked.
        """
        if not _ID.fullmatch(request_id):
            raise bad_input(["request_id"], "expected 1 to 64 of letters, digits, _ and -")
        asked = [
            self._ask(server.address, account, request_id)
            for server in self._world.table(Server).values()
        ]
        answers = await asyncio.gather(*asked)
        found = {each for answer in answers if answer is not None for each in answer}
        silent = sum(answer is None for answer in answers)
        if silent and not found:
            text = f"{silent} of {len(answers)} servers could not be asked"
            raise Unavailable(text, retry_after_ms=AGAIN_MS)
        return sorted(found)

    async def _ask(self, address: str, account: str, request_id: str) -> list[str] | None:
        """Return what a server cancelled, None where it did not answer."""
        try:
            server = self._connections(address)
            return list(await server.cancel(account=account, request_id=request_id))
        except RequestError:
            return None
