"""W3C trace context: of which trace a request is a part, and under which of its spans.

It comes in two headers. What is malformed is as if it had not come.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Final

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
LONGEST_STATE: Final = 512  # characters: what others have to hand on, at least
_ENDS: Final = re.compile(r"[\x20-\x7e]*")
# Version, trace, span, flags; later versions may say more behind these.
_FORM: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?"
)
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span as others refer to it."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16
    is_sampled: bool
    state: str = ""  # what tracing systems have added, each its own

    @property
    def traceparent(self) -> str:
        """Return the header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"

    def at(self, span_id: str) -> TraceContext:
        """Return another span of the same trace."""
        return TraceContext(self.trace_id, span_id, self.is_sampled, self.state)


def read_context(traceparent: str, tracestate: str = "") -> TraceContext | None:
    """Return what the headers say, None where there is none or it is malformed.

    A state that is too long or no text is left out: it means nothing to anybody in part.
    """
    found = _FORM.fullmatch(traceparent)
    if found is None or (found[1] == "00" and found[5] is not None):
        return None
    if len(tracestate) > LONGEST_STATE or not _ENDS.fullmatch(tracestate):
        tracestate = ""
    return TraceContext(found[2], found[3], bool(int(found[4], 16) & _SAMPLED), tracestate.strip())


def new_trace_id(rng: random.Random) -> str:
    """Return the id of a new trace."""
    return f"{rng.getrandbits(128) or 1:032x}"


def new_span_id(rng: random.Random) -> str:
    """Return the id of a new span."""
    return f"{rng.getrandbits(64) or 1:016x}"
