"""Questions for usage and their answers as messages, both ways."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from msgspec.structs import asdict as struct_values

from libs.common.errors import BadInput
from libs.common.events.values import InferenceEvent
from libs.common.pb import usage_pb2 as pb
from libs.common.usage import (
    FEW,
    RecentPage,
    RecentQuery,
    RecordedEvent,
    UsageGroup,
    UsageQuery,
    UsageRow,
)
from libs.common.usage_texts import position

ROW = UsageRow.__struct_fields__
EVENT = InferenceEvent.__struct_fields__


def query_to_message(query: UsageQuery) -> pb.QueryRequest:
    """Return the question as a message."""
    return pb.QueryRequest(**asdict(query))


def query_from_message(message: pb.QueryRequest) -> UsageQuery:
    """Return the question; BadInput for a group that there is not."""
    try:
        groups = tuple(UsageGroup(group) for group in message.group_by) or (UsageGroup.MODEL,)
    except ValueError as error:
        raise BadInput("an unknown group", pointer="/group_by") from error
    return UsageQuery(
        account=message.account,
        model=message.model,
        finetune=message.finetune,
        source=message.source,
        colo=message.colo,
        error_code=message.error_code if message.HasField("error_code") else None,
        from_ms=message.from_ms,
        to_ms=message.to_ms,
        group_by=groups,
    )


def row_to_message(row: UsageRow) -> pb.UsageRow:
    """Return a row as a message."""
    return pb.UsageRow(**struct_values(row))


def row_from_message(message: pb.UsageRow) -> UsageRow:
    """Return a row."""
    return UsageRow(**{name: getattr(message, name) for name in ROW})


def recent_to_message(query: RecentQuery) -> pb.RecentRequest:
    """Return the question for the last attempts as a message."""
    before = "" if query.before is None else str(query.before)
    return pb.RecentRequest(
        account=query.account, model=query.model, limit=query.limit, before=before
    )


def recent_from_message(message: pb.RecentRequest) -> RecentQuery:
    """Return the question; BadInput for a `before` that is none."""
    return RecentQuery(
        account=message.account,
        model=message.model,
        limit=message.limit or FEW,
        before=position(message.before),
    )


def page_to_message(page: RecentPage) -> pb.RecentResponse:
    """Return a page of attempts as a message."""
    following = "" if page.next is None else str(page.next)
    return pb.RecentResponse(events=map(_event_to_message, page.events), next=following)


def page_from_message(message: pb.RecentResponse) -> RecentPage:
    """Return a page of attempts."""
    return RecentPage(
        events=tuple(_event_from_message(each) for each in message.events),
        next=position(message.next),
    )


def _event_to_message(recorded: RecordedEvent) -> pb.RecordedEvent:
    return pb.RecordedEvent(
        server=recorded.server,
        boot_epoch=recorded.boot_epoch,
        sequence=recorded.sequence,
        **struct_values(recorded.event),
    )


def _event_from_message(message: pb.RecordedEvent) -> RecordedEvent:
    values: dict[str, Any] = {name: getattr(message, name) for name in EVENT}
    values["visited_colos"] = tuple(message.visited_colos)
    return RecordedEvent(
        server=message.server,
        boot_epoch=message.boot_epoch,
        sequence=message.sequence,
        event=InferenceEvent(**values),
    )
