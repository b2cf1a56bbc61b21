"""Errors cross a real gRPC connection and come out as what they were."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from libs.common import errors
from libs.common.pb import usage_pb2 as pb
from libs.common.pb.usage_pb2_grpc import (
    UsageServiceServicer,
    UsageServiceStub,
    add_UsageServiceServicer_to_server,
)
from libs.common.rpc import (
    CannotListen,
    Context,
    channel,
    grpc_server,
    raise_from,
    statuses,
    was_sent,
)

EVERY_CLASS = sorted(errors.BY_REASON.values(), key=lambda cls: cls.__name__)


class Failing(UsageServiceServicer):
    """Does what the test wants in every call."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.cancelled = asyncio.Event()

    async def Query(self, request: pb.QueryRequest, context: Context) -> pb.QueryResponse:
        async with statuses(context):
            try:
                result = self.act()
                if asyncio.iscoroutine(result):
                    await result
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return pb.QueryResponse()


def fail(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def nothing() -> None:
    pass


@asynccontextmanager
async def served(servicer: Failing, address: str) -> AsyncIterator[str]:
    def add(server: grpc.aio.Server) -> None:
        add_UsageServiceServicer_to_server(servicer, server)

    async with grpc_server(address, add=add, drain_s=0.1) as (bound,):
        yield bound


async def query(address: str, *, timeout: float = 5.0, wait: bool = False) -> None:
    async with channel(address) as open_channel:
        try:
            await UsageServiceStub(open_channel).Query(
                pb.QueryRequest(), timeout=timeout, wait_for_ready=wait
            )
        except grpc.aio.AioRpcError as error:
            raise_from(error)


@pytest.mark.parametrize("cls", EVERY_CLASS, ids=lambda cls: cls.__name__)
async def test_every_error_comes_out_as_its_own_class(
    cls: type[errors.RequestError], folder: Path
) -> None:
    said = cls("grüße, 世界", retry_after_ms=1500, pointer="/ä b/0", sent=True)

    async with served(Failing(fail(said)), f"unix:{folder}/s") as address:
        with pytest.raises(errors.RequestError) as caught:
            await query(address)

    expected = errors.Internal if cls is errors.RequestError else cls
    assert type(caught.value) is expected
    assert str(caught.value) == "grüße, 世界"
    assert (caught.value.retry_after_ms, caught.value.pointer) == (1500, "/ä b/0")
    assert caught.value.sent


async def test_a_bug_is_logged_once_and_told_without_details(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(Failing(fail(KeyError("secret"))), f"unix:{folder}/s") as address:
        with pytest.raises(errors.Internal) as caught:
            await query(address)

    assert "secret" not in str(caught.value)
    records = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert len(records) == 1
    assert records[0].exc_info is not None


async def test_a_long_message_still_arrives(folder: Path) -> None:
    long = errors.BadInput("界" * 100_000, pointer="/" + "ä" * 10_000)

    async with served(Failing(fail(long)), f"unix:{folder}/s") as address:
        with pytest.raises(errors.BadInput):
            await query(address)


async def test_what_the_transport_says_has_a_class_too(folder: Path) -> None:
    async def forever() -> None:
        await asyncio.sleep(3600)

    with pytest.raises(errors.Unavailable):
        await query(f"unix:{folder}/nobody")
    servicer = Failing(forever)
    async with served(servicer, f"unix:{folder}/s") as address:
        with pytest.raises(errors.DeadlineExceeded):
            await query(address, timeout=0.05)
        await asyncio.wait_for(servicer.cancelled.wait(), 5)


async def test_a_caller_that_leaves_cancels_the_servicer(folder: Path) -> None:
    async def forever() -> None:
        await asyncio.sleep(3600)

    servicer = Failing(forever)
    async with served(servicer, f"unix:{folder}/s") as address:
        call = asyncio.create_task(query(address))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(servicer.cancelled.wait(), 5)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_an_address_in_use_is_one_clear_error(kind: str, folder: Path) -> None:
    first = "127.0.0.1:0" if kind == "tcp" else f"unix:{folder}/s"

    async with served(Failing(nothing), first) as address:
        with pytest.raises(CannotListen, match="cannot listen on"):
            async with served(Failing(nothing), address):
                pass
        await query(address)


async def test_an_address_in_use_is_told_by_nobody_but_us(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with served(Failing(nothing), "127.0.0.1:0") as address:
        with pytest.raises(CannotListen, match=f"{address}: the port is in use"):
            async with served(Failing(nothing), address):
                pass

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("203.0.113.1:7100", "Cannot assign requested address"),
        ("127.0.0.1:99999", "expected host:port"),
        ("7100", "expected host:port"),
        ("::1:7100", r"expected \[host\]:port for IPv6"),
    ],
)
async def test_an_address_that_is_none_is_one_clear_error(address: str, why: str) -> None:
    with pytest.raises(CannotListen, match=why):
        async with served(Failing(nothing), address):
            pass


async def test_a_server_listens_on_ipv6_and_on_a_name() -> None:
    for host in ("[::1]", "localhost"):
        async with served(Failing(nothing), f"{host}:0") as address:
            assert address.startswith(f"{host}:")
            await query(address)


@pytest.mark.parametrize(
    ("details", "sent"),
    [
        ("failed to connect to all addresses", False),
        ("connections to all backends failing; last error: ...", False),
        ("Socket closed", True),
    ],
)
def test_what_was_sent_is_read_from_what_grpc_says(details: str, sent: bool) -> None:
    assert was_sent(details) is sent


async def test_a_socket_left_behind_is_replaced_and_owner_only(folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).bind('{folder}/s')"
    )
    await process.wait()
    assert (folder / "s").is_socket()

    async with served(Failing(nothing), f"unix:{folder}/s") as address:
        assert (folder / "s").stat().st_mode & 0o777 == 0o600
        await query(address)


async def test_a_file_that_is_no_socket_is_left_alone(folder: Path) -> None:
    (folder / "s").write_text("precious")

    with pytest.raises(CannotListen):
        async with served(Failing(nothing), f"unix:{folder}/s"):
            pass

    assert (folder / "s").read_text() == "precious"


async def test_a_path_that_is_too_long_is_one_clear_error(folder: Path) -> None:
    with pytest.raises(CannotListen, match="107"):
        async with served(Failing(nothing), f"unix:{folder}/{'s' * 120}"):
            pass


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_a_client_finds_a_restarted_server_within_two_seconds(
    kind: str, folder: Path
) -> None:
    address = "127.0.0.1:0" if kind == "tcp" else f"unix:{folder}/s"
    async with served(Failing(nothing), address) as bound:
        await query(bound)
        address = bound
    async with channel(address) as kept:
        stub = UsageServiceStub(kept)
        for _ in range(20):  # enough failures to have grown the backoff
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Query(pb.QueryRequest())
            await asyncio.sleep(0.1)
        async with served(Failing(nothing), address):
            since = time.monotonic()
            await stub.Query(pb.QueryRequest(), wait_for_ready=True, timeout=10)
            assert time.monotonic() - since < 2
