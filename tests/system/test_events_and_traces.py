"""What events and traces say of real calls, beside what their client has seen and measured."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import httpx2 as httpx
import pytest

from libs.common.events.values import Flag
from tests.collector import CLIENT, SERVER, Seen, collecting
from tests.system.harness import ACCOUNT, CHAT, EMBED, Up

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("up")]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TOKEN_IN, TOKEN_OUT, EMBEDDED_TOKEN = 0.001, 0.004, 0.0005  # neurons, as the catalog has them
STORY = {"prompt": "Tell me a story.", "seed": 1}


@dataclass
class Call:
    """One call as its client sees it."""

    model: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    leaves_after: int = 0  # lines of a stream
    status: int = 0
    id: str = ""
    began_ms: float = 0.0
    first_ms: float = 0.0  # from its beginning
    took_ms: float = 0.0
    usage: dict[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return json.dumps(self.body).encode()

    def run(self, up: Up) -> Call:
        url = f"{up.client.account}/ai/run/{self.model}"
        self.began_ms, began = time.time() * 1000, time.monotonic()
        with up.client.http.stream(
            "POST", url, content=self.content, headers=self.headers
        ) as answer:
            self.status, self.id = answer.status_code, answer.headers["x-constellation-request-id"]
            lines = []
            for line in answer.iter_lines():
                self.first_ms = self.first_ms or (time.monotonic() - began) * 1000
                lines.append(line)
                if self.leaves_after and len(lines) >= self.leaves_after:
                    break
        self.took_ms = (time.monotonic() - began) * 1000
        told = [json.loads(each.removeprefix("data: ")) for each in lines if each[-1:] == "}"]
        for each in told:
            result = each.get("result") or each
            self.usage = result.get("usage") or self.usage
        return self


def calls() -> dict[str, Call]:
    """Return the calls, by what is special about them."""
    caller = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    short = STORY | {"max_tokens": 20}
    key = {"Idempotency-Key": "once", "x-request-id": "mine-1"}
    return {
        "whole": Call(CHAT, short, caller | {"x-request-id": "mine"}),
        "streamed": Call(CHAT, short | {"stream": True}),
        "embedded": Call(EMBED, {"text": ["one", "two and three"]}),
        "tuned": Call(CHAT, short | {"lora": "pirate"}),
        "in the background": Call(CHAT, short | {"options": {"background": True}}),
        "kept": Call(CHAT, short, key),
        "replayed": Call(CHAT, short, key),
        "left": Call(CHAT, STORY | {"stream": True, "max_tokens": 400}, leaves_after=20),
        "too costly": Call(CHAT, short | {"options": {"cost": 4, "rejectIfBusy": True}}),
    }


def rows_of(state: Path) -> dict[str, dict[str, Any]]:
    """Return the account's events by their requests; none has two here."""
    with duckdb.connect(str(state / "events.duckdb"), read_only=True) as store:
        found = store.execute(
            "select * from inference_events where account_id = ? and request_id != 'probe'",
            [ACCOUNT],
        )
        names = [each[0] for each in found.description]
        rows = [dict(zip(names, each, strict=True)) for each in found.fetchall()]
    by_request = {row["request_id"]: row for row in rows}
    assert len(by_request) == len(rows)
    return by_request


async def test_events_and_traces_of_real_calls_are_true(
    own: Callable[..., Up], state: Path
) -> None:
    async with collecting() as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        up = await asyncio.to_thread(own, env=env)
        made = calls()
        for name in ("whole", "streamed", "embedded", "tuned", "in the background", "kept"):
            await asyncio.to_thread(made[name].run, up)
        await asyncio.to_thread(made["replayed"].run, up)
        leaving = asyncio.create_task(asyncio.to_thread(made["left"].run, up))
        await asyncio.sleep(0.15)  # while it holds a permit of the four
        with suppress(httpx.HTTPError):
            await asyncio.to_thread(made["too costly"].run, up)
        with suppress(httpx.HTTPError):
            await leaving
        await asyncio.sleep(0.5)
        assert await asyncio.to_thread(up.service.stop) == 0
        spans = collector.spans

    rows = rows_of(state)
    for name, call in made.items():
        check_what_all_say(rows[call.id], call, name)
        check_trace(rows[call.id], spans, is_replay=name == "replayed")
    check_each({name: rows[call.id] for name, call in made.items()}, made)
    boots = [each for each in spans if each.name == "node.setupRun"]
    assert {each.resource["service.name"] for each in boots} == {"constellation-node"}


