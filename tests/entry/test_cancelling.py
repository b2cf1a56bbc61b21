"""Cancelling by id, over HTTP and gRPC, at servers that answer, know nothing, or are silent."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from libs.common.errors import RequestError, ServerLost, Unavailable
from libs.common.pb import binding_pb2 as pb
from libs.common.pb.binding_pb2_grpc import BindingServiceStub
from libs.common.rpc import channel, request_error
from services.entry.cancelling import Cancelling
from tests.entry.asking import AUTH, ask
from tests.entry.fakes import (
    ACCOUNT,
    OTHER_ACCOUNT,
    OTHER_SECRET,
    SECRET,
    FakeServer,
    listening,
    small_world,
)

OURS = "0" * 26
PATH = f"/client/v4/accounts/{ACCOUNT}/ai/requests/"


def holding(*ids: str) -> FakeServer:
    server = FakeServer()
    server.running = {(ACCOUNT, each) for each in ids}
    return server


def lost() -> FakeServer:
    server = FakeServer()
    server.silent = ServerLost("gone")
    return server


@pytest.mark.parametrize(
    ("ams", "lhr", "found"),
    [
        (holding(OURS), holding(), [OURS]),
        (holding(), holding(OURS), [OURS]),
        (holding(OURS), holding(OURS), [OURS]),  # it was forwarded
        (holding("a", "b"), holding("c"), []),
        (holding(OURS), lost(), [OURS]),
    ],
    ids=["here", "there", "on its way", "nowhere", "one is silent"],
)
async def test_every_server_is_asked(ams: FakeServer, lhr: FakeServer, found: list[str]) -> None:
    servers = {"local:server-ams": ams, "local:server-lhr": lhr}
    cancelling = Cancelling(world=small_world("ams", "lhr"), connections=servers.__getitem__)

    assert await cancelling.cancel(account=ACCOUNT, request_id=OURS) == found


async def test_nothing_found_and_a_server_that_could_not_be_asked_is_an_error() -> None:
    servers = {"local:server-ams": holding(), "local:server-lhr": lost()}
    cancelling = Cancelling(world=small_world("ams", "lhr"), connections=servers.__getitem__)

    with pytest.raises(Unavailable, match="1 of 2 servers could not be asked"):
        await cancelling.cancel(account=ACCOUNT, request_id=OURS)


@pytest.mark.parametrize("path", [PATH, "/v1/requests/"])
async def test_over_http_an_account_cancels_its_own(path: str) -> None:
    server = holding("mine")
    theirs = {"Authorization": f"Bearer {OTHER_SECRET}"}

    none = await ask(server, "/v1/requests/mine", method="DELETE", headers=theirs)
    done = await ask(server, f"{path}mine", method="DELETE")

    assert (none.status, none.json["result"]) == (200, {"cancelled": 0, "request_ids": []})
    assert (done.status, done.json["success"]) == (200, True)
    assert done.json["result"] == {"cancelled": 1, "request_ids": ["mine"]}


@pytest.mark.parametrize(
    ("path", "method", "headers", "status", "code"),
    [
        (f"{PATH}mine", "DELETE", {}, 401, 10000),
        (f"{PATH.replace(ACCOUNT, OTHER_ACCOUNT)}mine", "DELETE", AUTH, 403, 10001),
        (f"{PATH}{'a' * 65}", "DELETE", AUTH, 400, 5006),
        (f"{PATH}a%20b", "DELETE", AUTH, 400, 5006),
        (f"{PATH}a%2Fb", "DELETE", AUTH, 400, 5006),
        (PATH, "DELETE", AUTH, 404, 7000),
        (f"{PATH}mine", "POST", AUTH, 405, 7002),
    ],
)
async def test_what_is_wrong_is_told(
    path: str, method: str, headers: dict[str, str], status: int, code: int
) -> None:
    asked = await ask(FakeServer(), path, method=method, headers=headers)

    assert (asked.status, asked.json["errors"][0]["code"]) == (status, code)


async def test_over_grpc_it_is_the_same() -> None:
    server = holding("mine")
    metadata = (("authorization", f"Bearer {SECRET}"),)
    async with (
        listening(server, http="", grpc="127.0.0.1:0") as bound,
        channel(bound.grpc) as connection,
    ):
        cancel = BindingServiceStub(connection).Cancel
        done = await cancel(pb.CancelRunRequest(request_id="mine"), metadata=metadata)
        none = await cancel(pb.CancelRunRequest(request_id="other"), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await cancel(pb.CancelRunRequest(request_id="a b"), metadata=metadata)

    assert (list(done.request_ids), list(none.request_ids)) == (["mine"], [])
    error: RequestError = request_error(failed.value)
    assert (error.code, error.pointer) == (5006, "/request_id")


async def test_a_server_that_is_slow_keeps_no_other_waiting_in_line() -> None:
    slow, quick = holding(OURS), holding()
    slow.delay_s = quick.delay_s = 0.2
    servers = {"local:server-ams": slow, "local:server-lhr": quick}
    cancelling = Cancelling(world=small_world("ams", "lhr"), connections=servers.__getitem__)

    async with asyncio.timeout(0.38):
        assert await cancelling.cancel(account=ACCOUNT, request_id=OURS) == [OURS]
