"""Payloads: tensors to and from the bytes that Triton reads, made once per call.

Protobuf messages concatenate: what a server adds to a payload (the model's name
in Triton, an id, whole tensors) is appended to its bytes, never decoded.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from libs.common.pb import kserve_pb2 as kserve
from libs.common.values import Value
from libs.common.varint import read_varint, varint

RAW_INPUT: Final = b"\x3a"  # field 7 of a ModelInferRequest, as bytes
REQUEST_ID: Final = b"\x1a"  # field 3
INFER_RESPONSE: Final = 0x12  # field 2 of a ModelStreamInferResponse

_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(letters)
    for name, letters in {
        "BOOL": "?",
        "UINT8": "u1",
        "UINT16": "<u2",
        "UINT32": "<u4",
        "UINT64": "<u8",
        "INT8": "i1",
        "INT16": "<i2",
        "INT32": "<i4",
        "INT64": "<i8",
        "FP16": "<f2",
        "FP32": "<f4",
        "FP64": "<f8",
    }.items()
}
_PACKED: Final = {"INT32": "<i", "INT64": "<q", "FP32": "<f"}
_COUNTS: Final = {
    name: struct.Struct(letters)
    for name, letters in {"INT32": "<i", "UINT32": "<I", "INT64": "<q", "UINT64": "<Q"}.items()
}
_LENGTH: Final = struct.Struct("<I")


class StreamError(Exception):
    """A stream's message is an error; its text is the server's."""


class Tensor(Value):
    """One named array as Triton has it: `data` is little-endian, BYTES with length prefixes."""

    __slots__ = ("data", "datatype", "name", "shape")

    def __init__(self, name: str, datatype: str, shape: tuple[int, ...], data: bytes) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self.data = data

    def __repr__(self) -> str:
        return f"<Tensor {self.name} {self.datatype}{list(self.shape)}>"

    def array(self) -> NDArray[np.generic]:
        """Return the numbers, shaped; TypeError for BYTES."""
        dtype = _DTYPES.get(self.datatype)
        if dtype is None:
            raise TypeError(f"tensor {self.name!r} is {self.datatype}, which has no numbers")
        return np.frombuffer(self.data, dtype).reshape(self.shape)

    def texts(self) -> list[bytes]:
        """Return the elements of a BYTES tensor."""
        elements, at = [], 0
        while at < len(self.data):
            (length,) = struct.unpack_from("<I", self.data, at)
            elements.append(self.data[at + 4 : at + 4 + length])
            at += 4 + length
        return elements


def text(name: str, *values: str | bytes) -> Tensor:
    """Return a BYTES tensor of one dimension."""
    raw = [value.encode() if isinstance(value, str) else value for value in values]
    data = b"".join([len(each).to_bytes(4, "little") + each for each in raw])
    return Tensor(name, "BYTES", (len(raw),), data)


def flag(name: str, value: bool) -> Tensor:
    """Return a BOOL tensor with one element."""
    return Tensor(name, "BOOL", (1,), b"\1" if value else b"\0")


def number(name: str, datatype: str, value: Any) -> Tensor:
    """Return a tensor with one number; not annotated as float, which compiled makes of integers."""
    return Tensor(name, datatype, (1,), struct.pack(_PACKED[datatype], value))


def numbers(name: str, datatype: str, values: NDArray[np.generic]) -> Tensor:
    """Return a tensor of numbers."""
    return Tensor(name, datatype, values.shape, values.astype(_DTYPES[datatype]).tobytes())


def from_values(
    name: str, datatype: str, values: Sequence[Any], shape: Sequence[int] = ()
) -> Tensor:
    """Return a tensor of values as YAML has them; ValueError where they do not fit."""
    shaped = tuple(shape) or (len(values),)
    if math.prod(shaped) != len(values):
        raise ValueError(f"{len(values)} values do not fill the shape {list(shaped)}")
    if datatype == "BYTES":
        if not all(isinstance(each, str) for each in values):
            raise ValueError("a BYTES tensor takes texts alone")
        return Tensor(name, datatype, shaped, text(name, *values).data)
    if any(isinstance(each, str) for each in values):
        raise ValueError(f"a {datatype} tensor takes no texts")
    array = np.array(values).reshape(shaped)
    made = numbers(name, datatype, array)
    if not np.array_equal(made.array(), array) and not datatype.startswith("FP"):
        raise ValueError(f"the values are no {datatype}")
    return made


def tensors_to_payload(tensors: Iterable[Tensor]) -> bytes:
    """Write a TENSORS payload: a ModelInferRequest without model name and id."""
    metas, chunks = [], [b""]
    for each in tensors:
        metas.append((each.name, each.datatype, each.shape))
        chunks += (RAW_INPUT, varint(len(each.data)), each.data)
    chunks[0] = _described(tuple(metas))
    return b"".join(chunks)


def texts_to_payload(name: str, values: Sequence[str]) -> bytes:
    """Write a payload of one BYTES tensor, as `text` makes it."""
    chunks: list[bytes] = []
    size = 0
    for each in values:
        raw = each.encode()
        length = len(raw)
        chunks += (_LENGTH.pack(length), raw)
        size += 4 + length
    return b"".join((_texts_described(name, len(values)), varint(size), *chunks))


@lru_cache(maxsize=1024)
def _texts_described(name: str, count: int) -> bytes:
    """Return all that stands before the size of so many texts."""
    return _described(((name, "BYTES", (count,)),)) + RAW_INPUT


@lru_cache(maxsize=1024)
def _described(metas: tuple[tuple[str, str, tuple[int, ...]], ...]) -> bytes:
    """Return what a payload says of its tensors; calls of one model mostly say the same."""
    request = kserve.ModelInferRequest()
    for name, datatype, shape in metas:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
    return request.SerializeToString()


def payload_to_tensors(payload: bytes) -> Mapping[str, Tensor]:
    """Read an answer (a ModelInferResponse), by output name."""
    response = kserve.ModelInferResponse.FromString(payload)
    pairs = zip(response.outputs, response.raw_output_contents, strict=False)
    return {o.name: Tensor(o.name, o.datatype, tuple(o.shape), raw) for o, raw in pairs}


@lru_cache(maxsize=1024)
def model_name(served_as: str) -> bytes:
    """Return what is appended to a TENSORS payload to name the model."""
    return kserve.ModelInferRequest(model_name=served_as).SerializeToString()


def request_id(value: str) -> bytes:
    """Return what is appended to a TENSORS payload as its id."""
    raw = value.encode()
    return REQUEST_ID + varint(len(raw)) + raw


def stream_parts(messages: list[bytes]) -> list[bytes]:
    """Return the ModelInferResponse inside of each ModelStreamInferResponse, not decoded.

    Such a message is one field, number 2: a tag, a length, and the bytes. Raises StreamError for
    one that has the text of an error in its place.
    """
    try:
        return [
            message[3:]
            if message[0] == INFER_RESPONSE and message[1] > 127 > message[2]
            else _stream_part(message)
            for message in messages
        ]
    except IndexError:  # one is shorter than any that says something
        return [_stream_part(message) for message in messages]


def _stream_part(message: bytes) -> bytes:
    if message[:1] == bytes((INFER_RESPONSE,)):
        with suppress(IndexError):  # it is cut, as protobuf will say
            size, at = read_varint(message, 1)
            if at + size == len(message):
                return message[at:]
    read = kserve.ModelStreamInferResponse.FromString(message)
    if read.error_message:
        raise StreamError(read.error_message)
    return read.infer_response.SerializeToString()


def counts(payload: bytes, *names: str) -> list[int | None]:
    """Return the sums of an answer's counting tensors; None for one that is not there.

    A model may answer anything: what cannot be read counts as not there.
    """
    try:
        tensors = payload_to_tensors(payload)
    except DecodeError:
        return [None] * len(names)
    return [total(tensors.get(name)) for name in names]


def total(tensor: Tensor | None) -> int | None:
    """Return the sum of a counting tensor; None where there is nothing to add up."""
    if tensor is None:
        return None
    count = _COUNTS.get(tensor.datatype)
    if count is not None and count.size == len(tensor.data):  # one whole number, as mostly
        number: int = count.unpack(tensor.data)[0]
        return number
    try:
        return int(tensor.array().sum())
    except (TypeError, ValueError):
        return None
