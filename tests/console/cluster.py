"""Two colos with a little load, and an account beside the operators'."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from libs.common.clients.control import ControlClient
from libs.common.tokens import token_hash
from libs.common.world_map import Account, Token
from tests.system.harness import TOKEN, Up, until

COLOS = ("ams", "iad")
THEIRS, THEIR_TOKEN = "f" * 32, "cst_token-of-theirs"
THEIR_NAME = "<b>Ursa</b> & Co"


@contextmanager
def two_colos(state: Path) -> Iterator[Up]:
    """Run one process with both, ready in both."""
    running = Up(state, "--colos", ",".join(COLOS)).start()
    try:
        asyncio.run(_add_account(state))
        until(lambda: _ready(running), seconds=40, what="an instance in each colo")
        yield running
        running.client.close()
        assert running.service.stop() == 0
    finally:
        if running.service.process.poll() is None:
            running.service.kill()


async def _add_account(state: Path) -> None:
    async with ControlClient(f"unix:{state}/control.sock") as control:
        await control.put(Account(id=THEIRS, name=THEIR_NAME))
        await control.put(
            Token(hash=token_hash(THEIR_TOKEN), account=THEIRS, scopes=("run", "read"))
        )


def _ready(running: Up) -> bool:
    told = running.client.http.get(
        f"{running.client.base}/console/api/world", headers={"Authorization": f"Bearer {TOKEN}"}
    ).json()
    ready = {each["colo"] for each in told["instances"] if each["state"] == "ready"}
    serving = {each["colo"] for each in told["loads"] if each["permits"]}
    return ready == serving == set(COLOS)
