"""Request targets: where the path is in them, and what it says, read as aiohttp reads it."""

from __future__ import annotations

import re

from libs.http1.messages import bad_request

_ABSOLUTE = re.compile(r"(?i:https?)://[A-Za-z0-9\-._~%:\[\]]+(?=[/?]|\Z)")
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


def split_target(target: str, method: str) -> tuple[str, str]:
    """Return path and query, both as sent. Raises Refusal for what is no target."""
    if target[0] != "/":
        if target == "*" and method == "OPTIONS":
            return "*", ""
        absolute = _ABSOLUTE.match(target)
        if not absolute:
            raise bad_request("a malformed request target")
        target = target[absolute.end() :]
        if not target.startswith("/"):
            target = "/" + target
    path, _, query = target.partition("?")
    return path, query


def decoded_path(path: str) -> str:
    """Undo percent-encoding once; escapes that are no UTF-8 stay as they are."""
    return _ESCAPES.sub(_decoded, path) if "%" in path else path


def _decoded(escapes: re.Match[str]) -> str:
    run = escapes[0]
    text = bytes.fromhex(run.replace("%", "")).decode("utf-8", "surrogateescape")
    if text.isascii():
        return text
    parts, at = [], 0
    for char in text:
        if "\udc80" <= char <= "\udcff":
            parts.append(run[at : at + 3])
            at += 3
        else:
            parts.append(char)
            at += 3 * len(char.encode())
    return "".join(parts)
