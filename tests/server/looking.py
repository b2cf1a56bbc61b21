"""What tests look at in a server, and what it emitted."""

from collections.abc import Callable
from typing import Any

from libs.common.clock import ManualClock
from libs.common.deadline import fix
from libs.common.envelope import InferRequest, TimeBounds
from libs.common.events.sinks import MemorySink
from libs.common.events.values import InferenceEvent
from libs.common.world_map import ShardLoad
from services.server.records import Record
from services.server.service import InferenceServer
from services.server.shards import OwnedShard


def load(server: InferenceServer) -> ShardLoad:
    (found,) = [each for each in server.report().resources if isinstance(each, ShardLoad)]
    return found


def event(sink: MemorySink) -> InferenceEvent:
    (found,) = sink.events
    assert isinstance(found, InferenceEvent)
    return found


def recorded(
    *,
    request: InferRequest,
    shard: OwnedShard | None,
    ended: Callable[[Record], None] = lambda _: None,
    arrived: float = 0.0,
    **rest: Any,
) -> Record:
    """Return a record of which all that happens on its way can be said."""
    record = Record(
        request,
        shard,
        None,
        deadline=rest.pop("deadline", fix(TimeBounds(), 0.0)),
        clock=ManualClock(),
        ended=ended,
        task=None,
        arrived=arrived,
    )
    for name, value in rest.items():
        assert hasattr(record, name)
        setattr(record, name, value)
    return record


def raising(error: BaseException) -> Callable[..., object]:
    async def fail(*_: object) -> bytes:
        raise error

    return fail
