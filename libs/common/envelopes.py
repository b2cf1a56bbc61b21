"""Envelopes and answers to and from the bytes of their protobuf messages.

What is laid out as we do it is written and read by hand, all else by protobuf: the same message
either way. A payload is spliced in: written beside its message, not copied into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from libs.common.envelope import InferReply, InferRequest, Outcome, Parts
from libs.common.envelope_messages import outcome_of, request_message, request_of, set_outcome
from libs.common.outcome_bytes import outcome_from_layout, outcome_to_layout
from libs.common.pb import inference_pb2 as pb
from libs.common.request_bytes import request_from_layout, request_to_layout
from libs.common.varint import read_short, read_varint, varint

REQUEST_PAYLOAD: Final = b"\x3a"  # field 7, as bytes
ANSWER_PAYLOAD: Final = b"\x0a"  # field 1 of an InferResponse, and of a StreamInferResponse
LONG: Final = 1024  # bytes of a part
_BEGINNINGS: Final = tuple(ANSWER_PAYLOAD + varint(size) for size in range(LONG))
LAST: Final = b"\x10\x01"  # field 2 of a StreamInferResponse, as it is on its last message

Chunks = Sequence[bytes]  # of one message, to be written one after the other


def request_to_chunks(request: InferRequest) -> Chunks:
    """Write a request."""
    chunks = request_to_layout(request)
    if chunks is None:
        payload, message = request.payload, request_message(request)
        chunks = (message.SerializeToString(), REQUEST_PAYLOAD, varint(len(payload)), payload)
    return chunks


def request_from_bytes(data: bytes) -> InferRequest:
    """Read a request; ValueError for an envelope that cannot be right."""
    request = request_from_layout(data)
    if request is not None:
        return request
    try:
        return request_of(pb.InferRequest.FromString(data))
    except (DecodeError, KeyError) as error:
        raise ValueError(f"broken envelope: {error}") from error


def reply_to_chunks(reply: InferReply) -> Chunks:
    """Write an answer."""
    payload, rest = reply.payload, outcome_to_layout(reply.outcome)
    if rest is None or reply.content_type:
        message = pb.InferResponse(content_type=reply.content_type)
        set_outcome(message.outcome, message.occupancy, reply.outcome)
        rest = message.SerializeToString()
    return ANSWER_PAYLOAD, varint(len(payload)), payload, rest


def reply_from_bytes(data: bytes) -> InferReply:
    """Read an answer; DecodeError for what is none."""
    reply = _reply_from_layout(data)
    if reply is not None:
        return reply
    message = pb.InferResponse.FromString(data)
    return InferReply(
        payload=message.payload,
        content_type=message.content_type,
        outcome=outcome_of(message.outcome, message.occupancy),
    )


def _reply_from_layout(data: bytes) -> InferReply | None:
    """Read an answer that is a payload and an outcome in our layout."""
    try:
        size, at = read_short(data, 1)
    except IndexError:
        return None
    end = at + size
    if data[0] != ANSWER_PAYLOAD[0] or end > len(data):
        return None
    outcome = outcome_from_layout(data, end)
    return None if outcome is None else InferReply(payload=data[at:end], outcome=outcome)


def parts_to_bytes(payloads: Sequence[bytes], outcome: Outcome | None = None) -> bytes:
    """Write some parts of a stream; the last has the outcome."""
    if len(payloads) == 1 and outcome is None:  # as mostly
        payload = payloads[0]
        size = len(payload)
        return (_BEGINNINGS[size] if size < LONG else ANSWER_PAYLOAD + varint(size)) + payload
    chunks: list[bytes] = []
    for payload in payloads:
        chunks += (ANSWER_PAYLOAD, varint(len(payload)), payload)
    if outcome is not None:
        chunks.append(LAST)
        chunks.append(_outcome_to_bytes(outcome))
    return b"".join(chunks)


def _outcome_to_bytes(outcome: Outcome) -> bytes:
    written = outcome_to_layout(outcome)
    if written is None:
        message = pb.StreamInferResponse()
        set_outcome(message.outcome, message.occupancy, outcome)
        written = message.SerializeToString()
    return written


def parts_from_messages(messages: Sequence[bytes]) -> Parts:
    """Join what came together of a stream; DecodeError for what is no part of one.

    Payloads come first, and mostly alone: they are cut out, and only the rest is decoded.
    """
    if len(messages) == 1:  # as mostly
        alone = _payload_alone(messages[0])
        if alone is not None:
            return Parts([alone])
    payloads: list[bytes] = []
    outcome = None
    for data in messages:
        at, end = 0, len(data)
        while at < end and data[at] == ANSWER_PAYLOAD[0]:
            at = _cut(data, at + 1, payloads)
        if at < end:
            told = outcome_from_layout(data, at + 2) if data[at : at + 2] == LAST else None
            if told is None:
                message = pb.StreamInferResponse.FromString(data[at:])
                payloads.extend(message.payloads)
                if message.last:
                    told = outcome_of(message.outcome, message.occupancy)
            outcome = told or outcome
    return Parts(payloads, outcome)


def _payload_alone(data: bytes) -> bytes | None:
    """Return the payload of a message that has nothing else, if its length takes two bytes at most.

    By bytes, without a call of ours: nearly all parts are such.
    """
    size = len(data)
    if size < 3 or data[0] != ANSWER_PAYLOAD[0]:
        return None
    first = data[1]
    if first < 128:
        return data[2:] if first == size - 2 else None
    second = data[2]
    return data[3:] if second < 128 and (first & 127 | second << 7) == size - 3 else None


def _cut(data: bytes, at: int, payloads: list[bytes]) -> int:
    """Append the bytes whose length stands at `at`; return where they end."""
    try:
        size, at = read_varint(data, at)
    except IndexError:
        size = len(data)
    if at + size > len(data):
        raise DecodeError("a part is cut short")
    payloads.append(data[at : at + size])
    return at + size
