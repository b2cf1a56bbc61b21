"""JSON for others: in order, again where that may help, and never in anybody's way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from libs.common.clients.posts import Posts, sending
from libs.common.lifecycle import background
from tests.waiting import until

AT_ONCE = (0.001,) * 9


class Receiver:
    """Answers as told, then with 200, and keeps what came."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.bodies: list[Any] = []
        self.tokens: list[str | None] = []

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        self.tokens.append(request.headers.get("Authorization"))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def url(receiver: Receiver) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/reports", receiver.take)
    async with TestServer(app) as server:
        yield str(server.make_url("/reports"))


async def test_reports_come_in_order_with_the_token(receiver: Receiver, url: str) -> None:
    posts = Posts(url, token="secret")
    async with background(posts.run(), name="posts"):
        for number in range(5):
            posts.post({"number": number})
        await until(lambda: len(receiver.bodies) == 5)

    assert [each["number"] for each in receiver.bodies] == [0, 1, 2, 3, 4]
    assert set(receiver.tokens) == {"Bearer secret"}


async def test_what_may_pass_is_sent_again_and_keeps_its_place(
    receiver: Receiver, url: str
) -> None:
    receiver.answers = [503, 429, 200]
    posts = Posts(url, backoff=AT_ONCE)
    async with background(posts.run(), name="posts"):
        posts.post(1)
        posts.post(2)
        await until(lambda: len(receiver.bodies) == 4)

    assert receiver.bodies == [1, 1, 1, 2]
    assert receiver.tokens == [None] * 4
    assert posts.dropped == 0


@pytest.mark.parametrize(("answers", "sent"), [([404], 1), ([500] * 9, 3)])
async def test_what_is_refused_is_dropped_and_said(
    receiver: Receiver, url: str, answers: list[int], sent: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = list(answers)
    posts = Posts(url, tries=3, backoff=AT_ONCE)
    with caplog.at_level(logging.WARNING):
        async with background(posts.run(), name="posts"):
            posts.post(1)
            await until(lambda: posts.dropped == 1)

    assert len(receiver.bodies) == sent
    assert f"HTTP {answers[0]}" in caplog.text


async def test_an_address_where_nobody_listens_holds_up_nobody() -> None:
    posts = Posts("http://127.0.0.1:9/", tries=2, bound=3, backoff=AT_ONCE)
    for number in range(5):
        posts.post(number)
    assert posts.dropped == 2

    async with background(posts.run(), name="posts"):
        await until(lambda: posts.dropped == 5)


async def test_what_waits_at_the_end_is_sent_though_it_must_be_tried_again(
    receiver: Receiver, url: str
) -> None:
    receiver.answers = [500, 500]
    first, second = (Posts(url, backoff=AT_ONCE) for _ in range(2))

    async with sending([first, second], stop_s=5.0):
        first.post(1)
        first.post(2)
        second.post(3)

    assert sorted(receiver.bodies[2:]) == [1, 2, 3]
    assert first.dropped == second.dropped == 0


async def test_the_end_does_not_wait_longer_than_its_bound(
    receiver: Receiver, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [500]
    posts, idle = Posts(url, backoff=(60.0,)), Posts(url)

    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(3), sending([posts, idle], stop_s=0.2):
            posts.post(1)
            posts.post(2)

    assert receiver.bodies == [1]
    assert (posts.dropped, idle.dropped) == (2, 0)
    assert caplog.text.count("is dropped") == 2
