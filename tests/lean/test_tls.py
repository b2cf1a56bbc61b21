"""TLS and mutual TLS, with ALPN."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from libs.lean import RpcError, Status, client_context, server_context
from tests.lean.support import ECHO, GrpcHandlers, calling, raw_server, serving


@dataclass
class Files:
    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca"))
    for name, cert in (("server", ca.issue_cert("localhost")), ("client", ca.issue_cert("me"))):
        cert.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        for i, blob in enumerate(cert.cert_chain_pems):
            blob.write_to_path(str(folder / f"{name}.cert"), append=i > 0)
    return Files(
        folder / "ca",
        folder / "server.cert",
        folder / "server.key",
        folder / "client.cert",
        folder / "client.key",
    )


async def test_calls_pass_over_tls(files: Files) -> None:
    tls = server_context(files.cert, files.key)
    async with (
        serving("localhost:0", tls=tls) as (address, _),
        calling(address, tls=client_context(files.ca)) as channel,
    ):
        assert await channel.unary(ECHO, bytes(3_000_000), timeout_s=20) == bytes(3_000_000)


async def test_calls_pass_over_mutual_tls(files: Files, tmp_path: Any) -> None:
    tls = server_context(files.cert, files.key, files.ca)
    mine = client_context(files.ca, files.client_cert, files.client_key)
    async with (
        serving(f"unix:{tmp_path}/s", tls=tls) as (address, _),
        calling(address, tls=mine, server_hostname="localhost") as channel,
    ):
        assert await channel.unary(ECHO, b"hello", timeout_s=5) == b"hello"


async def test_a_client_without_a_certificate_is_refused(files: Files) -> None:
    tls = server_context(files.cert, files.key, files.ca)
    async with (
        serving("localhost:0", tls=tls) as (address, _),
        calling(address, tls=client_context(files.ca)) as channel,
    ):
        with pytest.raises(RpcError) as caught:
            await channel.unary(ECHO, b"", timeout_s=1)

    assert caught.value.status in (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED)
    assert not caught.value.sent


async def test_a_server_that_is_not_trusted_is_told_at_once(files: Files) -> None:
    other = trustme.CA()
    mine = client_context(files.ca)
    cert = other.issue_cert("localhost")
    theirs = server_context(files.cert, files.key)
    cert.configure_cert(theirs)
    async with (
        serving("localhost:0", tls=theirs) as (address, _),
        calling(address, tls=mine) as channel,
    ):
        with pytest.raises(RpcError) as caught:
            await channel.unary(ECHO, b"", timeout_s=1)

    assert caught.value.status is Status.UNAVAILABLE
    assert "CERTIFICATE_VERIFY_FAILED" in caught.value.message


async def test_a_client_that_does_not_agree_on_http2_is_refused(files: Files) -> None:
    async with serving("localhost:0", tls=server_context(files.cert, files.key)) as (address, _):
        plain = ssl.create_default_context(cafile=str(files.ca))
        reader, writer = await asyncio.open_connection(*address.split(":"), ssl=plain)

        await reader.read()  # which ends only with the connection

        writer.close()


async def test_a_server_that_does_not_agree_on_http2_is_refused(files: Files) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files.cert, files.key)
    mine = client_context(files.ca)
    async with (
        raw_server(ssl=tls) as address,
        calling(address, tls=mine, server_hostname="localhost") as channel,
    ):
        with pytest.raises(RpcError) as caught:
            await channel.unary(ECHO, b"", timeout_s=1)

    assert not caught.value.sent


async def test_grpc_calls_our_server_over_mutual_tls(files: Files) -> None:
    credentials = grpc.ssl_channel_credentials(
        files.ca.read_bytes(), files.client_key.read_bytes(), files.client_cert.read_bytes()
    )
    tls = server_context(files.cert, files.key, files.ca)
    opened: Any = grpc.aio.secure_channel
    async with (
        serving("localhost:0", tls=tls) as (address, _),
        opened(address, credentials) as channel,
    ):
        assert await channel.unary_unary(ECHO.path)(b"hello", timeout=5) == b"hello"


async def test_we_call_grpcs_server_over_mutual_tls(files: Files) -> None:
    credentials = grpc.ssl_server_credentials(
        [(files.key.read_bytes(), files.cert.read_bytes())],
        files.ca.read_bytes(),
        require_client_auth=True,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([GrpcHandlers(is_async=True)])
    port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    mine = client_context(files.ca, files.client_cert, files.client_key)
    async with calling(f"localhost:{port}", tls=mine) as channel:
        assert await channel.unary(ECHO, b"hello", timeout_s=5) == b"hello"
    await server.stop(0)
