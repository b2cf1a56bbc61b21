"""What tests look at in a server, and what it emitted."""

from collections.abc import Callable

from libs.common.events.sinks import MemorySink
from libs.common.events.values import InferenceEvent
from libs.common.world_map import ShardLoad
from services.server.service import InferenceServer


def load(server: InferenceServer) -> ShardLoad:
    (found,) = [each for each in server.report().resources if isinstance(each, ShardLoad)]
    return found


def event(sink: MemorySink) -> InferenceEvent:
    (found,) = sink.events
    assert isinstance(found, InferenceEvent)
    return found


def raising(error: BaseException) -> Callable[..., object]:
    async def fail(*_: object) -> bytes:
        raise error

    return fail
