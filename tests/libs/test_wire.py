"""Payloads are spliced and read without decoding, and are the protocol's messages all the same."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from libs.common import wire
from libs.common.answers import AnswerReader
from libs.common.part_reader import PartReader, StreamReader
from libs.common.pb import kserve_pb2 as kserve
from libs.common.varint import read_short, read_varint, varint
from libs.common.wire import Tensor

T = TypeVar("T")


def part(text: bytes, reason: str = "None", tokens: int = 1, request: str = "r") -> bytes:
    message = kserve.ModelInferResponse(model_name="m", model_version="1", id=request)
    for each in (
        wire.text("text_output", text),
        wire.text("finish_reason", reason),
        wire.numbers("num_output_tokens", "UINT32", np.array([tokens])),
    ):
        message.outputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
        message.raw_output_contents.append(each.data)
    return message.SerializeToString()


def meaning(tensors: object) -> tuple[bytes, int]:
    found: dict[str, Tensor] = dict(tensors)  # type: ignore[call-overload]
    total = wire.total(found.get("num_output_tokens"))
    return found["finish_reason"].texts()[0], -1 if total is None else total


@given(st.integers(0, 2**63))
def test_a_varint_is_read_back(number: int) -> None:
    written = varint(number)

    assert read_varint(b"x" + written + b"rest", 1) == (number, 1 + len(written))


@pytest.mark.parametrize(("read", "most"), [(read_short, 4), (read_varint, 10)])
def test_a_varint_without_end_is_not_read_to_the_end(
    read: Callable[[bytes, int], tuple[int, int]], most: int
) -> None:
    longest = b"\x81" * (most - 1) + b"\x01"

    assert read(longest, 0)[1] == most
    for endless in (b"\x81" + longest, longest[:-1]):
        with pytest.raises(IndexError):
            read(endless, 0)


def test_a_payload_is_a_message_that_grows_by_appending() -> None:
    payload = wire.tensors_to_payload([wire.text("a", "x", "yz"), wire.flag("b", True)])
    whole = payload + wire.model_name("echo") + wire.request_id("id-1")

    message = kserve.ModelInferRequest.FromString(whole)

    assert (message.model_name, message.id) == ("echo", "id-1")
    assert [(each.name, list(each.shape)) for each in message.inputs] == [("a", [2]), ("b", [1])]
    assert list(message.raw_input_contents) == [b"\1\0\0\0x\2\0\0\0yz", b"\1"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=200)))
def test_texts_are_written_as_their_tensor_is(texts: list[str]) -> None:
    assert wire.texts_to_payload("a", texts) == wire.tensors_to_payload([wire.text("a", *texts)])


@pytest.mark.parametrize("size", [0, 10, 100, 1000, 100_000])
def test_an_answer_is_cut_out_of_its_stream_message(size: int) -> None:
    answer = part(b"x" * size)
    inner = kserve.ModelInferResponse.FromString(answer)
    message = kserve.ModelStreamInferResponse(infer_response=inner).SerializeToString()
    odd = b"\x18\x01" + message  # with a field that we do not know

    assert wire.stream_parts([message, odd, message, b""]) == [answer] * 3 + [b""]


def test_an_error_in_the_place_of_an_answer_is_raised() -> None:
    message = kserve.ModelStreamInferResponse(error_message="no such thing").SerializeToString()

    with pytest.raises(wire.StreamError, match="no such thing"):
        wire.stream_parts([message])


def flat(read: list[tuple[list[bytes], T]]) -> list[tuple[bytes, T]]:
    """Return the text of each part, and what it means."""
    return [(text, means) for texts, means in read for text in texts]


def one(reader: PartReader[T], payload: bytes) -> tuple[bytes, T]:
    """Read a part that came alone."""
    ((texts, means),) = reader.read((payload,))
    (text,) = texts
    return text, means


@given(
    st.lists(
        st.tuples(st.binary(max_size=300), st.sampled_from(["None", "stop"]), st.integers(0, 3))
    )
)
def test_a_reader_says_of_every_part_what_decoding_says(
    parts: list[tuple[bytes, str, int]],
) -> None:
    reader = PartReader("text_output", meaning)

    payloads = [part(*each) for each in parts]
    alone = [one(reader, each) for each in payloads]

    assert alone == [(text, (reason.encode(), tokens)) for text, reason, tokens in parts]
    assert flat(reader.read(payloads)) == alone


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans())))
def test_parts_that_come_together_are_read_as_one_by_one(
    parts: list[tuple[str, int, bool]],
) -> None:
    reader = PartReader("text_output", meaning)
    payloads = []
    for request, tokens, is_odd in parts:
        message = kserve.ModelInferResponse.FromString(part(b"x", tokens=tokens, request=request))
        if is_odd:  # its tensors after the text are others, their bytes the same
            message.outputs[2].name = "something"
        payloads.append(message.SerializeToString())

    read = flat(reader.read(payloads))

    expected = [(b"x", (b"None", -1 if is_odd else tokens)) for _, tokens, is_odd in parts]
    assert read == flat(reader.read(payloads)) == expected


PIECES = st.binary(max_size=9) | st.binary(min_size=120, max_size=130)
SAID = st.tuples(PIECES, st.sampled_from(["None", "stop"]), st.integers(0, 1), st.integers(0, 1))


@given(st.lists(st.lists(SAID, min_size=1), max_size=20))
def test_a_streams_reader_says_what_decoding_says(
    come: list[list[tuple[bytes, str, int, int]]],
) -> None:
    """However parts come together, and whatever the part before was like."""
    parts = PartReader("text_output", meaning)
    streams = [StreamReader(parts), StreamReader(parts)]
    for at, said in enumerate(come):
        payloads = [part(t, r, tokens, "id" * request) for t, r, tokens, request in said]

        read = flat(streams[at % 2].read(payloads))

        assert read == [(text, (reason.encode(), tokens)) for text, reason, tokens, _ in said]


@given(st.lists(st.lists(SAID)))
def test_parts_are_cut_once_for_all_who_read_them(
    come: list[list[tuple[bytes, str, int, int]]],
) -> None:
    """Readers that want something else of the same parts: what one has cut, the other takes."""
    counts = PartReader("text_output", lambda tensors: meaning(tensors)[1])
    reasons = PartReader("text_output", lambda tensors: meaning(tensors)[0])
    for said in come:
        parts = [part(t, r, tokens, "id" * request) for t, r, tokens, request in said]

        counted, reasoned = counts.read(parts), reasons.read(parts)

        assert flat(counted) == [(text, tokens) for text, _, tokens, _ in said]
        assert flat(reasoned) == [(text, reason.encode()) for text, reason, _, _ in said]


@given(st.integers(0, 200), st.binary(max_size=3))
def test_a_streams_reader_never_cuts_a_broken_part(at: int, junk: bytes) -> None:
    parts, whole = PartReader("text_output", lambda tensors: len(tensors)), part(b"some text")
    stream = StreamReader(parts)
    for _ in range(2):
        stream.read([whole])
    broken = whole[:at] + junk
    try:
        expected = flat(parts.read([broken]))
    except (DecodeError, KeyError, struct.error) as error:
        with pytest.raises(type(error)):
            stream.read([broken])
    else:
        assert flat(stream.read([broken])) == expected


def test_parts_that_are_alike_are_one_run() -> None:
    reader = PartReader("text_output", meaning)
    one(reader, part(b"x"))
    texts = [b"a", b"bc", b"", b"d" * 127 + b"e"]

    read = reader.read([*(part(each) for each in texts[:3]), part(b"f", "stop"), part(texts[3])])

    assert [run for run, _ in read] == [texts[:3], [b"f"], texts[3:]]


@given(st.integers(0, 200), st.binary(max_size=3))
def test_a_broken_part_is_never_cut(at: int, junk: bytes) -> None:
    reader, whole = PartReader("text_output", lambda tensors: len(tensors)), part(b"some text")
    one(reader, whole)
    broken = whole[:at] + junk
    try:
        tensors = wire.payload_to_tensors(broken)
        expected = b"".join(tensors["text_output"].texts()), len(tensors)
    except (DecodeError, KeyError, struct.error) as error:
        with pytest.raises(type(error)):
            reader.read([whole, broken])
    else:
        assert flat(reader.read([whole, broken]))[1] == expected


def test_a_part_that_looks_different_is_decoded() -> None:
    reader = PartReader("text_output", meaning)
    longer = kserve.ModelInferResponse.FromString(part(b"b"))
    longer.parameters["triton_final_response"].bool_param = True

    assert one(reader, part(b"a"))[0] == b"a"
    assert one(reader, longer.SerializeToString())[0] == b"b"
    assert one(reader, part(b"c", request="another"))[0] == b"c"
    with pytest.raises(KeyError):
        one(reader, b"")


def test_the_texts_of_several_elements_are_joined() -> None:
    reader = PartReader("t", lambda tensors: len(tensors))
    message = kserve.ModelInferResponse()
    two = wire.text("t", "a", "b")
    message.outputs.add(name="t", datatype="BYTES", shape=two.shape)
    message.raw_output_contents.append(two.data)

    assert [one(reader, message.SerializeToString()) for _ in range(2)] == [(b"ab", 1)] * 2


@given(st.lists(st.tuples(st.binary(max_size=300), st.text(max_size=30), st.integers(0, 9))))
def test_answers_are_cut_as_they_would_be_decoded(answers: list[tuple[bytes, str, int]]) -> None:
    reader = AnswerReader()

    for text, request, tokens in answers:
        payload = part(text, tokens=tokens, request=request)
        decoded = wire.payload_to_tensors(payload)
        assert reader.read(payload) == decoded
        for name in (*decoded, "another"):
            assert reader.tensor(payload, name) == decoded.get(name)
        assert reader.whole_number(payload, "num_output_tokens") == tokens
        assert reader.whole_number(payload, "another") is None
        assert reader.whole_number(payload, "text_output") is None


@given(st.integers(0, 200), st.binary(max_size=3))
def test_a_broken_answer_is_never_cut(at: int, junk: bytes) -> None:
    reader, whole = AnswerReader(), part(b"some text")
    reader.read(whole)
    broken = whole[:at] + junk
    try:
        expected = wire.payload_to_tensors(broken)
    except DecodeError:
        for read in (reader.read, lambda payload: reader.tensor(payload, "text_output")):
            with pytest.raises(DecodeError):
                read(broken)
    else:
        assert reader.tensor(broken, "text_output") == expected.get("text_output")
        assert reader.read(broken) == expected


def test_what_a_reader_remembers_is_bounded() -> None:
    reader = PartReader("text_output", meaning)

    for tokens in range(2000):
        assert one(reader, part(b"x", tokens=tokens)) == (b"x", (b"None", tokens))

    assert repr(reader).endswith("meanings=1024>")


@pytest.mark.parametrize(
    ("datatype", "values", "shape", "why"),
    [
        ("BYTES", ["a"], [2], "do not fill"),
        ("BYTES", ["a", 1.0], [], "texts alone"),
        ("INT32", ["1"], [], "takes no texts"),
        ("INT32", [1.5], [], "are no INT32"),
        ("UINT8", [256.0], [], "are no UINT8"),
    ],
)
def test_values_that_do_not_fit_their_datatype_are_refused(
    datatype: str, values: list[object], shape: list[int], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        wire.from_values("x", datatype, values, shape)


def test_values_become_a_tensor() -> None:
    floats = wire.from_values("x", "FP32", [0.1, 2.0], [2, 1])
    flags = wire.from_values("y", "BOOL", [True, False])

    assert (floats.shape, floats.array().ravel().tolist()) == ((2, 1), [pytest.approx(0.1), 2.0])
    assert flags.data == b"\1\0"
