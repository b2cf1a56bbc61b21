"""TLS: served, renewed while serving, kept when the new files are broken, and asked of clients."""

import asyncio
import http.client
import os
import socket
import ssl
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import trustme

from libs.http1 import TlsFiles
from libs.live_tls import Live
from tests.http1.support import GET_COLD, Site, a_client, a_site, post
from tests.waiting import until


def issue(authority: trustme.CA, into: Path) -> None:
    """Replace the pair as tools do: new files that are moved to the old names."""
    leaf = authority.issue_cert("localhost")
    leaf.private_key_pem.write_to_path(into / "key.new")
    (into / "cert.new").write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
    os.replace(into / "key.new", into / "key.pem")
    os.replace(into / "cert.new", into / "cert.pem")


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> TlsFiles:
    issue(authority, tmp_path)
    return TlsFiles(cert=tmp_path / "cert.pem", key=tmp_path / "key.pem")


async def ask(site: Site, context: ssl.SSLContext) -> int:
    async with a_client(site, ssl=context, server_hostname="localhost") as client:
        client.send(post())
        return (await client.answer()).status


def forget_check(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.live_tls.CHECK_S", 0.0)


async def test_hot_and_cold_requests_are_served_over_tls(
    files: TlsFiles, authority: trustme.CA
) -> None:
    context = trusting(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with (
        a_site(tls=files) as site,
        a_client(site, ssl=context, server_hostname="localhost") as client,
    ):
        client.send(post(body=b"x" * 300_000)[:-3])
        await asyncio.sleep(0.01)
        client.send(b"xxx" + post("/hot/stream") + post("/hot/soon"))
        assert len((await client.answer()).json()["body"]) == 300_000
        assert (await client.answer()).body == b"onetwothree"
        assert (await client.answer()).body == b"hello"
        client.send(GET_COLD)
        assert (await client.answer()).json()["cold"] == "/cold"
        assert await client.rest() == b""
        tls = client.writer.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "http/1.1"
        assert tls.version() in ("TLSv1.2", "TLSv1.3")


async def test_a_client_that_leaves_is_seen_through_tls(
    files: TlsFiles, authority: trustme.CA
) -> None:
    async with a_site(tls=files) as site:
        for leave in ("close", "abort"):
            async with a_client(
                site, ssl=trusting(authority), server_hostname="localhost"
            ) as client:
                client.send(post("/hot/wait"))
                await until(lambda: site.responders)
                getattr(client.writer.transport, leave)()
                await until(lambda: site.gone)
                site.gone.clear()
        await until(lambda: not site.server.counters.connections)


async def test_a_refusal_is_read_through_tls(files: TlsFiles, authority: trustme.CA) -> None:
    async with (
        a_site(tls=files, max_body_bytes=1000) as site,
        a_client(site, ssl=trusting(authority), server_hostname="localhost") as client,
    ):
        client.send(post(body=b"x" * 200_000))

        assert (await client.answer()).status == 413
        assert await client.rest() == b""


async def test_a_client_that_reads_nothing_is_dropped_over_tls_too(
    files: TlsFiles, authority: trustme.CA
) -> None:
    def connect(port: int) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", port), timeout=5)
        return trusting(authority).wrap_socket(plain, server_hostname="localhost")

    async with a_site(tls=files, write_s=0.3) as site:
        client = await asyncio.to_thread(connect, site.port)
        client.sendall(post("/hot/large?30000000"))
        await until(lambda: site.server.counters.requests)
        await until(lambda: not site.server.counters.connections)
        client.close()


async def test_large_answers_come_whole_over_tls(files: TlsFiles, authority: trustme.CA) -> None:
    options: Any = {"ssl": trusting(authority), "server_hostname": "localhost"}
    async with a_site(tls=files, write_buffer=10_000) as site, a_client(site, **options) as client:
        client.send(post("/hot/large?3000000") * 3 + post("/cold"))

        for _ in range(3):
            assert len((await client.answer()).body) == 3_000_000
        assert (await client.answer()).json()["cold"] == "/cold"


async def test_an_http_1_0_client_over_tls_sees_the_end_at_once(
    files: TlsFiles, authority: trustme.CA
) -> None:
    async with (
        a_site(tls=files) as site,
        a_client(site, ssl=trusting(authority), server_hostname="localhost") as client,
    ):
        client.send(post("/hot/stream", version="1.0"))

        assert (await client.answer(seconds=0.8)).body == b"onetwothree"


async def test_http_client_is_served_over_tls(files: TlsFiles, authority: trustme.CA) -> None:
    def ask_twice(port: int) -> list[bytes]:
        connection = http.client.HTTPSConnection(
            "localhost", port, timeout=5, context=trusting(authority)
        )
        read = []
        for path in ("/hot/soon", "/hot/stream"):
            connection.request("POST", path, body=b"b")
            read.append(connection.getresponse().read())
        connection.close()
        return read

    async with a_site(tls=files) as site:
        assert await asyncio.to_thread(ask_twice, site.port) == [b"b", b"onetwothree"]


async def test_a_renewed_certificate_serves_new_connections_and_old_ones_go_on(
    files: TlsFiles, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_site(tls=files) as site:
        forget_check(site, monkeypatch)
        async with a_client(site, ssl=trusting(authority), server_hostname="localhost") as old:
            old.send(post())
            assert (await old.answer()).status == 200
            other = trustme.CA()
            issue(other, tmp_path)

            assert await ask(site, trusting(other)) == 200
            with pytest.raises(ssl.SSLCertVerificationError):
                await ask(site, trusting(authority))
            old.send(post())
            assert (await old.answer()).status == 200


@pytest.mark.parametrize("broken", ["garbage", "gone", "foreign key"])
async def test_broken_files_are_told_of_once_and_the_old_pair_serves_on(
    files: TlsFiles,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    async with a_site(tls=files) as site:
        forget_check(site, monkeypatch)
        if broken == "garbage":
            files.cert.write_bytes(b"no certificate")
        elif broken == "gone":
            files.key.unlink()
        else:
            trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(files.key)
        for _ in range(3):
            assert await ask(site, trusting(authority)) == 200
        assert caplog.text.count("the old ones serve on") == 1
        other = trustme.CA()
        issue(other, tmp_path)

        assert await ask(site, trusting(other)) == 200


async def test_files_are_looked_at_once_a_second(
    files: TlsFiles, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    monkeypatch.setattr(Live, "look", lambda self: looked.append(1))
    async with a_site(tls=files) as site:
        for _ in range(5):
            assert await ask(site, trusting(authority)) == 200

    assert len(looked) <= 1


async def test_broken_files_at_the_start_are_an_error(tmp_path: Path) -> None:
    async with a_site() as site:
        for content in (None, b"no certificate"):
            if content:
                (tmp_path / "a").write_bytes(content)
            with pytest.raises(OSError):  # noqa: PT011 - OpenSSL has its own words
                files = TlsFiles(cert=tmp_path / "a", key=tmp_path / "a")
                await site.server.listen("127.0.0.1", 0, tls=files)


async def test_clients_must_show_a_certificate_of_the_client_authority(
    files: TlsFiles, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = trustme.CA(), trustme.CA()
    first.cert_pem.write_to_path(tmp_path / "clients.pem")
    mutual = TlsFiles(cert=files.cert, key=files.key, client_ca=tmp_path / "clients.pem")

    async def with_certificate_of(clients: trustme.CA | None) -> int:
        context = trusting(authority)
        if clients:
            clients.issue_cert("client@example.com").configure_cert(context)
        return await ask(site, context)

    async with a_site(tls=mutual) as site:
        forget_check(site, monkeypatch)
        assert await with_certificate_of(first) == 200
        for wrong in (None, second):
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await with_certificate_of(wrong)
        second.cert_pem.write_to_path(tmp_path / "clients.pem")

        assert await with_certificate_of(second) == 200
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await with_certificate_of(first)


async def test_plain_http_on_a_tls_port_harms_nobody(
    files: TlsFiles, authority: trustme.CA
) -> None:
    async with a_site(tls=files) as site:
        async with a_client(site) as client:
            client.send(post())
            await client.rest()

        assert await ask(site, trusting(authority)) == 200
        assert site.server.counters.accepted == 1


@pytest.mark.skipif(not which("curl"), reason="needs curl")
async def test_old_tls_is_not_spoken(files: TlsFiles) -> None:
    async with a_site(tls=files) as site:
        command = ["curl", "-skS", "--tls-max", "1.1", "--max-time", "5"]
        url = f"https://localhost:{site.port}/hot"
        ended = await asyncio.to_thread(subprocess.run, [*command, url], capture_output=True)

        assert ended.returncode != 0


def test_news_of_files_are_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.live_tls.CHECK_S", 0.0)
    file = tmp_path / "pem"
    file.write_text("old")
    live = Live(file.read_text, [file])

    assert live.news() is None
    file.write_text("newer")

    assert (live.news(), live.news(), live.now()) == ("newer", None, "newer")
