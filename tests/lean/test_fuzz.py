"""Broken input of all kinds; LEAN_FUZZ_SECONDS=600 for a long run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.values import attributes
from libs.lean.frames import ConnectionFailure
from libs.lean.headers import BlockReader, encode
from libs.lean.heads import read_answer
from libs.lean.messages import PREFIX, Assembler, Compressed, TooLarge
from libs.lean.status import quoted, unquoted
from tests.lean.fuzzing import for_seconds, one_client, one_server

SECONDS = float(os.environ.get("LEAN_FUZZ_SECONDS", "1"))


@pytest.mark.parametrize("one", [one_server, one_client])
@settings(max_examples=100)
@given(seed=st.integers(0, 1 << 64))
def test_broken_conversations_break_nothing(one: Callable[[int], object], seed: int) -> None:
    asyncio.run(one(seed))  # type: ignore[arg-type]


@pytest.mark.timeout(SECONDS + 60)
def test_broken_conversations_break_nothing_for_long() -> None:
    assert asyncio.run(for_seconds(SECONDS, time.time_ns())) > 0


@given(
    messages=st.lists(st.binary(max_size=60), max_size=8),
    cuts=st.lists(st.integers(0, 40), max_size=20),
)
def test_messages_are_assembled_however_they_are_cut(
    messages: list[bytes], cuts: list[int]
) -> None:
    whole = b"".join(PREFIX.pack(0, len(each)) + each for each in messages)
    assembler = Assembler(limit=60)
    found: list[bytes] = []

    for cut in cuts:
        assembler.feed(whole[:cut], found)
        whole = whole[cut:]
    assembler.feed(whole, found)

    assert found == messages
    assert assembler.missing == 0


@given(pieces=st.lists(st.binary(max_size=30), max_size=10))
def test_any_bytes_are_messages_or_refused(pieces: list[bytes]) -> None:
    assembler = Assembler(limit=100)
    found: list[bytes] = []
    try:
        for piece in pieces:
            assembler.feed(piece, found)
    except (Compressed, TooLarge):
        return
    assert sum(len(each) + 5 for each in found) <= sum(map(len, pieces))
    assert 0 <= assembler.missing <= 100


@given(text=st.text(max_size=300))
def test_any_message_survives_its_quoting(text: str) -> None:
    assert quoted(text).isascii()
    assert unquoted(quoted(text)) == text.encode("utf-8", "replace").decode()


@given(text=st.text(min_size=1000, max_size=9000))
@settings(max_examples=20)
def test_a_long_message_is_cut_between_escapes(text: str) -> None:
    assert len(quoted(text)) <= 4096
    whole = text.encode("utf-8", "replace").decode()
    assert whole.startswith(unquoted(quoted(text)).rstrip("\ufffd"))


names = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
values = st.from_regex(r"([!-~]([ -~]{0,30}[!-~])?)?", fullmatch=True)


@given(fields=st.lists(st.tuples(names, values), max_size=10))
def test_any_headers_survive_their_encoding(fields: list[tuple[str, str]]) -> None:
    seen: list[list[tuple[str, str]]] = []
    reader = BlockReader(lambda fields, _: seen.append(fields), 1 << 20)

    reader.read(encode(fields))

    assert seen == [fields]


@given(block=st.binary(max_size=60))
def test_any_block_is_read_or_ends_the_connection(block: bytes) -> None:
    reader = BlockReader(read_answer, 1000)
    reader.limit_state(0)
    with contextlib.suppress(ConnectionFailure):
        assert attributes(reader.read(block)) == attributes(reader.read(block))
