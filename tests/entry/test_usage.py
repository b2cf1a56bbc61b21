"""What accounts are told of their usage: who sees what, questions, JSON, CSV, and failures."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from msgspec import structs

from libs.common.envelope import RequestSource
from libs.common.errors import BadInput, DeadlineExceeded, Unavailable, UsageUnavailable
from libs.common.events.values import Flag, InferenceEvent
from libs.common.tokens import token_hash
from libs.common.usage import (
    Position,
    RecentPage,
    RecentQuery,
    RecordedEvent,
    UsageGroup,
    UsageQuery,
    UsageRow,
)
from libs.common.world_map import Scope, Token
from services.entry.viewing import without_address
from tests.entry.asking import AUTH, Asked, ask
from tests.entry.fakes import ACCOUNT, OTHER_ACCOUNT, OTHER_SECRET, TEXT, FakeServer, small_world
from tests.fakes import FakeUsage, put

USAGE = f"/client/v4/accounts/{ACCOUNT}/ai/usage"
ROW = UsageRow(model=TEXT, requests=4, errors=1, neurons=2.5, cost_usd=0.1, p50_ms=12.0)
EVENT = RecordedEvent(
    server="ams-0",
    boot_epoch=7,
    sequence=3,
    event=InferenceEvent(
        account_id=ACCOUNT,
        model_id=TEXT,
        request_id="01",
        timestamp_ms=1_000,
        flags=Flag.STREAMED | Flag.FORWARDED,
        request_source=RequestSource.REST,
        visited_colos=("ams",),
        queue_us=12,
    ),
)


async def look(usage: FakeUsage, path: str = USAGE, **query: Any) -> Asked:
    where = f"{path}?{urlencode(query)}"
    return await ask(FakeServer(), where, method="GET", usage=usage)


async def test_an_account_is_told_its_own_by_model() -> None:
    usage = FakeUsage(ROW)

    asked = await look(usage)

    assert usage.asked == [UsageQuery(account=ACCOUNT)]
    assert asked.json["success"] is True
    assert asked.json["result_info"] == {"count": 1}
    (row,) = asked.json["result"]
    assert (row["model"], row["requests"], row["error_rate"], row["neurons"]) == (
        TEXT,
        4,
        0.25,
        2.5,
    )
    assert "hour" not in row


async def test_a_question_may_have_groups_filters_and_a_range() -> None:
    usage = FakeUsage(UsageRow(hour_ms=3_600_000, error_code=3040, requests=1))

    asked = await look(
        usage,
        group_by="hour,error_code",
        model=TEXT,
        finetune="ft-1",
        source="rest",
        colo="ams",
        error_code=0,
        to="1970-01-01T03:00:00+01:00",
        **{"from": "3600000"},
    )

    assert usage.asked == [
        UsageQuery(
            account=ACCOUNT,
            model=TEXT,
            finetune="ft-1",
            source="rest",
            colo="ams",
            error_code=0,
            from_ms=3_600_000,
            to_ms=7_200_000,
            group_by=(UsageGroup.HOUR, UsageGroup.ERROR_CODE),
        )
    ]
    (row,) = asked.json["result"]
    assert (row["hour"], row["error_code"]) == ("1970-01-01T01:00:00Z", 3040)


@pytest.mark.parametrize(
    ("query", "headers"),
    [("format=csv", {}), ("", {"Accept": "text/csv"})],
    ids=["parameter", "header"],
)
async def test_csv_has_a_line_of_names_and_one_for_each_row(
    query: str, headers: dict[str, str]
) -> None:
    usage = FakeUsage(ROW, UsageRow(model='a "b", c', requests=1))

    asked = await ask(
        FakeServer(), f"{USAGE}?{query}", method="GET", usage=usage, headers=AUTH | headers
    )

    assert asked.headers["Content-Type"] == "text/csv; charset=utf-8"
    first, second = csv.DictReader(asked.body.decode().splitlines())
    assert (first["model"], first["requests"], first["error_rate"]) == (TEXT, "4", "0.25")
    assert second["model"] == 'a "b", c'


async def test_the_last_requests_have_all_that_was_recorded() -> None:
    before = Position(timestamp_ms=5, server="s", boot_epoch=1, sequence=2)
    usage = FakeUsage(page=RecentPage(events=(EVENT,), next=EVENT.position))

    asked = await look(usage, f"{USAGE}/requests", model=TEXT, limit=1, before=str(before))

    assert usage.asked == [RecentQuery(account=ACCOUNT, model=TEXT, limit=1, before=before)]
    assert asked.json["result_info"] == {"count": 1, "next": str(EVENT.position)}
    (shown,) = asked.json["result"]
    assert shown["arrived_at"] == "1970-01-01T00:00:01Z"
    assert shown["flags"] == ["streamed", "forwarded"]
    assert (shown["request_source"], shown["visited_colos"]) == ("rest", ["ams"])
    assert set(InferenceEvent.__struct_fields__) < shown.keys()


@pytest.mark.parametrize("admin", [False, True], ids=["an account", "an operator"])
async def test_addresses_are_shown_to_operators_alone(admin: bool) -> None:
    ids = (f"external/10.0.0.8:1/{TEXT}@ams", "ams-node/7")
    events = [
        replace(EVENT, event=structs.replace(EVENT.event, model_container_id=id, endpoint=address))
        for id, address in zip(ids, ("10.0.0.8:1", "10.0.0.9:2"), strict=True)
    ]
    world = small_world("ams")
    scopes: tuple[Scope, ...] = ("read", "admin") if admin else ("read",)
    put(world, Token(hash=token_hash("reader"), account=ACCOUNT, scopes=scopes))

    asked = await ask(
        FakeServer(),
        f"{USAGE}/requests",
        method="GET",
        headers={"Authorization": "Bearer reader"},
        world=world,
        usage=FakeUsage(page=RecentPage(events=tuple(events), next=None)),
    )

    shown = [(each["model_container_id"], each["endpoint"]) for each in asked.json["result"]]
    if admin:
        assert shown == [(ids[0], "10.0.0.8:1"), (ids[1], "10.0.0.9:2")]
    else:
        assert shown == [(without_address(ids[0]), ""), (ids[1], "")]
        assert "10.0.0" not in json.dumps(asked.json)


@pytest.mark.parametrize("path", ["", "/requests"])
@pytest.mark.parametrize(
    ("account", "admin", "asked_of"),
    [
        pytest.param("", False, ACCOUNT, id="its own"),
        pytest.param(ACCOUNT, False, ACCOUNT, id="its own by name"),
        pytest.param(OTHER_ACCOUNT, False, None, id="another's"),
        pytest.param("*", False, None, id="all"),
        pytest.param(OTHER_ACCOUNT, True, OTHER_ACCOUNT, id="another's, by an operator"),
        pytest.param("*", True, "", id="all, by an operator"),
        pytest.param("", True, ACCOUNT, id="an operator's own"),
    ],
)
async def test_only_operators_see_more_than_their_own(
    path: str, account: str, admin: bool, asked_of: str | None
) -> None:
    usage, world = FakeUsage(), small_world("ams")
    scopes: tuple[Scope, ...] = ("read", "admin") if admin else ("read",)
    put(world, Token(hash=token_hash("reader"), account=ACCOUNT, scopes=scopes))

    asked = await ask(
        FakeServer(),
        f"{USAGE}{path}?account={account}",
        method="GET",
        headers={"Authorization": "Bearer reader"},
        world=world,
        usage=usage,
    )

    if asked_of is None:
        assert (asked.status, asked.json["errors"][0]["code"]) == (403, 10001)
        assert asked.json["errors"][0]["source"] == {"pointer": "/account"}
        assert usage.asked == []
    else:
        assert [each.account for each in usage.asked] == [asked_of]


async def test_another_accounts_token_sees_nothing() -> None:
    usage = FakeUsage(ROW)

    asked = await ask(
        FakeServer(),
        USAGE,
        method="GET",
        headers={"Authorization": f"Bearer {OTHER_SECRET}"},
        usage=usage,
    )

    assert (asked.status, usage.asked) == (403, [])


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("connection refused"),
        UsageUnavailable("the store is slow"),
        DeadlineExceeded("late"),
        None,
    ],
    ids=["away", "its store is away", "late", "silent"],
)
async def test_where_analytics_is_away_the_answer_says_so(error: Exception | None) -> None:
    usage = FakeUsage(error=error)
    usage.is_silent = error is None

    asked = await ask(FakeServer(), USAGE, method="GET", usage=usage, usage_s=0.2)

    assert asked.status == 503
    (told,) = asked.json["errors"]
    assert (told["code"], told["reason"]) == (7005, "usage_unavailable")
    assert "Retry-After" in asked.headers


async def test_what_analytics_refuses_is_named_as_the_parameter_is() -> None:
    usage = FakeUsage(error=BadInput("the range ends before it begins", pointer="/to_ms"))

    asked = await look(usage)

    assert asked.status == 400
    (told,) = asked.json["errors"]
    assert told["source"] == {"pointer": "/to"}
