"""Moments in text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.moments import LATEST_MS, read_moment, rfc3339


@pytest.mark.parametrize(
    ("text", "unix_ms"),
    [
        ("0", 0),
        ("1795827600000", 1_795_827_600_000),
        ("1970-01-02", 86_400_000),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00.250Z", 250),
        ("1970-01-01 00:00:01Z", 1_000),
    ],
)
def test_a_moment_is_read(text: str, unix_ms: int) -> None:
    assert read_moment(text) == unix_ms


@pytest.mark.parametrize(
    "text",
    ["", "now", "1970-01-01T00:00:00", "1969-12-31T23:59:59Z", "1970-13-01", "-1", "1" * 30],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_moment(text)


@given(st.integers(0, LATEST_MS - 1))
def test_a_moment_is_read_as_it_was_written(unix_ms: int) -> None:
    assert read_moment(rfc3339(unix_ms)) == unix_ms


def test_what_rfc_3339_cannot_say_is_in_digits() -> None:
    assert rfc3339(2**64 - 1) == str(2**64 - 1)
