"""What entry says that it answers is all that it answers."""

from __future__ import annotations

import re

from libs.common.clock import SystemClock
from services.entry.auth import Auth
from services.entry.fronts.openai_work import openai_work
from services.entry.fronts.ops import ROUTES
from tests.entry.fakes import FakeServer, entry_of, small_world

ACCOUNT = "/client/v4/accounts/{account}/ai"
PAGES = ("/console/", "/docs/")  # what belongs to pages that are named


def plain(path: str) -> str:
    """Return a path without the patterns of its parts."""
    return re.sub(r"{(\w+):.*}", r"{\1}", path)


async def test_every_route_is_named() -> None:
    """By these names `tests/security` knows what to try with a stolen token."""
    world, clock = small_world("ams"), SystemClock()
    entry = entry_of(world, {"ams": FakeServer()})
    auth = Auth(world=world, clock=clock)
    wired = openai_work(gateway=entry.gateway, auth=auth, clock=clock, most_bytes=1, choices=1)

    cold = {f"{each.method} {plain(each.path)}" for each in entry.others}
    hot = {f"POST {base}/v1/{name}" for name in wired for base in (ACCOUNT, "")}
    unnamed = sorted((cold | hot) - set(ROUTES) - {"GET /", "* /{rest}"})

    assert [each for each in unnamed if not each.partition(" ")[2].startswith(PAGES)] == []
