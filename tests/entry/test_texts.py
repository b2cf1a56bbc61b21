"""Texts that came together: done at once, and as one by one."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from services.entry.tasks.texts import Texts, one_by_one, together

TEXTS = st.lists(
    st.text(min_size=1, max_size=5)
    | st.sampled_from(["\x7f", "a\x7fb", "\\u007f", "\\", '"', '","', "\n", "ä", "😀", " w01"]),
    min_size=1,
)


def kept(texts: list[str]) -> list[Texts]:
    """Return texts as a stream keeps them."""
    found = together([each.encode() for each in texts])
    return [found] if found else one_by_one(texts)


@given(TEXTS)
def test_texts_stay_what_they_are(texts: list[str]) -> None:
    assert [text for each in kept(texts) for text in each.each()] == texts


@given(TEXTS)
def test_all_texts_are_escaped_as_one_by_one(texts: list[str]) -> None:
    escaped = [escaped for each in kept(texts) for escaped in each.escaped()]

    assert [b'"' + each + b'"' for each in escaped] == [orjson.dumps(each) for each in texts]
    assert [b"--".join(each.escaped()) for each in kept(texts)] == [
        each.escaped_with(b"--") for each in kept(texts)
    ]


def test_texts_that_are_whole_and_not_empty_stay_together() -> None:
    texts = together([b"a", b"\n", "ä".encode()])

    assert texts
    assert texts.count == 3
    for at in range(3):
        assert together([b"" if i == at else b"a" for i in range(3)]) is None
    assert together([b""]) is None
    assert together([b"a", b"\x7f"]) is None
    assert together(["ä".encode()[:1], "ä".encode()[1:]]) is None
