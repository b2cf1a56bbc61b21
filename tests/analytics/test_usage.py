"""Usage: what is stored before it is read, and questions without an answer."""

from __future__ import annotations

import asyncio

import pytest

from libs.common.errors import BadInput, RequestError, Unavailable
from libs.common.usage import UsageGroup, UsageQuery, UsageRow
from services.analytics.ports import StoreError
from services.analytics.usage import Usage


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
        return [UsageRow()] * min(self._rows, max_rows)


def usage(story: Story) -> Usage:
    return Usage(store=story, flush=story.flush, flush_seconds=3.0, max_rows=4)


async def test_what_has_come_in_is_stored_before_it_is_read() -> None:
    story = Story()

    assert await usage(story).query(UsageQuery()) == [UsageRow()]
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
        pytest.param(Story(error=StoreError("broken")), Unavailable, id="the store fails"),
        pytest.param(Story(error=TimeoutError()), Unavailable, id="the store is slow"),
        pytest.param(Story(rows=5), BadInput, id="too many rows"),
    ],
)
async def test_a_failure_is_named_after_its_reason(story: Story, error: type[RequestError]) -> None:
    with pytest.raises(error):
        await usage(story).query(UsageQuery())
