"""What every EventStore does, whatever engine is behind it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from libs.common.events.values import Batch, InferenceEvent, LifecycleEvent
from libs.common.usage import UsageQuery
from tests.analytics.support import batch, event
from tests.contract.event_stores import Open, of, requests


async def test_what_is_written_is_there(opened: Open) -> None:
    async with opened() as store:
        await store.write([batch(1, 3), batch(4, 2)])

        assert await requests(store) == 5


async def test_it_is_there_after_opening_again(opened: Open) -> None:
    async with opened() as store:
        await store.write([batch(1, 3)])
    async with opened() as store:
        await store.write([batch(1, 4)])

        assert await requests(store) == 4


@pytest.mark.parametrize(
    ("writes", "kept"),
    [
        pytest.param([[batch(1, 3)], [batch(1, 3)]], 3, id="again"),
        pytest.param([[batch(1, 3), batch(1, 3)]], 3, id="again in one write"),
        pytest.param([[batch(1, 3)], [batch(2, 4)]], 5, id="an overlap"),
        pytest.param([[batch(1, 3), batch(4, 3)], [batch(1, 3), batch(7, 1)]], 7, id="from before"),
        pytest.param([[batch(1, 2)], [batch(1, 2, boot_epoch=2)]], 4, id="another boot"),
        pytest.param([[batch(1, 2)], [batch(1, 2, server="lhr-0")]], 4, id="another server"),
        pytest.param([[batch(5, 2)]], 2, id="a first batch that is not the first"),
        pytest.param([[]], 0, id="nothing"),
    ],
)
async def test_each_identity_is_kept_once(
    opened: Open, writes: list[list[Batch]], kept: int
) -> None:
    async with opened() as store:
        for number, batches in enumerate(writes):
            # request ids of their own, so that repeated rows would be counted
            await store.write(
                [
                    replace(
                        batch,
                        events=tuple(
                            replace(each, request_id=f"{number}-{at}-{each.request_id}")
                            for each in batch.events
                            if isinstance(each, InferenceEvent)
                        ),
                    )
                    for at, batch in enumerate(batches)
                ]
            )

        assert await requests(store) == kept


async def test_lifecycle_events_and_unknown_ones_go_along(opened: Open) -> None:
    async with opened() as store:
        await store.write([of(event(1), LifecycleEvent(begin_ts=5), None, event(4))])
        await store.write([of(None, first=5)])
        await store.write([of(None, event(6), first=5)])

        assert await requests(store) == 3


async def test_strange_values_are_kept(opened: Open) -> None:
    strange = event(
        account_id="a\0b\U0001f600",
        tokens_in=2**64 - 1,
        tokens_out=2**64 - 1,
        neurons=1.7e308,
        visited_colos=("ams", "lhr"),
        request_source=99,
    )
    async with opened() as store:
        await store.write([of(strange, replace(strange, request_id="another", visited_colos=()))])

        (row,) = await store.usage(UsageQuery(account="a\0b\U0001f600"), max_rows=10)
        assert row.requests == 2
        assert row.tokens_in == 2**64 - 1
