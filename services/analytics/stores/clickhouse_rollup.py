"""The roll-up by the hour: what of the events is settled, added up once.

A view that adds up what is inserted, as it is inserted, would be wrong here: an
insert that is repeated would count twice, since the view sees it before the
table knows it for the same, and a request whose attempts come in two inserts
would be two. So events are rolled up by hours, when nothing more is to be
expected of an hour: from the table, where each is there once, and grouped into
requests. The requests go through `whole_requests` into its materialized view.

A roll-up of an hour is a generation, and counts once `usage_hours` has it: a
pass that is killed leaves nothing that is read. Whatever is stored for an hour
after its roll-up is found by when it was stored; from then on the hour is
answered from its events, until the next pass has rolled it up anew. Passes of
several processes at once do each other's work again, and no harm.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

from clickhouse_connect.driver.client import Client

from services.analytics.stores.clickhouse_hours import (
    HOUR_MS,
    SETTLED_MS,
    RolledUp,
    affected,
    closed_through,
    kept_from,
)
from services.analytics.stores.clickhouse_usage import OF_ALL_ATTEMPTS, UNNAMED, near

# Of a request's attempts: equal where rows are grouped by nothing that tells them apart.
SAME = "cityHash64(model_id, finetune, request_source, colo_id)"

WHOLE = """
    INSERT INTO whole_requests
    SELECT {hour}, {generation}, account_id, model, tuned, source, colo, last_error,
        all_neurons, all_tokens_in, all_tokens_out, all_queue_us, all_ms, first_token_ms
    FROM (
        SELECT account_id, any(model_id) AS model, any(finetune) AS tuned,
            any(request_source) AS source, any(colo_id) AS colo, {of_all_attempts}
        FROM inference_events FINAL WHERE {near} AND {slice}
        GROUP BY account_id, request_id, {unnamed}
        HAVING arrived_ms >= {hour} AND arrived_ms < {hour} + {hour_ms}
            AND min({same}) = max({same})
    )
"""

COLUMNS = (
    "account_id, model_id, request_id, timestamp_ms, sequence, finetune, request_source, attempt,"
    " request_time_ms, time_to_first_token, queue_us, neurons, tokens_in, tokens_out, error_code,"
    " colo_id"
)
SPLIT = """
    INSERT INTO usage_attempts (hour_ms, generation, {columns})
    SELECT {hour}, {generation}, {columns} FROM inference_events FINAL
    WHERE {near} AND {slice} AND (account_id, request_id) IN (
        SELECT account_id, request_id FROM inference_events FINAL
        WHERE {near} AND {slice} AND request_id != ''
        GROUP BY account_id, request_id HAVING min({same}) != max({same})
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollUp:
    """How the roll-up is done."""

    every_seconds: float = 300.0  # 0: by others, or not at all
    retention_days: int = 0  # of the events; 0: for ever
    settled_ms: int = SETTLED_MS
    hours_a_pass: int = 200
    # Of the events that are grouped at once, which bounds the memory that it takes.
    slice_events: int = 2_000_000


@dataclass(frozen=True, slots=True)
class _State:
    now_ms: int
    started_ms: int  # of the last pass; 0: there was none
    through_ms: int


def rolled_up(client: Client, policy: RollUp) -> RolledUp:
    """Return how far the roll-up is, and what of it does not count."""
    state = _state(client)
    kept = kept_from(state.now_ms, retention_days=policy.retention_days)
    stale = frozenset(_stored_since(client, state, policy)) if state.started_ms else frozenset()
    return RolledUp(through_ms=state.through_ms, stale=affected(stale), kept_from_ms=kept)


def roll_up(client: Client, policy: RollUp, *, stop: Event, more: bool = False) -> bool:
    """Make one pass. Return whether there is more to do at once, which is then told by `more`."""
    state = _state(client)
    if not more and state.now_ms - state.started_ms < policy.every_seconds * 500:
        return False  # another process has just done it
    through = closed_through(state.now_ms)
    late = _stored_since(client, state, policy) if state.started_ms else {}
    kept = kept_from(state.now_ms, retention_days=policy.retention_days)
    new = sorted(_hours(client, f"hour_ms >= {state.through_ms} AND hour_ms < {through}"))
    if len(new) > policy.hours_a_pass:
        through = new[policy.hours_a_pass]
    for hour in sorted(affected(late) | frozenset(new)):
        if stop.is_set():
            return False
        if kept <= hour < through:
            _roll_up(client, hour, started_ms=state.now_ms, policy=policy)
    client.command(f"INSERT INTO usage_passes VALUES ({state.now_ms}, {through})")
    return len(new) > policy.hours_a_pass


def _state(client: Client) -> _State:
    ((now_ms, (started_ms, through_ms)),) = client.query(
        "SELECT toUInt64(toUnixTimestamp64Milli(now64(3))),"
        " (SELECT (max(started_ms), argMax(through_ms, started_ms)) FROM usage_passes)"
    ).result_rows
    return _State(now_ms, started_ms, through_ms)


def _stored_since(client: Client, state: _State, policy: RollUp) -> dict[int, int]:
    """Return the hours, before the roll-up's end or next to it, that have got events since."""
    return _hours(
        client,
        f"stored_ms >= {max(0, state.started_ms - policy.settled_ms)}"
        f" AND hour_ms < {state.through_ms + HOUR_MS}",
    )


def _hours(client: Client, condition: str) -> dict[int, int]:
    """Return hours with the number of their events."""
    rows: Sequence[Any] = client.query(
        f"SELECT hour_ms, count() FROM inference_events WHERE {condition} GROUP BY hour_ms"
    ).result_rows
    return dict(rows)


def _roll_up(client: Client, hour: int, *, started_ms: int, policy: RollUp) -> None:
    # Larger than those of passes that began before, and that of nobody else.
    generation = (started_ms << 20) + random.getrandbits(20)
    window = near((hour, hour + HOUR_MS))
    events = sum(_hours(client, window).values())
    slices = max(1, math.ceil(events / policy.slice_events))
    for at in range(slices):
        of_slice = f"cityHash64(account_id, request_id) % {slices} = {at}" if slices > 1 else "true"
        for statement in (WHOLE, SPLIT):
            client.command(
                statement.format(
                    hour=hour,
                    hour_ms=HOUR_MS,
                    generation=generation,
                    near=window,
                    slice=of_slice,
                    same=SAME,
                    columns=COLUMNS,
                    of_all_attempts=OF_ALL_ATTEMPTS,
                    unnamed=UNNAMED,
                )
            )
    client.command(f"INSERT INTO usage_hours VALUES ({hour}, {generation})")
