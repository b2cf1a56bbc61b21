"""The backend's gRPC side: the part of KServe v2 that a server of the project asks for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TypeAlias

import orjson

from bench import canned
from bench.ticker import Ticker
from bench.workloads import step_of
from libs.common import wire
from libs.common.pb import kserve_pb2 as kserve
from libs.lean import Handler, ServerCall

SERVICE = "/inference.GRPCInferenceService/"
ECHO = "/bench.Echo/Echo"
BURST = 8  # tokens of a coalesced stream in one write


def handlers(ticker: Ticker) -> Mapping[str, Handler]:
    """Return what answers each method."""

    def stream(call: ServerCall, message: bytes) -> None:
        _stream(call, message, ticker)

    return {
        SERVICE + "ServerReady": lambda call, _: call.finish(READY),
        SERVICE + "ModelReady": lambda call, _: call.finish(READY),
        SERVICE + "ModelMetadata": _metadata,
        SERVICE + "ModelInfer": _infer,
        SERVICE + "ModelStreamInfer": stream,
        ECHO: lambda call, message: call.finish(message),
    }


# What the models declare: datatype and shape of inputs and outputs.
Kinds: TypeAlias = Mapping[str, tuple[str, int]]
VECTORS: tuple[Kinds, Kinds] = (
    {"text": ("BYTES", -1), "pooling": ("BYTES", 1)},
    {"embedding": ("FP32", -1), "num_tokens": ("INT32", 1)},
)
FLAGS = (
    *("stream", "exclude_input_in_output", "return_finish_reason"),
    *("return_num_input_tokens", "return_num_output_tokens"),
)
TEXTS: tuple[Kinds, Kinds] = (
    {
        "text_input": ("BYTES", 1),
        "sampling_parameters": ("BYTES", 1),
        **dict.fromkeys(FLAGS, ("BOOL", 1)),
    },
    {
        "text_output": ("BYTES", -1),
        "finish_reason": ("BYTES", -1),
        "num_input_tokens": ("UINT32", -1),
        "num_output_tokens": ("UINT32", -1),
    },
)
READY = kserve.ModelReadyResponse(ready=True).SerializeToString()
NUMBERS = canned.numbers_message()
WHOLE = canned.text_message(canned.TEXT, tokens=64, reason="stop")


def _metadata(call: ServerCall, message: bytes) -> None:
    name = kserve.ModelMetadataRequest.FromString(message).name
    inputs, outputs = VECTORS if "embeddings" in name else TEXTS
    told = kserve.ModelMetadataResponse(name=name, versions=["1"])
    for tensors, kinds in ((told.inputs, inputs), (told.outputs, outputs)):
        for tensor, (datatype, shape) in kinds.items():
            tensors.add(name=tensor, datatype=datatype, shape=[shape])
    call.finish(told.SerializeToString())


def _infer(call: ServerCall, message: bytes) -> None:
    call.finish(NUMBERS)


def _stream(call: ServerCall, message: bytes, ticker: Ticker) -> None:
    request = kserve.ModelInferRequest.FromString(message)
    pairs = zip(request.inputs, request.raw_input_contents, strict=False)
    inputs = {each.name: (each.datatype, raw) for each, raw in pairs}
    if inputs.get("stream", ("BOOL", b"\0"))[1] == b"\0":
        call.send([WHOLE])
        call.end()
        return
    kind, raw = inputs["sampling_parameters"]
    (text,) = wire.Tensor("", kind, (1,), raw).texts()
    tokens = int(orjson.loads(text)["max_tokens"])
    step_s = step_of(request.model_name)
    if step_s:
        Paced(call, ticker, tokens, step_s)
    else:
        Coalesced(call, tokens).write()


class Coalesced:
    """Writes a stream as fast as its reader takes it: a burst in each turn of the loop."""

    def __init__(self, call: ServerCall, tokens: int) -> None:
        self._call = call
        self._tokens = tokens
        self._at = 0
        self._gone = False
        self._loop = asyncio.get_running_loop()
        call.on_cancel = self._cancelled

    def write(self, _: object = None) -> None:
        """Write a burst, and see to the next."""
        if self._gone:
            return
        end = min(self._at + BURST, self._tokens - 1)
        messages = [canned.token_message(at) for at in range(self._at, end)]
        self._at = end
        if end == self._tokens - 1:
            self._call.send([*messages, _last(end)])
            self._call.end()
            return
        room = self._call.send(messages)
        if room is None:
            self._loop.call_soon(self.write)
        else:
            room.add_done_callback(self.write)

    def _cancelled(self) -> None:
        self._gone = True


class Paced:
    """Writes a token every so often, from when it was asked."""

    def __init__(self, call: ServerCall, ticker: Ticker, tokens: int, step_s: float) -> None:
        self._call = call
        self._step_s = step_s
        self._ticker = ticker
        self._tokens = tokens
        self._at = 0
        self._gone = False
        self._next = time.monotonic()
        call.on_cancel = self._cancelled
        self._step()

    def _step(self) -> None:
        if self._gone:
            return
        self._at += 1
        if self._at == self._tokens:
            self._call.send([_last(self._at - 1)])
            self._call.end()
            return
        self._call.send([canned.token_message(self._at - 1)])
        self._next += self._step_s
        self._ticker.at(self._next, self._step)

    def _cancelled(self) -> None:
        self._gone = True


def _last(at: int) -> bytes:
    return canned.text_message(canned.word(at), tokens=1, reason="stop")
