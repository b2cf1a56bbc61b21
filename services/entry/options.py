"""Options of a call: the same names in the body's `options`, the query, headers and over gRPC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from libs.common.envelope import NO_BOUNDS, TimeBounds
from libs.common.errors import BadInput, NoQueue
from services.entry.bad_input import bad_input
from services.entry.tasks.schema import InputSchema

LONGEST_MS = 86_400_000
TIMES = ("firstPartMs", "idleMs", "totalMs")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "rejectIfBusy": {"type": "boolean", "default": False},
        "queueRequest": {"type": "boolean", "default": False},
        "priority": {"type": "integer", "minimum": 0, "maximum": 9},
        "maxQueueMs": {"type": "integer", "minimum": 1, "maximum": 600_000},
        "cost": {"type": "integer", "minimum": 1, "maximum": 65_535, "default": 1},
        "preferredColo": {"type": "string", "maxLength": 64, "default": ""},
        "background": {"type": "boolean", "default": False},
        "sessionAffinity": {"type": "string", "maxLength": 128, "default": ""},
        **{each: {"type": "integer", "minimum": 1, "maximum": LONGEST_MS} for each in TIMES},
    },
}
NUMBERS = ("priority", "maxQueueMs", "cost", *TIMES)
MOST_DIGITS = 100  # int() takes time for more, and above 4300 refuses
_schema = InputSchema(SCHEMA)
# As headers: rejectIfBusy is x-constellation-reject-if-busy. `sessionAffinity` has a name already.
HEADERS = {
    "x-constellation-" + re.sub("[A-Z]", lambda found: "-" + found[0].lower(), name): name
    for name in SCHEMA["properties"]
    if name != "sessionAffinity"
}


class Options(Struct, frozen=True, kw_only=True, gc=False):
    """How a call wants to be treated."""

    reject_if_busy: bool = False
    priority: int | None = None
    max_queue_ms: int = 0
    cost: int = 1
    preferred_colo: str = ""
    background: bool = False
    session: str = ""
    bounds: TimeBounds = NO_BOUNDS


NONE = Options()


def read_options(query: Mapping[str, str], body: Any) -> Options:
    """Join both places, the body's word last; unknown options are others' and pass. BadInput."""
    if body is not None and not isinstance(body, Mapping):
        raise bad_input(["options"], "expected an object")
    if not query and not body:
        return NONE
    given = {name: _number(name, value) for name, value in query.items()} | dict(body or {})
    try:
        values = _schema.read(given)
    except BadInput as error:
        raise BadInput(f"options.{error}", pointer=f"/options{error.pointer}") from None
    if values["queueRequest"]:
        raise NoQueue("there is no queue for requests here yet", pointer="/options/queueRequest")
    return Options(
        reject_if_busy=values["rejectIfBusy"],
        priority=values.get("priority"),
        max_queue_ms=values.get("maxQueueMs", 0),
        cost=values["cost"],
        preferred_colo=values["preferredColo"],
        background=values["background"],
        session=values["sessionAffinity"],
        bounds=_bounds(*(values.get(name, 0) for name in TIMES)),
    )


def of_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the options that a request's headers tell."""
    told = {name: headers[header] for header, name in HEADERS.items() if header in headers}
    return {name: value for name, value in told.items() if value.isprintable()}


def _bounds(first_part_ms: int, idle_ms: int, total_ms: int) -> TimeBounds:
    if not (first_part_ms or idle_ms or total_ms):
        return NO_BOUNDS
    return TimeBounds(first_part_ms=first_part_ms, idle_ms=idle_ms, total_ms=total_ms)


def _number(name: str, value: str) -> int | str:
    if name not in NUMBERS or not (value.isascii() and value.isdigit()):
        return value
    if len(value) > MOST_DIGITS:
        raise bad_input(["options", name], f"a number of {len(value)} digits is too large")
    return int(value)
