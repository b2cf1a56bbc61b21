"""How long a piece of sound is, as its file says."""

from __future__ import annotations

import struct
from io import BytesIO

from tinytag import TinyTag, TinyTagException


def seconds_of(file: bytes) -> float:
    """Return the seconds of a sound, 0.0 where its file does not tell, or is none."""
    try:
        told = TinyTag.get(file_obj=BytesIO(file), tags=False).duration
    except (TinyTagException, ValueError, LookupError, ArithmeticError, struct.error):
        return 0.0
    return max(told or 0.0, 0.0)
