"""Usage: what is stored before it is read, and questions without an answer."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import BadInput, RequestError, UsageUnavailable
from libs.common.usage import (
    Position,
    RecentQuery,
    RecordedEvent,
    UsageGroup,
    UsageQuery,
    UsageRow,
)
from services.analytics.ports import StoreError
from services.analytics.usage import Usage
from tests.analytics.support import event


class Story:
    """A store and a collector that write down in which order they were asked."""

    def __init__(self, *, rows: int = 1, error: Exception | None = None) -> None:
        self.told: list[str] = []
        self._rows = rows
        self._error = error

    async def flush(self, seconds: float) -> None:
        self.told.append(f"flush within {seconds}")
        await asyncio.sleep(0)

    async def usage(self, query: UsageQuery, *, max_rows: int) -> list[UsageRow]:
        self.told.append("read")
        if self._error:
            raise self._error
        return [UsageRow(neurons=2_000.0)] * min(self._rows, max_rows)

    async def recent(self, query: RecentQuery) -> list[RecordedEvent]:
        self.told.append("read")
        if self._error:
            raise self._error
        return [recorded(number) for number in range(self._rows, 0, -1)][: query.limit]


def recorded(number: int) -> RecordedEvent:
    return RecordedEvent(server="s", boot_epoch=1, sequence=number, event=event(number))


def usage(story: Story) -> Usage:
    return Usage(store=story, flush=story.flush, flush_seconds=3.0, max_rows=4)


async def test_what_has_come_in_is_stored_before_it_is_read() -> None:
    story = Story()

    assert len(await usage(story).query(UsageQuery())) == 1
    assert story.told == ["flush within 3.0", "read"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        pytest.param(UsageQuery(from_ms=5, to_ms=5), "/to_ms", id="an empty range"),
        pytest.param(UsageQuery(from_ms=5, to_ms=4), "/to_ms", id="a range that ends first"),
        pytest.param(UsageQuery(group_by=()), "/group_by", id="no group"),
        pytest.param(
            UsageQuery(group_by=(UsageGroup.HOUR, UsageGroup.HOUR)), "/group_by", id="one twice"
        ),
    ],
)
async def test_a_question_without_an_answer_is_refused(query: UsageQuery, pointer: str) -> None:
    story = Story()

    with pytest.raises(BadInput) as raised:
        await usage(story).query(query)

    assert raised.value.pointer == pointer
    assert story.told == []


@pytest.mark.parametrize(
    ("story", "error"),
    [
        pytest.param(Story(error=StoreError("broken")), UsageUnavailable, id="the store fails"),
        pytest.param(Story(error=TimeoutError()), UsageUnavailable, id="the store is slow"),
        pytest.param(Story(rows=5), BadInput, id="too many rows"),
    ],
)
async def test_a_failure_is_named_after_its_reason(story: Story, error: type[RequestError]) -> None:
    with pytest.raises(error):
        await usage(story).query(UsageQuery())
    if error is UsageUnavailable:
        with pytest.raises(error):
            await usage(story).recent(RecentQuery())


async def test_only_so_many_questions_wait_at_once() -> None:
    story, open_gate = Story(), asyncio.Event()

    async def flush(seconds: float) -> None:
        await open_gate.wait()

    asked = Usage(store=story, flush=flush, questions=2)
    waiting = [asyncio.ensure_future(asked.query(UsageQuery())) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(UsageUnavailable, match="2 questions wait"):
        await asked.recent(RecentQuery())

    open_gate.set()
    await asyncio.gather(*waiting)
    assert await asked.query(UsageQuery())


async def test_neurons_have_a_price() -> None:
    (row,) = await usage(Story()).query(UsageQuery())

    assert row.cost_usd == pytest.approx(0.022)


@pytest.mark.parametrize("limit", [0, 1001, 2**32 - 1])
async def test_a_page_has_a_bound(limit: int) -> None:
    story = Story()

    with pytest.raises(BadInput) as raised:
        await usage(story).recent(RecentQuery(limit=limit))

    assert raised.value.pointer == "/limit"
    assert story.told == []


async def test_a_page_says_where_the_next_one_begins() -> None:
    page = await usage(Story(rows=5)).recent(RecentQuery(limit=3))
    last = await usage(Story(rows=3)).recent(RecentQuery(limit=3))

    assert [each.sequence for each in page.events] == [5, 4, 3]
    assert page.next == page.events[-1].position
    assert (len(last.events), last.next) == (3, None)


@given(
    st.builds(
        Position,
        timestamp_ms=st.integers(0, 2**64 - 1),
        boot_epoch=st.integers(0, 2**64 - 1),
        sequence=st.integers(0, 2**64 - 1),
        server=st.text(),
    )
)
def test_a_position_is_read_as_it_was_written(position: Position) -> None:
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "1.2", "1.2.3.4@s", "1.2@s", "@s", "1.@s", "1" * 30, str(2**64), "\u0661"],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"position|unpack"):
        Position.parse(text)
