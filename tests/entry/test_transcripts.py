"""Transcripts: which words make a segment, and subtitles that players take."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.entry.tasks.durations import seconds_of
from services.entry.tasks.transcripts import Word, segments, text_of, vtt


def words(*told: tuple[str, float, float]) -> list[Word]:
    return [Word(*each) for each in told]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], []),
        ([("a", 0, 1)], ["a"]),
        ([("a", 0, 1), ("b", 1.5, 2)], ["a b"]),
        ([("a.", 0, 1), ("b", 1, 2)], ["a.", "b"]),
        ([(" a?", 0, 1), (" b!", 1, 2), ("c", 2, 3)], ["a?", "b!", "c"]),
        ([("a", 0, 1), ("b", 2, 3)], ["a", "b"]),
        ([("a", 0, 15), ("b", 15, 30), ("c", 30, 31)], ["a b", "c"]),
    ],
    ids=["none", "one", "two", "a full stop", "other ends", "a pause", "thirty seconds"],
)
def test_a_segment_ends_with_a_sentence_a_pause_or_its_time(
    said: list[tuple[str, float, float]], expected: list[str]
) -> None:
    assert [text_of(each) for each in segments(words(*said))] == expected


def test_subtitles_have_a_cue_for_each_segment() -> None:
    said = words(("Hi <b>.", 0, 1.5), ("A\n\n&", 3599.9994, 3600), ("end", 3600.5, 7325.25))

    assert vtt(segments(said)) == (
        "WEBVTT\n\n00:00.000 --> 00:01.500\nHi &lt;b&gt;.\n\n"
        "59:59.999 --> 01:00:00.000\nA &amp;\n\n"
        "01:00:00.500 --> 02:02:05.250\nend\n"
    )


TIME = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(st.text(), TIME, TIME)))
def test_no_word_is_lost_and_no_cue_is_broken(said: list[tuple[str, float, float]]) -> None:
    told = words(*said)

    found = segments(told)

    assert [word for each in found for word in each] == told
    assert len(re.findall(r"^[\d:.]+ --> [\d:.]+$", vtt(found), re.M)) == len(found)


@pytest.mark.parametrize("file", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEdata", b"OggS" + bytes(60)])
def test_what_does_not_tell_how_long_it_is_takes_no_time(file: bytes) -> None:
    assert seconds_of(file) == 0.0


HEADS = st.sampled_from(
    [b"RIFF\0\0\0\0WAVEfmt ", b"OggS\0\2", b"fLaC\0\0\0\x22", b"ID3\4", b"\xff\xfb"]
)


@given(head=HEADS, rest=st.binary(max_size=300))
def test_any_bytes_have_a_length_in_seconds(head: bytes, rest: bytes) -> None:
    assert seconds_of(head + rest) >= 0.0
