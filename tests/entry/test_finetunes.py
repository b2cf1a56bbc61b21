"""Finetunes over HTTP: a real entry, and a real control behind it over gRPC."""

from __future__ import annotations

import asyncio
import socket
import time
import tracemalloc
from pathlib import Path

import pytest

from libs.common.lifecycle import background
from tests.adapters import CONFIG, WEIGHTS, config, header, tensors, weights
from tests.entry.fakes import ACCOUNT, OTHER_ACCOUNT
from tests.entry.finetunes import CHAT, running

BIG = 24 * 1024 * 1024  # more than a body may have on other routes


async def test_a_finetune_from_its_name_to_its_end(folder: Path) -> None:
    async with running(folder) as api:
        made = await api.create(description="Talks.")
        assert {**made, "id": "", "created_at": "", "modified_at": ""} == {
            "id": "",
            "name": "pirate",
            "model": CHAT.name,
            "description": "Talks.",
            "public": False,
            "created_at": "",
            "modified_at": "",
        }
        assert made["created_at"].endswith("Z")
        assert (await api.upload(config(), CONFIG))[0] == 200
        assert (await api.upload(weights(), WEIGHTS, made["id"]))[0] == 200
        status, again = await api.upload(weights(), WEIGHTS)
        assert (status, again["errors"][0]["code"]) == (409, 5052)

        _, listed = await api.ask("GET")
        assert [each["id"] for each in listed["result"]] == [made["id"]]
        assert (await api.ask("GET", token="theirs"))[1]["result"] == []
        assert (await api.ask("DELETE", "/pirate", token="theirs"))[0] == 404
        assert (await api.ask("DELETE", "/pirate"))[0] == 200
        assert (await api.ask("GET"))[1]["result"] == []
        assert not [path for path in api.assets.iterdir() if path.name != "incoming"]


async def test_public_ones_are_listed_by_page_and_by_the_name_that_all_know(folder: Path) -> None:
    async with running(folder) as api:
        for name in ("b", "a", "half"):
            await api.create(name, public=True, token="theirs")
        await api.create("hidden", token="theirs")
        for name in ("b", "a"):
            await api.upload(config(), CONFIG, name, token="theirs")
            await api.upload(weights(), WEIGHTS, name, token="theirs")

        async def names(query: str) -> list[str]:
            status, answer = await api.ask("GET", f"/public{query}")
            assert status == 200, answer
            return [each["name"] for each in answer["result"]]

        every = ["cf-public-a", "cf-public-b", "cf-public-style"]
        assert await names("") == every
        assert await names("?limit=2.0&offset=0") == every[:2]
        assert await names("?limit=2&offset=2") == every[2:]
        assert await names("?offset=3") == []
        assert await names("?orderBy=created_at") == [every[2], every[1], every[0]]
        _, answer = await api.ask("GET", "/public?limit=1")
        assert answer["result_info"] == {"page": 1, "per_page": 1, "count": 1, "total_count": 3}


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (b"", 400, 5006, None),
        (b"[]", 400, 5006, None),
        (b'{"model": "m"}', 400, 5006, "/name"),
        (b'{"name": "f"}', 400, 5006, "/model"),
        (b'{"name": 1, "model": "m"}', 400, 5006, "/name"),
        (b'{"name": "f", "model": "m", "public": "yes"}', 400, 5006, "/public"),
        (b'{"name": "f", "model": "m", "description": 7}', 400, 5006, "/description"),
        (b'{"name": "cf-public-f", "model": "@cf/demo/chat"}', 400, 5006, "/name"),
        (b'{"name": "f", "model": "nothing"}', 400, 5007, None),
        (b'{"name": "f", "model": "plain"}', 405, 5005, None),
        (b'{"name": "f", "model": "private"}', 403, 5018, None),
        (b'{"name": "taken", "model": "@cf/demo/chat"}', 409, 5051, None),
        (b'{"name": "' + b"x" * 2000 + b'", "model": "@cf/demo/chat"}', 413, 3006, None),
    ],
)
async def test_what_may_not_be_made_says_why(
    folder: Path, body: bytes, status: int, code: int, pointer: str | None
) -> None:
    async with running(folder, max_body_bytes=1000) as api:
        await api.create("taken")
        said, answer = await api.ask("POST", data=body)

    assert (said, answer["errors"][0]["code"]) == (status, code)
    assert answer["errors"][0].get("source", {}).get("pointer") == pointer


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "offset=-1", "offset=1.5", "orderBy=id"])
async def test_a_query_that_means_nothing_is_refused(folder: Path, query: str) -> None:
    async with running(folder) as api:
        status, answer = await api.ask("GET", f"/public?{query}")

    assert (status, answer["errors"][0]["source"]["pointer"]) == (400, f"/{query.split('=')[0]}")


def part(name: str, value: bytes, more: str = "") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value + b"\r\n"


