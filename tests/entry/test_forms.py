"""Bodies of every form become the fields that their task knows, or are refused in words."""

from __future__ import annotations

import contextlib
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import BadInput
from services.entry.tasks.forms import fields
from services.entry.tasks.sent import Sent

PNG = b"\x89PNG\r\n\x1a\n\0\0=&%"
FORM = "application/x-www-form-urlencoded"
PROPERTIES: dict[str, Any] = {
    "prompt": {"type": "string"},
    "num_steps": {"type": "integer"},
    "guidance": {"type": "number"},
    "text": {"anyOf": [{"type": "string"}, {"type": "array"}]},
    "contexts": {"type": "array"},
    "image": {"type": ["string", "array"]},
}


def read(content: bytes, content_type: str, raw_field: str = "image") -> Any:
    return fields(Sent(content, content_type), PROPERTIES, raw_field=raw_field)


def part(name: str, content: bytes, more: bytes = b"", headers: bytes = b"") -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n%b\r\n' % (
        name.encode(),
        more,
        headers,
    )
    return head + content + b"\r\n"


def multipart(*parts: bytes) -> bytes:
    return b"".join((*parts, b"--x--\r\n"))


READ: dict[str, tuple[bytes, str, Any]] = {
    "json": (b'{"prompt": "a"}', "application/json", {"prompt": "a"}),
    "json with a charset": (b'{"prompt": "a"}', "application/json;charset=UTF-8", {"prompt": "a"}),
    "json as text": (b'{"prompt": "a"}', "text/plain;charset=UTF-8", {"prompt": "a"}),
    "json by curl": (b' {"prompt": "a=b&c"}', FORM, {"prompt": "a=b&c"}),
    "json as octets": (b'{"prompt": "a"}', "application/octet-stream", {"prompt": "a"}),
    "a form": (b"prompt=a+b%21&num_steps=3", FORM, {"prompt": "a b!", "num_steps": 3}),
    "a form's numbers": (b"guidance=1.5&num_steps=x", FORM, {"guidance": 1.5, "num_steps": "x"}),
    "a number as text": (b"prompt=5", FORM, {"prompt": "5"}),
    "a field twice": (b"text=a&text=b", FORM, {"text": ["a", "b"]}),
    "a list": (b"contexts=%5B%7B%22text%22%3A%22a%22%7D%5D", FORM, {"contexts": [{"text": "a"}]}),
    "options": (
        b"prompt=a&options=%7B%22cost%22%3A2%7D",
        FORM,
        {"prompt": "a", "options": {"cost": 2}},
    ),
    "nobody's field": (b"prompt=a&more=5", FORM, {"prompt": "a", "more": "5"}),
    "a picture": (PNG, "image/png", {"image": PNG}),
    "sound": (PNG, "audio/mpeg; rate=8000", {"image": PNG}),
    "octets": (PNG, "application/octet-stream", {"image": PNG}),
    "a picture by curl": (PNG, FORM, {"image": PNG}),
    "parts": (
        multipart(
            part("prompt", "ä".encode()),
            part("num_steps", b"4"),
            part("image", PNG, b'; filename="a.png"', b"Content-Type: image/png\r\n"),
        ),
        "multipart/form-data; boundary=x",
        {"prompt": "ä", "num_steps": 4, "image": PNG},
    ),
    "a part of octets": (
        multipart(part("image", PNG, headers=b"Content-Type: application/octet-stream\r\n")),
        'multipart/form-data; boundary="x"',
        {"image": PNG},
    ),
    "an empty file": (
        multipart(part("image", b"", b'; filename=""')),
        "multipart/form-data; boundary=x",
        {"image": b""},
    ),
}


@pytest.mark.parametrize(("content", "content_type", "expected"), READ.values(), ids=READ)
def test_a_body_says_the_same_in_every_form(
    content: bytes, content_type: str, expected: Any
) -> None:
    assert read(content, content_type) == expected


REFUSED: dict[str, tuple[bytes, str, str, str]] = {
    "no body": (b"", FORM, "", "expected a JSON object, the body is empty"),
    "no picture": (b"", "image/png", "/image", "expected the bytes of a file"),
    "broken json": (b'{"prompt": ', "application/json", "", "not valid JSON at line 1"),
    "a list": (b"[1]", "application/json", "", "expected a JSON object"),
    "a form that is none": (b"prompt=\xff", FORM, "", "neither a JSON object nor a form"),
    "a form without values": (b"prompt=a&&x", FORM, "", "neither a JSON object nor a form"),
    "a form of many fields": (b"prompt=a" + b"&b=c" * 300, FORM, "", "a form of 256 fields"),
    "no boundary": (b"--x--", "multipart/form-data", "", "cannot be read as multipart/form-data"),
    "another boundary": (
        multipart(part("prompt", b"a")),
        "multipart/form-data; boundary=y",
        "",
        "cannot be read as multipart/form-data",
    ),
    "cut short": (
        multipart(part("prompt", b"a"))[:-8],
        "multipart/form-data; boundary=x",
        "",
        "cannot be read as multipart/form-data",
    ),
    "many parts": (
        multipart(*[part("text", b"a")] * 300),
        "multipart/form-data; boundary=x",
        "",
        "too large to be read",
    ),
    "a part that is no text": (
        multipart(part("prompt", b"\xff")),
        "multipart/form-data; boundary=x",
        "/prompt",
        "expected UTF-8 text",
    ),
}


@pytest.mark.parametrize(
    ("content", "content_type", "pointer", "words"), REFUSED.values(), ids=REFUSED
)
def test_a_body_that_cannot_be_read_is_refused(
    content: bytes, content_type: str, pointer: str, words: str
) -> None:
    with pytest.raises(BadInput, match=words) as refused:
        read(content, content_type)

    assert refused.value.pointer == pointer


def test_a_task_without_pictures_takes_none() -> None:
    with pytest.raises(BadInput, match="expected a JSON object or a form, not image/png"):
        read(PNG, "image/png", raw_field="")
    with pytest.raises(BadInput, match="not valid JSON"):
        read(PNG, "application/octet-stream", raw_field="")


async def test_what_aiohttp_writes_as_a_form_is_read() -> None:
    form = aiohttp.FormData()
    form.add_field("prompt", "hi")
    form.add_field("image", PNG, filename="a.png", content_type="image/png")
    writer = form()

    said = read(await writer.as_bytes(), writer.content_type)

    assert said == {"prompt": "hi", "image": PNG}


TYPES = [FORM, "multipart/form-data; boundary=x", "image/png", "", "application/octet-stream"]


@given(
    content=st.binary(max_size=60) | st.text(alphabet="a=&%-x\r\n{}", max_size=60).map(str.encode),
    kind=st.sampled_from(TYPES) | st.text(max_size=30),
    raw_field=st.sampled_from(["", "image"]),
)
def test_any_bytes_are_read_or_refused_and_nothing_else(
    content: bytes, kind: str, raw_field: str
) -> None:
    with contextlib.suppress(BadInput):
        assert isinstance(read(content, kind, raw_field), dict)
