"""TLS on hops: a server's port answers certificates of its authority and the right role alone."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from libs.common.addresses import host_port
from libs.common.hop_tls import HopTls, hop_tls, warn_if_open
from libs.common.hops import Channel, ServerCall, Transport, connect, listening
from libs.common.rpc import CannotListen
from libs.lean import Method, RpcError, Status
from services.server.grpc_api import CALLERS
from tests.certificates import Authority, files_in

ECHO = Method("/test.Echo/Echo")
BOTH: Sequence[Transport] = ("lean", "grpcio")

pytestmark = [
    pytest.mark.timeout(20),
    # a failed handshake that nobody awaits is what grpcio leaves of one that is refused
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(params=BOTH)
def transport(request: pytest.FixtureRequest) -> Transport:
    found: Transport = request.param
    return found


def echo(call: ServerCall, message: bytes) -> None:
    call.finish((message,))


@asynccontextmanager
async def serving(tls: HopTls | None, transport: Transport = "lean") -> AsyncIterator[str]:
    handlers = {ECHO.path: echo}
    async with listening(
        "localhost:0", handlers, transport=transport, drain_s=0.1, tls=tls, roles=CALLERS
    ) as bound:
        yield bound


@asynccontextmanager
async def calling(
    address: str, tls: HopTls | None, transport: Transport = "lean"
) -> AsyncIterator[Channel]:
    channel = connect(address, transport=transport, tls=tls, connect_s=1.0)
    try:
        yield channel
    finally:
        await channel.close()


async def ask(channel: Channel) -> bytes:
    return await channel.unary(ECHO, (b"hello",), timeout_s=3.0)


async def refused(address: str, tls: HopTls | None, transport: Transport) -> RpcError:
    async with calling(address, tls, transport) as channel:
        with pytest.raises(RpcError) as found:
            await ask(channel)
    return found.value


@pytest.mark.parametrize("role", CALLERS)
@pytest.mark.parametrize("server", BOTH)
async def test_the_right_certificate_is_answered(
    authority: Authority, role: str, server: Transport, transport: Transport
) -> None:
    async with (
        serving(authority.issue("server"), server) as address,
        calling(address, authority.issue(role), transport) as channel,
    ):
        assert await ask(channel) == b"hello"


@pytest.mark.parametrize("role", ["node", "control", "analytics", "operator", ""])
async def test_another_role_is_told_which_is_right(
    authority: Authority, role: str, transport: Transport
) -> None:
    async with serving(authority.issue("server"), transport) as address:
        error = await refused(address, authority.issue(role), transport)

    assert error.status == Status.PERMISSION_DENIED
    assert dict(error.trailers)["reason"] == "wrong_role"
    who = f"constellation://{role}/it" if role else "a certificate without a role"
    assert str(error) == (
        f"PERMISSION_DENIED: {who} may not call /test.Echo/Echo: "
        "expected a certificate of the role entry or server"
    )


@pytest.mark.parametrize("who", ["nobody", "another authority's", "expired"])
async def test_no_other_certificate_is_answered(
    authority: Authority, tmp_path: Path, who: str, transport: Transport
) -> None:
    theirs = {
        "nobody": None,
        "another authority's": Authority(tmp_path).issue("server"),
        "expired": authority.issue("server", days_ago=2),
    }[who]
    if who == "another authority's" and theirs:  # it trusts us: the refusal is to be the server's
        shutil.copy(authority.issue("server").ca, theirs.ca)

    async with serving(authority.issue("server"), transport) as address:
        error = await refused(address, theirs, transport)

    assert error.status == Status.UNAVAILABLE


async def test_a_server_of_another_authority_is_not_called(
    authority: Authority, tmp_path: Path, transport: Transport
) -> None:
    false = Authority(tmp_path).issue("server")
    shutil.copy(authority.issue("entry").ca, false.ca)  # which lets us in

    async with serving(false, transport) as address:
        error = await refused(address, authority.issue("entry"), transport)

    assert error.status == Status.UNAVAILABLE


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.*is deprecated")
@pytest.mark.parametrize("server", BOTH)
async def test_old_tls_is_not_spoken(authority: Authority, server: Transport) -> None:
    ours = authority.issue("server")
    context = ours.client_context()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with serving(ours, server) as address:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(*host_port(address), ssl=context)


@pytest.mark.parametrize("server", BOTH)
async def test_renewed_certificates_are_taken_under_load_without_a_failed_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Transport, transport: Transport
) -> None:
    monkeypatch.setattr("libs.live_tls.CHECK_S", 0.0)
    authority = Authority(tmp_path / "certs")
    ours, theirs = authority.issue("server"), authority.issue("entry")
    served, is_over = 0, False
    closing: list[asyncio.Task[None]] = []

    async def call() -> None:
        nonlocal served
        while not is_over:
            fresh = connect(address, transport=transport, tls=theirs)
            for channel in (fresh, kept):
                assert await ask(channel) == b"hello"
                served += 1
            closing.append(asyncio.create_task(fresh.close()))  # which takes a while

    async def answered(more: int) -> None:
        wanted = served + more
        while served < wanted:
            await asyncio.sleep(0.005)

    async def rotate() -> None:
        nonlocal is_over
        for step in (authority.renew, authority.replace, authority.renew, authority.drop_old):
            step()
            await answered(20)
        is_over = True

    async with serving(ours, server) as address, calling(address, theirs, transport) as kept:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(call())
            tasks.create_task(rotate())
        await asyncio.gather(*closing)
        old = files_in(tmp_path / "certs.before")
        shutil.copy(theirs.ca, old.ca)  # it trusts the server of now
        assert (await refused(address, old, transport)).status == Status.UNAVAILABLE


async def test_a_unix_socket_is_never_encrypted(authority: Authority, tmp_path: Path) -> None:
    ours = authority.issue("node")
    handlers = {ECHO.path: echo}
    address = f"unix:{tmp_path}/s"
    async with (
        listening(address, handlers, tls=ours, roles=CALLERS),
        calling(address, ours) as channel,
    ):
        assert await ask(channel) == b"hello"


def test_files_that_do_not_fit_together_are_told(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.issue("server"), authority.issue("entry")
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")

    for files, told in (
        ((one.cert, None, one.ca), "belong together"),
        ((one.cert, other.key, one.ca), "key values mismatch"),
        ((bad, one.key, one.ca), "expected a certificate, its key and an authority in PEM"),
        ((one.cert, one.key, bad), "expected a certificate, its key and an authority in PEM"),
        ((tmp_path / "none.pem", one.key, one.ca), "none.pem: No such file"),
    ):
        with pytest.raises(CannotListen, match=told):
            hop_tls(*files)
    assert hop_tls(None, None, None) is None


@pytest.mark.parametrize(
    ("address", "is_told"),
    [
        ("0.0.0.0:1", True),
        ("[::]:1", True),
        ("server-1:1", True),
        ("127.0.0.1:1", False),
        ("[::1]:1", False),
        ("localhost:1", False),
        ("unix:/s", False),
        ("", False),
    ],
)
def test_a_port_without_tls_that_others_reach_is_told(
    authority: Authority, caplog: pytest.LogCaptureFixture, address: str, is_told: bool
) -> None:
    warn_if_open(address, None)

    assert ("hop_cert, hop_key and hop_ca are not set" in caplog.text) == is_told
    caplog.clear()
    warn_if_open(address, authority.issue("server"))
    assert not caplog.text
