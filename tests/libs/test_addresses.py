"""Addresses as people write them."""

from __future__ import annotations

import pytest

from libs.common.addresses import base_url, host_port, in_brackets


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("triton.local:0", ("triton.local", 0)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_an_address_is_read(text: str, found: tuple[str, int]) -> None:
    assert host_port(text) == found


@pytest.mark.parametrize(
    "text", ["", "foo", "foo:", ":80", "h:65536", "h:-1", "h:\u0663", "::1:80"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected "):
        host_port(text)


def test_only_ipv6_comes_in_brackets() -> None:
    assert [in_brackets(each) for each in ("::1", "[::1]", "a.b")] == ["[::1]", "[::1]", "a.b"]


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("vllm:8000", "http://vllm:8000/v1"),
        ("[::1]:80", "http://[::1]:80/v1"),
        ("http://vllm", "http://vllm/v1"),
        ("https://api.example/", "https://api.example/v1"),
        ("https://api.example:444/openai/v1/", "https://api.example:444/openai/v1"),
    ],
)
def test_an_api_begins_at_v1_unless_said_otherwise(text: str, base: str) -> None:
    assert base_url(text) == base


@pytest.mark.parametrize(
    "text",
    ["vllm", "ftp://a", "http://", "http://a?x=1", "http://a#x", "http://a:b", "http://me:pw@a"],
)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - urllib has words of its own
        base_url(text)