END = b"--b--\r\n"
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
NAMED = f'; filename="{CONFIG}"'
FORMS = {
    "no form": ({}, b"{}", 400),
    "no boundary": ({"Content-Type": "multipart/form-data"}, b"", 400),
    "empty": (FORM, b"", 400),
    "no end": (FORM, part("file_name", CONFIG.encode()) + part("file", config())[:-20], 400),
    "no file": (FORM, part("file_name", CONFIG.encode()) + END, 400),
    "no name": (FORM, part("file", config()) + END, 400),
    "wrong name": (FORM, part("file_name", b"x.bin") + part("file", config()) + END, 400),
    "name that is no text": (FORM, part("file_name", b"\xff") + part("file", b"") + END, 400),
    "long name": (FORM, part("file_name", b"x" * 5000) + part("file", config()) + END, 400),
    "file first": (
        FORM,
        part("file", config(), NAMED) + part("file_name", CONFIG.encode()) + END,
        200,
    ),
    "file alone, named": (FORM, part("file", config(), NAMED) + END, 200),
    "file first, named otherwise": (
        FORM,
        part("file", config(), NAMED) + part("file_name", WEIGHTS.encode()) + END,
        400,
    ),
    "two files": (
        FORM,
        part("file_name", CONFIG.encode()) + part("file", config()) * 2 + END,
        400,
    ),
    "encoded": (
        FORM,
        part("file_name", CONFIG.encode())
        + part("file", config()).replace(
            b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1
        )
        + END,
        400,
    ),
    "a form in it": (
        FORM,
        part("file", b"").replace(
            b"\r\n\r\n", b"\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n", 1
        )
        + END,
        400,
    ),
    "more fields": (
        FORM,
        part("note", b"x" * 100_000)
        + part("file_name", CONFIG.encode())
        + part("file", config())
        + END,
        200,
    ),
}


@pytest.mark.parametrize("form", FORMS)
async def test_forms_are_taken_in_any_order_and_refused_in_words(folder: Path, form: str) -> None:
    headers, body, wanted = FORMS[form]
    async with running(folder) as api:
        await api.create()
        status, answer = await api.ask(
            "POST", "/pirate/finetune-assets", data=body, headers=headers
        )

        assert status == wanted, answer
        if wanted == 400:
            assert answer["errors"][0]["code"] == 5006
            assert not api.unfinished()


async def test_a_large_file_is_neither_kept_in_memory_nor_held_against_the_bodys_limit(
    folder: Path,
) -> None:
    width = BIG // (8 * 4 * 2)
    raw = header(tensors(width=width)) + bytes(BIG)
    path = folder / "big"
    path.write_bytes(raw)
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            longest = max(longest, time.perf_counter() - began)

    async with running(folder, max_body_bytes=1000) as api:
        await api.create()
        tracemalloc.start()
        async with background(watch(), name="watch"):
            with path.open("rb") as file:
                status, answer = await api.upload(file, WEIGHTS)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert status == 200, answer
        assert peak < BIG / 2
        assert longest < 0.5
        (kept,) = [path for path in api.assets.iterdir() if path.name != "incoming"]
        assert kept.stat().st_size == len(raw)


async def test_a_refusal_comes_through_while_the_client_still_sends(folder: Path) -> None:
    async with running(folder) as api:
        status, answer = await api.upload(bytes(BIG), WEIGHTS, "nobody")
        assert (status, answer["errors"][0]["code"]) == (404, 5050)
        await api.create()
        status, answer = await api.upload(bytes(BIG), WEIGHTS)
        assert (status, answer["errors"][0]["code"]) == (400, 5054), answer


async def test_a_client_that_stops_or_leaves_in_the_middle_leaves_nothing(folder: Path) -> None:
    raw = part("file_name", WEIGHTS.encode()) + part("file", weights(width=10_000))[:-10]
    path = f"/client/v4/accounts/{ACCOUNT}/ai/finetunes/pirate/finetune-assets"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer mine\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 10000000\r\n\r\n"
    )
    async with running(folder, upload_idle_s=0.5) as api:
        await api.create()
        host, port = api.http.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode() + raw)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)
        assert b" 408 " in answer
        writer.close()

        with socket.create_connection((host, int(port))) as leaving:
            leaving.sendall(head.encode() + raw)
            await asyncio.sleep(0.2)
            assert api.unfinished()
        async with asyncio.timeout(5):
            while api.unfinished():
                await asyncio.sleep(0.01)
        assert (await api.upload(weights(), WEIGHTS))[0] == 200


async def test_nobody_comes_in_without_a_token_of_the_account(folder: Path) -> None:
    async with running(folder) as api:
        for method, path in (
            ("GET", ""),
            ("POST", ""),
            ("GET", "/public"),
            ("DELETE", "/pirate"),
            ("POST", "/pirate/finetune-assets"),
        ):
            assert (await api.ask(method, path, token="nothing"))[0] == 401
            url = f"{api.base}/{OTHER_ACCOUNT}/ai/finetunes{path}"
            headers = {"Authorization": "Bearer mine"}
            async with api.session.request(method, url, headers=headers) as response:
                assert response.status == 403


async def test_a_token_does_what_its_scopes_say(folder: Path) -> None:
    async with running(folder) as api:
        for token, method, path, allowed in (
            ("reader", "GET", "", True),
            ("reader", "GET", "/public", True),
            ("reader", "POST", "", False),
            ("reader", "POST", "/pirate/finetune-assets", False),
            ("reader", "DELETE", "/pirate", False),
            ("writer", "GET", "", False),
            ("writer", "POST", "", True),
            ("writer", "POST", "/pirate/finetune-assets", True),
            ("writer", "DELETE", "/pirate", False),
        ):
            _, answer = await api.ask(method, path, token=token)
            codes = [each["code"] for each in answer["errors"]]
            assert (10002 not in codes) is allowed, (token, method, path)
