"""Pictures and sound: every way to send one gives the same bytes, quickly, or is refused."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import BadBase64, BadInput, TooLarge
from services.entry.tasks.media import content_type_of, file_bytes

MOST = 12 << 20


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


WAYS: dict[str, Callable[[bytes], Any]] = {
    "bytes": lambda data: data,
    "base64": b64,
    "base64 in lines": lambda data: base64.encodebytes(data).decode(),
    "base64 in lines of Windows": lambda data: (
        base64.encodebytes(data).decode().replace("\n", "\r\n")
    ),
    "a data URI": lambda data: f"data:image/png;base64,{b64(data)}",
    "a data URI with a charset": lambda data: f"data:a/b;charset=x;BASE64,{b64(data)}",
    "integers": list,
    "numbers": lambda data: [float(each) for each in data],
    "a body with its type": lambda data: {"body": b64(data), "contentType": "audio/mpeg"},
    "a body of integers": lambda data: {"body": list(data)},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@given(data=st.binary(min_size=1, max_size=200))
def test_every_way_gives_the_same_bytes(way: Callable[[bytes], Any], data: bytes) -> None:
    assert file_bytes(way(data), ["audio"], MOST) == data


REFUSED: dict[str, tuple[Any, type[Exception], str, str]] = {
    "a number": (5, BadBase64, "/image", "expected base64, a data URI, or an array"),
    "null": (None, BadBase64, "/image", "got null"),
    "a boolean": (True, BadBase64, "/image", "got a boolean"),
    "no body": ({"contentType": "a/b"}, BadBase64, "/image", "got an object"),
    "a body in a body": ({"body": {"x": 1}}, BadBase64, "/image/body", "got an object"),
    "no alphabet": ("a?==", BadBase64, "/image", "not base64"),
    "no ascii": ("äää=", BadBase64, "/image", "not base64"),
    "cut short": ("iVBORw0KGg", BadBase64, "/image", "not base64"),
    "more after the end": ("aa==aa==", BadBase64, "/image", "not base64"),
    "of another alphabet": ("_-8=", BadBase64, "/image", "not base64"),
    "an address": ("https://a.example/b.png", BadBase64, "/image", "addresses are not fetched"),
    "a data URI of text": ("data:text/plain,abc", BadBase64, "/image", "data:<type>;base64,<data>"),
    "a data URI without data": ("data:image/png;base64", BadBase64, "/image", "data:<type>"),
    "an empty data URI": ("data:image/png;base64,", BadInput, "/image", "got none"),
    "bodies in bodies": ({"body": {"body": "aaaa"}}, BadBase64, "/image/body", "got an object"),
    "nothing": ("", BadInput, "/image", "got none"),
    "no integers": ([], BadInput, "/image", "got none"),
    "a large integer": ([1, 256], BadInput, "/image/1", "an integer from 0 to 255, got 256"),
    "a huge integer": ([10**30], BadInput, "/image/0", "from 0 to 255"),
    "a negative one": ([-1], BadInput, "/image/0", "got -1"),
    "half a number": ([0.5], BadInput, "/image/0", "got 0.5"),
    "a text among integers": ([1, 2, "3"], BadInput, "/image/2", "got a string"),
    "large bytes": (bytes(MOST + 1), TooLarge, "/image", "more than the maximum of 12582912"),
    "large base64": ("A" * (MOST * 4 // 3 + 64), TooLarge, "/image", "more than the maximum"),
    "many integers": ([0] * (MOST + 1), TooLarge, "/image", "more than the maximum"),
}


@pytest.mark.parametrize(("value", "error", "pointer", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_file_is_refused(
    value: Any, error: type[BadInput], pointer: str, words: str
) -> None:
    with pytest.raises(error, match=words) as refused:
        file_bytes(value, ["image"], MOST)

    assert type(refused.value) is error
    assert refused.value.pointer == pointer


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=9),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["body", "x"]), inner),
)


@given(JSON)
def test_anything_is_a_file_or_refused(value: Any) -> None:
    with contextlib.suppress(BadInput, TooLarge):
        assert file_bytes(value, ["image"], 64)


def seconds(work: Callable[[], object]) -> float:
    """Return what it takes of a CPU, however many others want it, too."""
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


@pytest.mark.parametrize(
    ("way", "size"), [("base64", 7), ("base64 in lines", 7), ("integers", 3), ("numbers", 2)]
)
def test_ten_megabytes_of_json_are_read_within_seconds(way: str, size: int) -> None:
    """What is quadratic takes minutes."""
    body = orjson.dumps({"image": WAYS[way](b"\xc8" * (size << 20))})

    took = seconds(lambda: file_bytes(orjson.loads(body)["image"], [], MOST))

    assert len(body) > 8 << 20
    assert took < 5.0


@pytest.mark.parametrize(
    ("begin", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe1", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF1234WEBPVP8 ", "image/webp"),
        (b"RIFF1234WAVEfmt ", "audio/wav"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"OggS\0", "audio/ogg"),
        (b"fLaC\0", "audio/flac"),
        (b"RIFF1234AVI ", "application/octet-stream"),
        (b"\xff", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_a_file_is_what_its_first_bytes_say(begin: bytes, kind: str) -> None:
    assert content_type_of(begin) == kind
