"""Workers AI's lists: what they show, what they leave out, and that they end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Access, Listing, Model, Price
from libs.common.world import World
from services.entry.fronts import workers_ai_catalog
from services.entry.fronts.model_listing import page_of, wish_of
from tests.entry.asking import Asked, ask
from tests.entry.fakes import ACCOUNT, OTHER_ACCOUNT, TEXT, VECTORS, FakeServer, small_world
from tests.fakes import put

AI = f"/client/v4/accounts/{ACCOUNT}/ai"
TALKER = Model(
    name="@cf/acme/talker-7b",
    task="text-generation",
    description="Talks a lot.",
    listing=Listing(
        tags=("acme",),
        beta=True,
        properties={"context_window": 8192.0, "created_at": "2026-11-01 10:00:00.000"},
    ),
    price=Price(per_token_in=0.25, per_token_out=1),
    async_queue=True,
    schema={"max_tokens": {"maximum": 100.0}},
)
GUEST = Model(name="@hf/elsewhere/guest", task="text-embeddings", listing=Listing(author="guests"))
SECRET_ONE = Model(
    name="@cf/acme/secret", task="text-generation", access=Access(accounts=(OTHER_ACCOUNT,))
)


def deprecated(name: str, day: str) -> Model:
    listing = Listing(properties={"planned_deprecation_date": day})
    return Model(name=name, task="text-generation", listing=listing)


def world(*models: Model) -> World:
    made = small_world("ams")
    put(made, TALKER, GUEST, SECRET_ONE, *models)
    return made


async def look(path: str, *models: Model, **query: Any) -> Asked:
    """Ask for one of the lists."""
    where = f"{AI}/{path}?{urlencode(query)}"
    return await ask(FakeServer(), where, method="GET", world=world(*models))


async def names(*models: Model, **query: Any) -> list[str]:
    asked = await look("models/search", *models, **query)
    return [each["name"] for each in asked.json["result"]]


async def test_a_model_is_shown_with_its_task_and_properties() -> None:
    asked = await look("models/search", search="talker")

    (shown,) = asked.json["result"]
    assert (shown["source"], shown["name"]) == (1, TALKER.name)
    assert shown["description"] == "Talks a lot."
    assert shown["task"]["name"] == "Text Generation"
    assert shown["created_at"] == "2026-11-01 10:00:00.000"
    assert shown["tags"] == ["acme"]
    prices = [
        {"unit": "per input token", "price": 0.25, "currency": "neurons"},
        {"unit": "per output token", "price": 1, "currency": "neurons"},
    ]
    assert {each["property_id"]: each["value"] for each in shown["properties"]} == {
        "context_window": "8192",
        "beta": "true",
        "async_queue": "true",
        "price": prices,
    }


async def test_an_id_is_made_of_the_name_so_that_every_entry_says_the_same() -> None:
    asked = await look("models/search", search="talker")

    assert asked.json["result"][0]["id"] == "2ed0cd71-c717-5383-b2f9-cf4b89d9b34f"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [TALKER.name, VECTORS, TEXT, GUEST.name]),
        ({"search": "TALK"}, [TALKER.name]),
        ({"search": "nothing of the kind"}, []),
        ({"task": "Text Embeddings"}, [VECTORS, GUEST.name]),
        ({"task": "text-embeddings"}, [VECTORS, GUEST.name]),
        ({"task": "Translation"}, []),
        ({"author": "acme"}, [TALKER.name]),
        ({"author": "Guests"}, [GUEST.name]),
        ({"source": "2"}, [GUEST.name]),
        ({"source": "1.0", "author": "demo"}, [VECTORS, TEXT]),
        ({"hide_experimental": "true"}, [VECTORS, TEXT, GUEST.name]),
        ({"hide_experimental": "false", "author": "acme"}, [TALKER.name]),
        ({"unheard_of": "1"}, [TALKER.name, VECTORS, TEXT, GUEST.name]),
    ],
    ids=lambda each: urlencode(each) or "all" if isinstance(each, dict) else "",
)
async def test_models_are_filtered(query: dict[str, str], found: list[str]) -> None:
    assert await names(**query) == found


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"page": "0"}, "page"),
        ({"page": "x"}, "page"),
        ({"per_page": "1001"}, "per_page"),
        ({"per_page": "2.5"}, "per_page"),
        ({"source": "many"}, "source"),
        ({"hide_experimental": "maybe"}, "hide_experimental"),
        ({"format": "csv"}, "format"),
    ],
)
async def test_a_bad_word_of_the_query_is_named(query: dict[str, str], field: str) -> None:
    asked = await look("models/search", **query)

    assert asked.status == 400
    assert asked.json["errors"][0]["source"] == {"pointer": f"/{field}"}


async def test_a_list_ends() -> None:
    pages = [(await look("models/search", page=page, per_page=3)).json for page in (1, 2, 3)]

    assert [len(each["result"]) for each in pages] == [3, 1, 0]
    assert [each["result_info"] for each in pages] == [
        {"page": 1, "per_page": 3, "count": 3, "total_count": 4},
        {"page": 2, "per_page": 3, "count": 1, "total_count": 4},
        {"page": 3, "per_page": 3, "count": 0, "total_count": 4},
    ]


@given(st.integers(0, 30), st.integers(1, 12))
def test_pages_have_every_model_once(total: int, size: int) -> None:
    every, found, page = list(range(total)), [], 1
    while shown := page_of(every, wish_of({"page": str(page), "per_page": str(size)}))[0]:
        found += shown
        page += 1

    assert found == every


async def test_a_deprecated_model_is_shown_to_those_who_ask_for_a_while() -> None:
    models = [deprecated("old", "2001-01-01"), deprecated("fresh", "2999-01-01")]
    models.append(deprecated("late", _days_ago(30)))

    assert {"old", "fresh", "late"} & {*await names(*models)} == {"fresh"}
    asked = await names(*models, include_deprecated="true")
    assert {"old", "fresh", "late"} & {*asked} == {"fresh", "late"}


def _days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%d")


async def test_a_deprecated_model_is_run_until_its_day() -> None:
    made = world(deprecated("old", "2001-01-01"), deprecated("fresh", "2999-01-01"))
    old, fresh = [
        await ask(FakeServer(), f"{AI}/run/{name}", json={"prompt": "x"}, world=made)
        for name in ("old", "fresh")
    ]

    assert (old.status, old.json["errors"][0]["code"]) == (410, 5028)
    assert "2001-01-01" in old.json["errors"][0]["message"]
    assert fresh.json["errors"][0]["code"] == 3043  # it may be run, and nobody serves it


async def test_models_are_listed_for_openrouter() -> None:
    asked = await look("models/search", format="openrouter", search="talker")

    assert asked.json["data"] == asked.json["result"]
    (shown,) = asked.json["result"]
    assert shown["id"] == TALKER.name
    assert (shown["context_length"], shown["max_output_length"]) == (8192, 100)
    assert shown["pricing"] == {"prompt": "0.25", "completion": "1"}
    assert {"temperature", "max_tokens"} <= {*shown["supported_sampling_parameters"]}
    assert (shown["input_modalities"], shown["output_modalities"]) == (["text"], ["text"])


async def test_tasks_are_those_that_are_done() -> None:
    asked = await look("tasks/search")

    names = [each["name"] for each in asked.json["result"]]
    assert names == ["Text Generation", "Text Embeddings"]
    assert asked.json["result_info"]["total_count"] == 2
    assert all(each["id"] and each["description"] for each in asked.json["result"])


async def test_authors_are_those_of_the_models() -> None:
    asked = await look("authors/search")

    assert [each["name"] for each in asked.json["result"]] == ["acme", "demo", "guests"]


async def test_a_schema_is_the_tasks_with_what_the_model_narrows() -> None:
    asked = await look("models/schema", model=TALKER.name)

    schemas = asked.json["result"]
    assert schemas["input"]["properties"]["max_tokens"]["maximum"] == 100
    assert schemas["input"]["description"] == "Talks a lot."
    assert "response" in schemas["output"]["properties"]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({}, 400, 5006),
        ({"model": "@cf/nobody/nothing"}, 404, 3042),
        ({"model": SECRET_ONE.name}, 403, 5018),
    ],
    ids=["none named", "unknown", "private"],
)
async def test_a_schema_that_is_not_to_be_had(
    query: dict[str, str], status: int, code: int
) -> None:
    asked = await look("models/schema", **query)

    assert (asked.status, asked.json["errors"][0]["code"]) == (status, code)


async def test_a_bug_of_ours_is_told_without_its_details(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers_ai_catalog, "task_object", lambda task: 1 / 0)

    asked = await look("tasks/search")

    assert (asked.status, asked.json["errors"][0]["code"]) == (500, 3046)
    assert "ZeroDivisionError" in caplog.text
    assert "Zero" not in asked.body.decode()


@pytest.mark.parametrize("path", ["models/search", "models/schema", "tasks/search"])
async def test_lists_are_for_those_with_a_token(path: str) -> None:
    asked = await ask(FakeServer(), f"{AI}/{path}", method="GET", headers={})
    stranger = await ask(FakeServer(), f"{AI}/{path}".replace(ACCOUNT, OTHER_ACCOUNT), method="GET")

    assert (asked.status, asked.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (stranger.status, stranger.json["errors"][0]["code"]) == (403, 10001)
    assert stranger.headers["x-constellation-request-id"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{AI}/run/{TEXT}?queueRequest=true", {"prompt": "x"}),
        (f"{AI}/run/{TEXT}", {"prompt": "x", "options": {"queueRequest": True}}),
        (f"{AI}/run/{TEXT}", {"prompt": "x", "options": {"queueRequest": "true"}}),
        (f"{AI}/run/{TEXT}?queueRequest=true", {"requests": [{"prompt": "x"}]}),
        (f"{AI}/run/{TEXT}?queueRequest=true", {"request_id": "1"}),
    ],
    ids=["query", "options", "as a word", "batch", "poll"],
)
async def test_what_is_to_be_queued_is_refused_with_its_own_code(
    path: str, body: dict[str, Any]
) -> None:
    asked = await ask(FakeServer(), path, json=body)

    assert (asked.status, asked.json["errors"][0]["code"]) == (400, 5031)
