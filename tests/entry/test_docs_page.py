"""/openapi.json and /docs: made of the code's schemas, and served from here alone."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest
from aiohttp import ClientSession

from libs.common.catalog import Access, Model
from libs.common.errors import BY_REASON
from services.entry.fronts.docs import FILES
from services.entry.fronts.openapi import BETWEEN_SERVICES
from services.entry.fronts.ops import ROUTES
from tests.entry.fakes import OTHER_ACCOUNT, TEXT, VECTORS, FakeServer, listening, small_world
from tests.fakes import put

RUN = "/client/v4/accounts/{account}/ai/run/"


async def fetched(**config: Any) -> Any:
    async with (
        listening(FakeServer(), **config) as bound,
        ClientSession(f"http://{bound.http}") as http,
    ):
        response = await http.get("/openapi.json")
        return await response.json() if response.status == 200 else response.status


@pytest.fixture
async def document() -> Any:
    return await fetched()


def test_every_route_is_described_with_what_it_may_answer(document: Any) -> None:
    for route in ROUTES:
        method, _, path = route.partition(" ")
        answers = document["paths"][path][method.lower()]["responses"]
        assert "200" in answers
        assert "default" not in answers


def test_every_status_that_a_client_may_see_is_described(document: Any) -> None:
    answers = document["paths"][f"{RUN}{TEXT}"]["post"]["responses"]

    seen = {str(c.http) for c in BY_REASON.values() if c.reason not in BETWEEN_SERVICES}
    assert seen <= answers.keys()


def test_every_reference_leads_somewhere(document: Any) -> None:
    for reference in re.findall(r"'\$ref': '([^']+)'", str(document)):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def test_a_model_is_described_by_the_schema_that_its_calls_are_checked_with(document: Any) -> None:
    schema = document["paths"][f"{RUN}{TEXT}"]["post"]["requestBody"]["content"]
    (narrowed, _) = schema["application/json"]["schema"]["allOf"]

    validator = jsonschema_rs.validator_for(narrowed)
    assert narrowed["properties"]["max_tokens"]["maximum"] == 512
    assert validator.is_valid({"prompt": "hi"})
    assert not validator.is_valid({"prompt": "hi", "max_tokens": 513})


def test_operations_have_ids_of_their_own(document: Any) -> None:
    ids = [each["operationId"] for path in document["paths"].values() for each in path.values()]

    assert len(set(ids)) == len(ids)


async def test_private_models_are_not_named() -> None:
    world = small_world("ams")
    private = Access(accounts=(OTHER_ACCOUNT,))
    put(world, Model(name="@cf/x/private", task="text-embeddings", access=private))

    paths = (await fetched(world=world))["paths"]

    assert f"{RUN}{VECTORS}" in paths
    assert f"{RUN}@cf/x/private" not in paths


async def test_the_document_follows_the_catalog() -> None:
    world = small_world("ams")
    async with (
        listening(FakeServer(), world=world) as bound,
        ClientSession(f"http://{bound.http}") as http,
    ):
        before = await (await http.get("/openapi.json")).json()
        put(world, Model(name="@cf/x/new", task="text-embeddings"))
        after = await (await http.get("/openapi.json")).json()

    assert after["paths"].keys() - before["paths"].keys() == {f"{RUN}@cf/x/new"}


async def test_the_page_loads_what_is_served_here_and_nothing_else() -> None:
    async with listening(FakeServer()) as bound, ClientSession(f"http://{bound.http}") as http:
        page = await http.get("/docs")
        text = await page.text()
        loaded = re.findall(r'(?:src|href)="([^"]+)"', text)

        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert {each.removeprefix("docs/") for each in loaded} == {*FILES, "start.js"}
        for each in loaded:
            response = await http.get(f"/{each}")
            assert response.status == 200, each
            assert len(await response.read()) > 100


@pytest.mark.parametrize("path", ["/docs/index.html", "/docs/..%2fcore.py", "/docs/LICENSE"])
async def test_no_other_file_of_the_viewer_is_served(path: str) -> None:
    async with listening(FakeServer()) as bound, ClientSession(f"http://{bound.http}") as http:
        assert (await http.get(path)).status == 404


async def test_neither_is_served_where_the_setting_is_off() -> None:
    assert await fetched(docs=False) == 404