def check_what_all_say(row: dict[str, Any], call: Call, name: str) -> None:
    assert (row["account_id"], row["model_id"], row["request_source"]) == (
        ACCOUNT,
        call.model,
        "rest",
    )
    assert (row["attempt"], row["continued_from"], row["hops"], row["shard"]) == (0, 0, 0, 0), name
    assert (row["colo_id"], row["source_colo_id"], row["visited_colos"]) == ("local", "local", [])
    assert row["bytes_in"] == len(call.content)
    assert row["shard_epoch"] >= 1
    # Its moments lie within what the client has seen; the clocks are the same.
    assert call.began_ms - 1 <= row["timestamp_ms"] <= call.began_ms + call.took_ms + 1, name
    assert 0 <= row["request_time_ms"] <= call.took_ms + 500
    parts_us = row["queue_us"] + row["forward_us"]
    assert row["request_time_ms"] * 1000 == pytest.approx(parts_us, abs=2) or name == "replayed"
    assert row["permit_wait_us"] <= row["queue_us"]
    assert row["first_part_us"] <= row["forward_us"]
    assert row["queuing_time_ms"] == row["permit_wait_us"] / 1000
    assert row["inference_time_ms"] == row["forward_us"] / 1000
    assert not row["flags"] & (Flag.EXTERNAL_ENDPOINT | Flag.UNIX_SOCKET | Flag.FORWARDED)
    price_in = EMBEDDED_TOKEN if call.model == EMBED else TOKEN_IN
    neurons = price_in * row["tokens_in"] + TOKEN_OUT * row["tokens_out"]
    assert row["neurons"] == pytest.approx(neurons, rel=1e-9), name


def check_each(rows: dict[str, dict[str, Any]], made: dict[str, Call]) -> None:
    """Check what differs: who asked for what, what was used, how it ended and where it ran."""
    for name in ("whole", "streamed", "embedded", "tuned", "in the background", "kept"):
        row, call = rows[name], made[name]
        assert (row["error_code"], row["http_status"], call.status) == (0, 200, 200), name
        assert row["model_container_id"].startswith("local-node/")
        assert row["endpoint"].startswith("127.0.0.1:")
        assert row["chosen_because"] == "only"
        assert row["request_time_ms"] <= call.took_ms
        assert row["bytes_out"] > 0
    for name in ("whole", "streamed", "tuned", "in the background", "kept"):
        usage = made[name].usage
        used = (usage["prompt_tokens"], usage["completion_tokens"])
        assert (rows[name]["tokens_in"], rows[name]["tokens_out"]) == used, name
        assert rows[name]["tokens_out"] == 20
    assert rows["embedded"]["tokens_out"] == 0 < rows["embedded"]["tokens_in"]
    streamed = rows["streamed"]
    assert 0 < streamed["time_to_first_token"] <= made["streamed"].first_ms
    assert streamed["first_part_us"] < streamed["forward_us"]
    assert rows["whole"]["time_to_first_token"] == 0
    assert rows["whole"]["client_request_id"] == "mine"
    assert rows["tuned"]["finetune"] == rows["tuned"]["adapter"] != ""
    flags = {name: Flag(row["flags"]) for name, row in rows.items()}
    assert flags.pop("streamed") == Flag.STREAMED
    assert flags.pop("in the background") == Flag.BACKGROUND
    assert flags.pop("replayed") == Flag.IDEMPOTENCY_REPLAY
    assert flags.pop("left") == Flag.STREAMED | Flag.CANCELLED
    assert set(flags.values()) == {Flag(0)}
    replayed, left, refused = rows["replayed"], rows["left"], rows["too costly"]
    assert (replayed["neurons"], replayed["tokens_out"], replayed["forward_us"]) == (0, 0, 0)
    assert replayed["bytes_out"] == rows["kept"]["bytes_out"]
    assert (replayed["chosen_because"], replayed["model_container_id"]) == ("kept", "")
    assert (left["error_code"], left["http_status"]) == (3008, 408)
    assert 10 <= left["tokens_out"] < 400  # what it had until its client left
    assert (made["too costly"].status, refused["error_code"]) == (429, 3040)
    assert (refused["cost"], refused["endpoint"], refused["bytes_out"]) == (4, "", 0)
    assert refused["forward_us"] == refused["tokens_in"] == 0


def check_trace(row: dict[str, Any], spans: list[Seen], *, is_replay: bool) -> None:
    """Check that the event leads to its spans, and that they tell the same."""
    _, trace_id, span_id, flags = row["traceparent"].split("-")
    trace = [each for each in spans if each.trace_id == trace_id]
    (entry,) = [each for each in trace if each.kind == SERVER]
    (own,) = [each for each in trace if each.span_id == span_id]
    assert (flags, entry.attributes["constellation.request_id"]) == ("01", row["request_id"])
    assert entry.resource["service.name"] == "constellation-entry"
    if is_replay:
        assert own is entry
        return
    assert entry.holds(own)
    lasted_us = (own.ended_ns - own.began_ns) / 1000
    assert own.resource["service.name"] == "constellation-server"
    if row["endpoint"]:
        assert own.kind == CLIENT
        assert lasted_us == pytest.approx(row["forward_us"], abs=2)
        assert own.attributes.get("gen_ai.usage.output_tokens", 0) == row["tokens_out"]
        assert own.attributes["gen_ai.usage.input_tokens"] == row["tokens_in"]
        assert own.attributes["constellation.instance"] == row["model_container_id"]
    else:
        assert own.attributes["constellation.error_code"] == row["error_code"]
