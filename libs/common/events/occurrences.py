"""Events as they are emitted: what many of them have in common, and what each has of its own.

Most events of a model differ in their times and counts alone. Kept apart, those are written into
a copy of an earlier event (packing.py), and nobody looks at the rest one by one.
"""

from __future__ import annotations

from typing import Any, Final

from libs.common.events.values import InferenceEvent
from libs.common.values import Value

COMMON: Final = (
    *("account_id", "model_id", "task", "finetune", "adapter", "request_source"),
    *("client_request_id", "attempt", "continued_from", "traceparent"),
    *("http_status", "flags", "colo_id", "source_colo_id", "visited_colos", "hops"),
    *("model_container_id", "endpoint", "chosen_because", "local_queue_size"),
    *("cost", "priority", "shard", "shard_epoch"),
)
# In the order of the schema, where they lie together.
OWN: Final = (
    *("timestamp_ms", "request_time_ms", "inference_time_ms", "queuing_time_ms"),
    *("time_to_first_token", "queue_us", "permit_wait_us", "forward_us", "first_part_us"),
    *("neurons", "tokens_in", "tokens_out", "input_characters", "pixels", "steps"),
    *("error_code", "audio_seconds", "bytes_in", "bytes_out"),
)


class Occurrence(Value):
    """One inference event: `common` and `own` have the values of the fields so named above."""

    __slots__ = ("common", "own", "request_id")

    def __init__(
        self, request_id: str, *, common: tuple[object, ...], own: tuple[Any, ...]
    ) -> None:
        self.request_id = request_id
        self.common = common
        self.own = own

    def event(self) -> InferenceEvent:
        """Return it as those see it who read it."""
        values: dict[str, Any] = dict(zip(COMMON, self.common, strict=True))
        values.update(zip(OWN, self.own, strict=True))
        return InferenceEvent(request_id=self.request_id, **values)
