"""The model in Triton's python backend: tensors in, tensors out, as the vLLM backend has them."""

from __future__ import annotations

import os

# Before numpy is imported: one thread, as every step is too small to share out.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import asyncio  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from contextlib import aclosing  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402

_HERE = str(Path(__file__).resolve().parent)
if _HERE not in sys.path:
    sys.path.insert(0, _HERE)

from tinylm.generation import Cancelled, Piece, generate  # noqa: E402
from tinylm.lora import AdapterError, AdapterStore  # noqa: E402
from tinylm.network import Network  # noqa: E402
from tinylm.parameters import BadParameter, SamplingParameters, parse  # noqa: E402
from tinylm.tokenizer import encode  # noqa: E402

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


@dataclass(frozen=True)
class Call:
    """A request, read from its tensors."""

    prompt: str
    stream: bool
    prepend: bool
    parameters: SamplingParameters
    finish_reason: bool
    input_tokens: bool
    output_tokens: bool


class TritonPythonModel:
    """Reads requests, runs each in a task of its own, and sends what it generates."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the weights and the settings of `config.pbtxt`."""
        entries = json.loads(args["model_config"])["parameters"]
        settings = {name: entry["string_value"] for name, entry in entries.items()}
        self._network = Network.load(Path(_HERE))
        self._token_seconds = float(settings.get("token_ms", "20")) / 1000
        self._adapters = AdapterStore(
            # Not beside this file: the folder may be made of links, with adapters of its own.
            Path(args["model_repository"]) / "adapters",
            layers=self._network.shape.num_hidden_layers,
            hidden_size=self._network.shape.hidden_size,
            resident=int(settings.get("resident_adapters", "8")),
            max_rank=int(settings.get("max_lora_rank", "32")),
        )

    async def execute(self, requests: list[Any]) -> None:
        """Answer all requests; Triton calls this again while earlier calls still run."""
        await asyncio.gather(*(self._answer(request) for request in requests))

    async def _answer(self, request: Any) -> None:
        sender = request.get_response_sender()
        try:
            await self._run(read_call(request), sender)
        except BadParameter as error:
            send_error(sender, str(error), pb_utils.TritonError.INVALID_ARG)
        except AdapterError as error:
            send_error(sender, str(error))  # the vLLM backend gives no code either
        except Cancelled:
            send_error(sender, "Request was cancelled", pb_utils.TritonError.CANCELLED)
        except Exception as error:  # noqa: BLE001  (a bug: others' requests go on)
            # Its place and kind, but no message: that may hold text of the prompt.
            place = "".join(traceback.format_tb(error.__traceback__))
            pb_utils.Logger.log_error(f"{type(error).__name__} in text_generation:\n{place}")
            send_error(sender, f"Error generating stream: {type(error).__name__}")

    async def _run(self, call: Call, sender: Any) -> None:
        lora = call.parameters.lora_name
        adapter = None if lora is None else self._adapters.get(lora)
        tokens = encode(call.prompt, self._network.shape.max_position_embeddings)
        pieces = generate(
            self._network,
            tokens,
            call.parameters,
            adapter=adapter,
            token_seconds=self._token_seconds,
            is_cancelled=sender.is_cancelled,
        )
        seen: list[Piece] = []
        async with aclosing(pieces):
            async for piece in pieces:
                if call.stream:
                    flags = 0 if piece.finish_reason is None else _FINAL
                    sender.send(response(call, piece, len(tokens)), flags=flags)
                else:
                    seen.append(piece)
        if not call.stream:
            sender.send(response(call, whole(call, seen), len(tokens)), flags=_FINAL)


def read_call(request: Any) -> Call:
    """Read the tensors; BadParameter for what cannot be."""
    stream = flag(request, "stream", default=False)
    prepend = not flag(request, "exclude_input_in_output", default=stream)
    if prepend and stream:
        raise BadParameter("When streaming, `exclude_input_in_output` = False is not allowed.")
    sampling = tensor(request, "sampling_parameters")
    if sampling is None:  # then Triton's own request parameters, among which may be others
        parameters = parse(request.parameters() or "", strict=False)
    else:
        parameters = parse(text(sampling))
    return Call(
        prompt=text(tensor(request, "text_input")),
        stream=stream,
        prepend=prepend,
        parameters=parameters,
        finish_reason=flag(request, "return_finish_reason", default=False),
        input_tokens=flag(request, "return_num_input_tokens", default=False),
        output_tokens=flag(request, "return_num_output_tokens", default=False),
    )


def tensor(request: Any, name: str) -> Any:
    """The first element of an input, None if it was not sent."""
    found = pb_utils.get_input_tensor_by_name(request, name)
    return None if found is None else found.as_numpy().reshape(-1)[0]


def text(value: Any) -> str:
    """A string element as text; broken UTF-8 becomes replacement marks."""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def flag(request: Any, name: str, *, default: bool) -> bool:
    """A boolean input, or its default."""
    value = tensor(request, name)
    return default if value is None else bool(value)


def whole(call: Call, pieces: list[Piece]) -> Piece:
    """All pieces as one, after the prompt if that is asked for."""
    answer = "".join(piece.text for piece in pieces)
    return Piece(
        call.prompt + answer if call.prepend else answer,
        sum(piece.tokens for piece in pieces),
        pieces[-1].finish_reason,
    )


def response(call: Call, piece: Piece, input_tokens: int) -> Any:
    """The output tensors that the call asked for."""
    outputs = [strings("text_output", piece.text)]
    if call.finish_reason:
        outputs.append(strings("finish_reason", str(piece.finish_reason)))
    if call.input_tokens:
        outputs.append(counts("num_input_tokens", input_tokens))
    if call.output_tokens:
        outputs.append(counts("num_output_tokens", piece.tokens))
    return pb_utils.InferenceResponse(output_tensors=outputs)


def strings(name: str, value: str) -> Any:
    """A string tensor of one element."""
    return pb_utils.Tensor(name, np.array([value.encode("utf-8")], dtype=np.object_))


def counts(name: str, value: int) -> Any:
    """A count tensor of one element."""
    return pb_utils.Tensor(name, np.array([value], dtype=np.uint32))


def send_error(sender: Any, message: str, code: Any = None) -> None:
    """End the request with an error; INTERNAL if there is no code."""
    error = pb_utils.TritonError(message, *(() if code is None else (code,)))
    sender.send(pb_utils.InferenceResponse(error=error), flags=_FINAL)
