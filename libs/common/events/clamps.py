"""What becomes of values that a Cap'n Proto field does not take.

pycapnp raises on them; an event must not fail the request that it tells of.
So what is out of range is clamped, a text that is too long is cut, and what
has the wrong type becomes the field's zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

MAX_TEXT = 128  # characters
MAX_LIST = 16

Clamp = Callable[[Any], Any]


def clamp_float(value: Any) -> float:
    """Return the value as a finite number from 0 up, else 0."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return number if 0.0 <= number < math.inf else 0.0


def clamp_text(value: Any) -> str:
    """Return the text, cut and without what UTF-8 cannot say."""
    if not isinstance(value, str):
        return ""
    return value[:MAX_TEXT].encode("utf-8", "replace").decode()


def clamp_texts(value: Any) -> list[str]:
    """Return the texts, each and together cut."""
    if not isinstance(value, list | tuple):
        return []
    return [clamp_text(text) for text in value[:MAX_LIST]]


def int_clamp(maximum: int) -> Clamp:
    """Return what keeps an integer within 0 and `maximum`."""

    def clamp(value: Any) -> int:
        try:
            return min(max(int(value), 0), maximum)
        except OverflowError:  # an infinite float
            return maximum if value > 0 else 0
        except (TypeError, ValueError):
            return 0

    return clamp


def enum_clamp(members: int) -> Clamp:
    """Return what turns an unknown enumerant into the first one, "unspecified"."""
    whole = int_clamp(members)

    def clamp(value: Any) -> int:
        number: int = whole(value)
        return number if number < members else 0

    return clamp
