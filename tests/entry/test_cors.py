"""Pages of other sites: what a browser is told on hot routes, on others, and before a call."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from services.entry.fronts.cors import Cors
from tests.entry.fakes import ACCOUNT, SECRET, TEXT, FakeServer, listening, says

RUN = f"/client/v4/accounts/{ACCOUNT}/ai/run/{TEXT}"
PAGE = "https://page.example"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,x-session-affinity",
}
ALLOW = "Access-Control-Allow-Origin"


async def asked(method: str, path: str, origin: str = PAGE, **config: Any) -> ClientResponse:
    headers = {"Origin": origin, "X-Auth-Key": SECRET}
    if method == "OPTIONS":
        headers = PREFLIGHT | {"Origin": origin}
    async with (
        listening(FakeServer(says("ho")), **config) as bound,
        ClientSession(f"http://{bound.http}") as http,
    ):
        response = await http.request(method, path, headers=headers, data=b'{"prompt":"hi"}')
        await response.read()
        return response


@pytest.mark.parametrize(("method", "path"), [("POST", RUN), ("GET", "/v1/models")])
async def test_any_page_may_call_unless_a_setting_says_otherwise(method: str, path: str) -> None:
    answer = await asked(method, path)

    assert answer.status == 200
    assert answer.headers[ALLOW] == "*"
    assert answer.headers["Access-Control-Expose-Headers"] == "*"


async def test_a_refusal_may_be_read_by_the_page_too() -> None:
    answer = await asked("POST", f"{RUN}-none")

    assert (answer.status, answer.headers[ALLOW]) == (400, "*")


async def test_a_browser_hears_before_the_call_what_it_may_send() -> None:
    answer = await asked("OPTIONS", RUN)

    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization,x-session-affinity"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Max-Age"] == "600"


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (PAGE, PAGE, PAGE),
        (f"https://other.example, {PAGE}", PAGE, PAGE),
        (PAGE, "https://evil.example", None),
        ("", PAGE, None),
    ],
    ids=["the one", "one of two", "another", "off"],
)
@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
async def test_where_origins_are_named_no_others_may_call(
    method: str, origins: str, origin: str, allowed: str | None
) -> None:
    answer = await asked(method, RUN, origin, cors_origins=origins)

    assert answer.headers.get(ALLOW) == allowed
    assert answer.headers.get("Vary") == ("Origin" if allowed else None)


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json", "/readyz", "/"])
async def test_what_needs_no_token_is_shown_to_no_other_sites_page(path: str) -> None:
    assert ALLOW not in (await asked("GET", path)).headers


async def test_who_is_no_page_hears_nothing_of_it() -> None:
    assert ALLOW not in (await asked("POST", RUN, "")).headers


def test_names_of_headers_that_are_none_are_not_said_again() -> None:
    told = dict(Cors("*", max_age_s=1).preflight(PAGE, RUN, "a\r\nb"))

    assert told["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
