"""Token counts as OpenAI's bodies tell them: found by their names, since a body may be long."""

from __future__ import annotations

import re
from typing import Final

USAGE: Final = b'"usage"'  # a text that has it has it escaped
TOKENS_IN: Final = re.compile(rb'"prompt_tokens"\s*:\s*(\d{1,9})\b')
TOKENS_OUT: Final = re.compile(rb'"completion_tokens"\s*:\s*(\d{1,9})\b')


def tokens_of(body: bytes, *, parts: int = 1) -> tuple[int, int]:
    """Return tokens in and out of an answer, or of the last of some parts.

    Where it says nothing of its usage, parts count.
    """
    at = body.rfind(USAGE)
    told = None if at < 0 else TOKENS_IN.search(body, at)
    if told is None:
        return 0, parts
    made = TOKENS_OUT.search(body, at)
    return int(told[1]), int(made[1]) if made else 0
