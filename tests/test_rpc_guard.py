"""Control's and usage's ports: whom they answer over TCP, by certificate or by token."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from libs.common.clients.caller import NOBODY, Caller
from libs.common.clients.control import ControlClient
from libs.common.clients.usage import UsageClient
from libs.common.errors import RequestError, RpcTokenMissing, Unavailable, WrongRole
from libs.common.explanation import Question
from libs.common.finetunes import NewFinetune
from libs.common.hop_settings import HopSettings, caller
from libs.common.hop_tls import HopTls
from libs.common.pb import control_pb2, finetunes_pb2, usage_pb2
from libs.common.rpc import CannotListen
from libs.common.usage import UsageQuery
from libs.common.world_map import Account, Ref, Report
from services.analytics import app as analytics
from services.analytics import usage_api
from services.control import app as control
from services.control.callers import CALLERS
from tests.certificates import Authority
from tests.short_dirs import short_dir

TOKEN = "a-token-of-the-cluster"
ROLES = ("entry", "server", "node", "control", "scheduler", "analytics", "operator", "")
Call = Callable[[ControlClient], Coroutine[Any, Any, Any]]

pytestmark = pytest.mark.timeout(20)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@asynccontextmanager
async def controlling(**settings: Any) -> AsyncIterator[tuple[str, str]]:
    """Yield the addresses of a control: its Unix socket, and its port."""
    with short_dir() as folder:
        config = control.Config(state_dir=folder, listen="localhost:0", grace_s=0.0, **settings)
        async with control.serve(config, control.build(config, catalog=())) as (unix, tcp):
            yield unix, tcp


@asynccontextmanager
async def answering(**settings: Any) -> AsyncIterator[tuple[str, str]]:
    """Yield the addresses of a usage service: its Unix socket, and its port."""
    with short_dir() as folder:
        config = analytics.Config(state_dir=folder, listen="localhost:0", **settings)
        made = analytics.build(config, registry=CollectorRegistry())
        async with analytics.serve(config, made) as (unix, tcp):
            yield unix, tcp


def files(tls: HopTls) -> dict[str, Path]:
    return {"hop_cert": tls.cert, "hop_key": tls.key, "hop_ca": tls.ca}


async def watch(client: ControlClient) -> None:
    updates = client.watch()
    try:
        await anext(updates)
    finally:
        await updates.aclose()


async def fetch(client: ControlClient) -> None:
    async for _ in client.finetunes.fetch("0" * 64):
        pass


def reported(kind: Any) -> Call:
    async def reports() -> AsyncIterator[Report]:
        yield Report(kind=kind, name="it", colo="local", resources=())

    return lambda client: client.report(reports())


NEW = NewFinetune(account="a", name="n", model="m", description="", public=False)
CALLS: dict[str, Call] = {
    "Watch": watch,
    "Put": lambda client: client.put(Account(id="0" * 32)),
    "Delete": lambda client: client.delete(Ref("account", "0" * 32)),
    "Explain": lambda client: client.explain(Question(model="m")),
    "Status": lambda client: client.status(),
    "CreateFinetune": lambda client: client.finetunes.create(NEW),
    "DeleteFinetune": lambda client: client.finetunes.delete("a", "n"),
    "FetchAsset": fetch,
}


async def settled(call: Callable[[], Coroutine[Any, Any, Any]]) -> Exception | None:
    """Ask again, as a reporter does: grpcio loses a refusal that meets a message on its way."""
    error: Exception | None = None
    for _ in range(5):
        error = await outcome(call())
        if not isinstance(error, Unavailable):
            break
    return error


async def outcome(call: Coroutine[Any, Any, Any]) -> Exception | None:
    try:
        await call
    except RequestError as error:
        return error
    return None


def test_every_method_says_who_may_call_it() -> None:
    def methods(file: Any) -> set[str]:
        services = file.DESCRIPTOR.services_by_name.values()
        return {f"/{each.full_name}/{m.name}" for each in services for m in each.methods}

    assert CALLERS.keys() == methods(control_pb2) | methods(finetunes_pb2)
    assert usage_api.CALLERS.keys() == methods(usage_pb2)


async def test_control_answers_the_roles_that_need_it(authority: Authority) -> None:
    allowed = {path.rpartition("/")[2]: roles for path, roles in CALLERS.items()}
    async with controlling(**files(authority.issue("control"))) as (_, tcp):
        for role in ROLES:
            async with ControlClient(tcp, caller=Caller(tls=authority.issue(role))) as client:
                for name, call in CALLS.items():
                    error = await outcome(call(client))
                    is_refused = isinstance(error, WrongRole)
                    assert is_refused == (role not in allowed[name]), (role, name, error)
                    if is_refused:
                        assert name in str(error)
                        assert f"constellation://{role}/" in str(error) or not role
                        assert all(each in str(error) for each in allowed[name])


async def test_who_reports_must_be_what_it_reports_as(authority: Authority) -> None:
    async with controlling(**files(authority.issue("control"))) as (_, tcp):
        for role in ("entry", "server", "node"):
            async with ControlClient(tcp, caller=Caller(tls=authority.issue(role))) as client:
                for kind in ("entry", "server", "node"):
                    error = await settled(partial(reported(kind), client))
                    assert isinstance(error, WrongRole) == (kind != role), (role, kind, error)


async def test_usage_answers_the_roles_that_need_it(authority: Authority) -> None:
    async with answering(**files(authority.issue("analytics"))) as (_, tcp):
        for role in ROLES:
            async with UsageClient(tcp, caller=Caller(tls=authority.issue(role))) as client:
                error = await outcome(client.query(UsageQuery()))
                assert isinstance(error, WrongRole) == (role not in ("entry", "operator"))


@pytest.mark.parametrize("who", ["nobody", "a token", "another authority's", "expired"])
@pytest.mark.parametrize("port", ["control", "usage"])
async def test_no_other_certificate_is_answered(
    authority: Authority, tmp_path: Path, who: str, port: str
) -> None:
    theirs = {
        "nobody": NOBODY,
        "a token": Caller(token=TOKEN),
        "another authority's": Caller(tls=Authority(tmp_path).issue("operator")),
        "expired": Caller(tls=authority.issue("operator", days_ago=2)),
    }[who]
    if theirs.tls and theirs.tls.ca.is_relative_to(tmp_path):  # it trusts us: we refuse
        shutil.copy(authority.issue("operator").ca, theirs.tls.ca)
    settings = files(authority.issue("control")) | {"rpc_token": TOKEN}

    async with AsyncExitStack() as stack:
        if port == "control":
            _, tcp = await stack.enter_async_context(controlling(**settings))
            asked = await stack.enter_async_context(ControlClient(tcp, caller=theirs, call_s=3.0))
            error = await outcome(asked.explain(Question(model="m")))
        else:
            _, tcp = await stack.enter_async_context(answering(**settings))
            client = UsageClient(tcp, caller=theirs, timeout_s=3.0)
            error = await outcome((await stack.enter_async_context(client)).query(UsageQuery()))

    assert type(error) is Unavailable


async def test_without_tls_a_token_is_asked_for() -> None:
    async with controlling(rpc_token=TOKEN) as (_, tcp):
        for token in ("", "another-token-of-it", TOKEN[:-1], TOKEN + "x"):
            async with ControlClient(tcp, caller=Caller(token=token)) as client:
                for name, call in CALLS.items():
                    with pytest.raises(RpcTokenMissing, match=f"{name}.*CONSTELLATION_RPC_TOKEN"):
                        await call(client)
        async with ControlClient(tcp, caller=Caller(token=TOKEN)) as client:
            assert await client.put(Account(id="0" * 32)) > 0
            await watch(client)


async def test_usage_asks_for_the_token_too(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    async with answering(rpc_token_file=file) as (_, tcp):
        async with UsageClient(tcp) as client:
            with pytest.raises(RpcTokenMissing):
                await client.query(UsageQuery())
        async with UsageClient(tcp, caller=Caller(token=TOKEN)) as client:
            assert await client.query(UsageQuery()) == []


async def test_a_refusal_is_unauthenticated_on_the_wire() -> None:
    async with (
        controlling(rpc_token=TOKEN) as (_, tcp),
        grpc.aio.insecure_channel(tcp) as channel,
    ):
        call: Any = channel.unary_unary("/constellation.v1.ControlService/Put")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"", metadata=(("authorization", TOKEN),))

    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert TOKEN not in (refused.value.details() or "")


async def test_a_unix_socket_asks_for_nothing(authority: Authority) -> None:
    settings = files(authority.issue("control")) | {"rpc_token": TOKEN}
    async with controlling(**settings) as (unix, _), ControlClient(unix) as client:
        assert await client.put(Account(id="0" * 32)) > 0
    async with answering(**settings) as (unix, _), UsageClient(unix) as usage:
        assert await usage.query(UsageQuery()) == []


async def test_renewed_certificates_are_taken_without_a_failed_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.live_tls.CHECK_S", 0.0)
    authority = Authority(tmp_path / "certs")
    ours, theirs = authority.issue("control"), Caller(tls=authority.issue("operator"))
    async with controlling(**files(ours)) as (_, tcp), ControlClient(tcp, caller=theirs) as kept:
        updates = kept.watch()
        await anext(updates)
        for step in (authority.renew, authority.replace, authority.renew, authority.drop_old):
            step()
            async with ControlClient(tcp, caller=theirs) as fresh:
                for client in (kept, fresh):
                    version = await client.put(Account(id="0" * 32, name=step.__name__))
        async for update in updates:  # which began with a certificate that is gone
            if update.version >= version:
                break
        await updates.aclose()


def test_a_token_that_is_none_is_told_without_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("")
    for settings, told in (
        (HopSettings(rpc_token="short"), "rpc_token: expected printable ASCII .* 16 or more"),
        (HopSettings(rpc_token="with a space in the middle"), "rpc_token: expected"),
        (HopSettings(rpc_token_file=file), f"rpc_token_file {file}: expected"),
        (HopSettings(rpc_token_file=tmp_path / "none"), "none: No such file"),
        (HopSettings(rpc_token=TOKEN, rpc_token_file=file), "expected one of them"),
    ):
        with pytest.raises(CannotListen, match=told) as raised:
            _ = settings.token_of_rpcs
        assert not settings.rpc_token or settings.rpc_token not in str(raised.value)
        assert "middle" not in repr(settings)


def test_commands_are_who_the_environment_says(authority: Authority, tmp_path: Path) -> None:
    tls = authority.issue("operator")
    env = {f"CONSTELLATION_{name.upper()}": str(path) for name, path in files(tls).items()}
    file = tmp_path / "token"
    file.write_text(TOKEN)

    assert caller({}) == NOBODY
    assert caller(env) == Caller(tls=tls)
    assert caller({"CONSTELLATION_RPC_TOKEN_FILE": str(file)}) == Caller(token=TOKEN)
