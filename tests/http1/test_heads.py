"""Heads that come again are remembered, and read as they were read first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.http1.heads import HeadReader
from libs.http1.messages import Refusal

HEAD = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-One: 1"


def reader() -> HeadReader:
    return HeadReader(max_bytes=4096, max_headers=50)


def test_a_head_is_kept_when_it_comes_the_second_time() -> None:
    heads = reader()
    first, second, third = (heads.read(HEAD) for _ in range(3))
    assert first
    assert second
    assert third

    assert first == second == third
    assert first[1] is not second[1]
    assert second[1] is third[1]


@given(st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=20))
def test_what_is_remembered_never_changes_what_is_read(values: list[bytes]) -> None:
    heads = reader()
    for value in values:
        head = HEAD + b"\r\nX-Two: " + value

        assert heads.read(head) == reader().read(head)


def test_heads_that_come_once_are_not_kept() -> None:
    heads = reader()
    for number in range(10_000):
        heads.read(HEAD + b"\r\nX-Id: %d" % number)

    assert repr(heads).startswith("<HeadReader 0 heads,")


def test_what_is_refused_is_refused_again() -> None:
    heads = reader()
    for _ in range(3):
        with pytest.raises(Refusal):
            heads.read(b"POST /a HTTP/1.1\r\nContent-Length: x")
