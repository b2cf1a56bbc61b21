"""Payloads: tensors to and from the bytes that Triton reads, made once per call.

Protobuf messages concatenate: what a server adds to a payload (the model's name
in Triton, an id, whole tensors) is appended to its bytes, never decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from libs.common.pb import kserve_pb2 as kserve

_DTYPES = {
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
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One named array as Triton has it: `data` is little-endian, BYTES with length prefixes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes

    def array(self) -> NDArray[np.generic]:
        """Return the numbers, shaped; TypeError for BYTES."""
        if self.datatype not in _DTYPES:
            raise TypeError(f"tensor {self.name!r} is {self.datatype}, which has no numbers")
        return np.frombuffer(self.data, _DTYPES[self.datatype]).reshape(self.shape)

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
    data = b"".join(struct.pack("<I", len(each)) + each for each in raw)
    return Tensor(name, "BYTES", (len(raw),), data)


def flag(name: str, value: bool) -> Tensor:
    """Return a BOOL tensor with one element."""
    return Tensor(name, "BOOL", (1,), b"\1" if value else b"\0")


def numbers(name: str, datatype: str, values: NDArray[np.generic]) -> Tensor:
    """Return a tensor of numbers."""
    return Tensor(name, datatype, values.shape, values.astype(_DTYPES[datatype]).tobytes())


def tensors_to_payload(tensors: Iterable[Tensor]) -> bytes:
    """Write a TENSORS payload: a ModelInferRequest without model name and id."""
    request = kserve.ModelInferRequest()
    for each in tensors:
        request.inputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
        request.raw_input_contents.append(each.data)
    return request.SerializeToString()


def payload_to_tensors(payload: bytes) -> Mapping[str, Tensor]:
    """Read an answer (a ModelInferResponse), by output name."""
    response = kserve.ModelInferResponse.FromString(payload)
    pairs = zip(response.outputs, response.raw_output_contents, strict=False)
    return {o.name: Tensor(o.name, o.datatype, tuple(o.shape), raw) for o, raw in pairs}


def addressed(payload: bytes, *, served_as: str, request_id: str) -> bytes:
    """Append the model's name and the id to a TENSORS payload."""
    head = kserve.ModelInferRequest(model_name=served_as, id=request_id)
    return payload + head.SerializeToString()


def stream_part(message: bytes) -> bytes:
    """Return the ModelInferResponse inside a ModelStreamInferResponse, without decoding it.

    The message is one field, number 2: a tag, a length as varint, and the bytes.
    """
    if message[:1] != b"\x12":
        return kserve.ModelStreamInferResponse.FromString(
            message
        ).infer_response.SerializeToString()
    at = 1
    while message[at] & 0x80:
        at += 1
    return message[at + 1 :]


def counts(payload: bytes, *names: str) -> list[int | None]:
    """Return the sums of an answer's counting tensors; None for one that is not there.

    A model may answer anything: what cannot be read counts as not there.
    """
    try:
        tensors = payload_to_tensors(payload)
        found = [tensors.get(name) for name in names]
        return [None if each is None else int(each.array().sum()) for each in found]
    except (DecodeError, TypeError, ValueError):
        return [None] * len(names)
