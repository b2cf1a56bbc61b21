"""Events as tests make them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from msgspec.structs import fields

from libs.common.events.values import Flag, InferenceEvent

UNSIGNED = {
    8: {"hops", "priority"},
    16: {"attempt", "http_status", "cost", "shard"},
    32: {"continued_from", "steps", "error_code", "flags", "local_queue_size"},
}


USUAL = InferenceEvent(
    account_id="a" * 32,
    model_id="@cf/demo/text-generation",
    request_id="0" * 26,
    timestamp_ms=2**41,
    task="text-generation",
    request_source=3,
    request_time_ms=15.25,
    neurons=0.5,
    tokens_in=7,
    http_status=200,
    flags=Flag.UNIX_SOCKET,
    hops=2,
    priority=5,
    shard_epoch=2**63,
)
IDENTITY: dict[str, Any] = {"server": "ams-0", "boot_epoch": 2**63, "sequence": 2**64 - 1}


def texts() -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), max_size=40)


def integers(name: str) -> st.SearchStrategy[int]:
    if name in ("request_source", "event_type"):
        return st.integers(0, 1)
    bits = next((bits for bits, names in UNSIGNED.items() if name in names), 64)
    return st.integers(0, 2**bits - 1)


def valid(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Events whose every value is one that its field takes."""
    kinds: dict[Any, Any] = {
        str: lambda _: texts(),
        int: integers,
        float: lambda _: st.floats(0, allow_infinity=False, allow_nan=False),
    }
    lists = st.lists(texts(), max_size=16).map(tuple)
    return st.builds(
        cls,
        **{field.name: kinds.get(field.type, lambda _: lists)(field.name) for field in fields(cls)},
    )
