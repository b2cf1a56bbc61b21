"""Calling a model in a Triton: plain values in, plain values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc.aio
import numpy as np

from libs.common.pb import kserve_pb2 as kserve
from libs.common.pb.kserve_pb2_grpc import GRPCInferenceServiceStub

TYPES = {"INT32": np.int32, "INT64": np.int64, "FP32": np.float32, "BOOL": np.bool_}
Value = str | bytes | Sequence[str] | np.ndarray[Any, Any]


async def infer(address: str, model: str, inputs: Mapping[str, Value]) -> dict[str, Any]:
    """The outputs by name: a list of bytes for BYTES, else an array."""
    request = kserve.ModelInferRequest(model_name=model)
    for name, value in inputs.items():
        add(request, name, value)
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=20)
    return {
        output.name: read(output, content)
        for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


def add(request: kserve.ModelInferRequest, name: str, value: Value) -> None:
    """Add an input."""
    if isinstance(value, np.ndarray):
        datatype = next(each for each, dtype in TYPES.items() if dtype == value.dtype)
        request.inputs.add(name=name, datatype=datatype, shape=value.shape)
        request.raw_input_contents.append(value.tobytes())
        return
    values = [value] if isinstance(value, str | bytes) else value
    elements = [each.encode() if isinstance(each, str) else each for each in values]
    request.inputs.add(name=name, datatype="BYTES", shape=[len(elements)])
    parts = (len(each).to_bytes(4, "little") + each for each in elements)
    request.raw_input_contents.append(b"".join(parts))


def read(output: kserve.ModelInferResponse.InferOutputTensor, content: bytes) -> Any:
    """An output's value."""
    if output.datatype != "BYTES":
        return np.frombuffer(content, TYPES[output.datatype]).reshape(tuple(output.shape))
    elements, at = [], 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "little")
        elements.append(content[at + 4 : at + 4 + length])
        at += 4 + length
    assert list(output.shape) == [len(elements)]
    return elements
