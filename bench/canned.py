"""What the backend answers, made once: the same content over HTTP as over gRPC.

Over HTTP it has the words and the length that the project's gateway answers in, so that a
plain proxy passes on as many bytes as the gateway writes.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import orjson

from libs.common import wire
from libs.common.pb import kserve_pb2 as kserve

VECTOR = np.sin(np.arange(1, 25, dtype="<f4") * np.float32(0.7)).astype("<f4")[None, :]
NUMBERS = tuple(
    orjson.dumps(VECTOR[0], option=orjson.OPT_SERIALIZE_NUMPY).decode()[1:-1].split(",")
)
ANSWER = "this is the end of a canned answer."
TEXT = "A gateway should cost less than what it stands before. " * 5 + ANSWER
PROMPT_TOKENS = 24
ID = "chatcmpl-0123456789abcdef0123456789abcdef"


def numbers_json() -> bytes:
    """Return the answer to a request for an embedding, in OpenAI's words."""
    usage = {"prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS}
    data = [{"object": "embedding", "index": 0, "embedding": VECTOR[0]}]
    model = "@cf/bench/text-embeddings"
    return _json({"object": "list", "data": data, "model": model, "usage": usage})


def predictions_json() -> bytes:
    """Return the same vector as KServe's first protocol has it."""
    return _json({"predictions": [VECTOR[0]]})


def completion_json(model: str) -> bytes:
    """Return a whole conversation's answer."""
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": 64, "total_tokens": 88}
    return _json({**_head(model, "chat.completion"), "choices": [choice], "usage": usage})


def frames(model: str, tokens: int) -> list[bytes]:
    """Return a stream's frames: the role, a frame per token, the reason, and the end."""
    parts = [_frame(model, {"role": "assistant", "content": ""}, None)]
    parts += [token_frame(model, at) for at in range(tokens)]
    return [*parts, _frame(model, {}, "stop"), b"data: [DONE]\n\n"]


@cache
def token_frame(model: str, at: int) -> bytes:
    """Return the frame of one token; after a hundred they come again."""
    return _frame(model, {"content": word(at)}, None) if at < 100 else token_frame(model, at % 100)


def word(at: int) -> str:
    """Return one token's text."""
    return f" w{at % 100:02d}"


def chunk(data: bytes) -> bytes:
    """Return a chunk of HTTP's chunked encoding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def numbers_message() -> bytes:
    """Return the vector as a ModelInferResponse."""
    tokens = np.array([PROMPT_TOKENS], "<i4")
    tensors = wire.numbers("embedding", "FP32", VECTOR), wire.numbers("num_tokens", "INT32", tokens)
    return answer("text_embeddings", *tensors)


def text_message(text: str, *, tokens: int, reason: str = "None") -> bytes:
    """Return a text as vLLM's backend has it: a ModelStreamInferResponse."""
    inner = answer(
        "text_generation",
        wire.text("text_output", text),
        wire.text("finish_reason", reason),
        wire.numbers("num_input_tokens", "UINT32", np.array([PROMPT_TOKENS], "<u4")),
        wire.numbers("num_output_tokens", "UINT32", np.array([tokens], "<u4")),
    )
    response = kserve.ModelInferResponse.FromString(inner)
    return kserve.ModelStreamInferResponse(infer_response=response).SerializeToString()


@cache
def token_message(at: int) -> bytes:
    """Return one token's message; after a hundred they come again."""
    return text_message(word(at), tokens=1) if at < 100 else token_message(at % 100)


def answer(model: str, *tensors: wire.Tensor) -> bytes:
    """Return a ModelInferResponse."""
    response = kserve.ModelInferResponse(model_name=model, model_version="1")
    for each in tensors:
        response.outputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
        response.raw_output_contents.append(each.data)
    return response.SerializeToString()


def _frame(model: str, delta: dict[str, Any], reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    data = _json({**_head(model, "chat.completion.chunk"), "choices": [choice]})
    return b"data: " + data + b"\n\n"


def _head(model: str, kind: str) -> dict[str, Any]:
    return {"id": ID, "object": kind, "created": 1_790_000_000, "model": model}


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
