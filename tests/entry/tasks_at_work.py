"""A task of some model, what it sends for a body, and what it shows of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from libs.common import wire
from libs.common.catalog import Backend, Model
from libs.common.envelope import InferReply
from libs.common.pb import kserve_pb2 as kserve
from libs.common.wire import Tensor
from services.entry.tasks.base import Task
from services.entry.tasks.registry import TaskRegistry
from tests.entry.fakes import OUTCOME, response

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(40))
WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(30)


def task_of(name: str, **model: Any) -> Task:
    """Make a task as an entry does, of a model with these fields."""
    backend = model.pop("backend", Backend())
    return TaskRegistry(lambda path: path).of(
        Model(name=f"@cf/demo/{name}", task=name, backend=backend, **model)  # type: ignore[arg-type]
    )


def sent(task: Task, body: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors that the model would get, by name."""
    message = kserve.ModelInferRequest.FromString(
        task.payload(task.parse(body), stream=False, adapter="")
    )
    pairs = zip(message.inputs, message.raw_input_contents, strict=True)
    return {i.name: Tensor(i.name, i.datatype, tuple(i.shape), raw) for i, raw in pairs}


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return tensors as lists, texts as bytes."""
    return {
        name: each.texts() if each.datatype == "BYTES" else each.array().tolist()
        for name, each in tensors.items()
    }


def answer(**tensors: Any) -> bytes:
    """Write a model's answer: lists of texts or bytes, or numbers."""
    return response(*[_tensor(name, value) for name, value in tensors.items()])


def shown(task: Task, body: Mapping[str, Any], /, **tensors: Any) -> Any:
    """Return what a client sees of an answer with these tensors."""
    reply = InferReply(payload=answer(**tensors), outcome=OUTCOME)
    return task.render(task.parse(body), reply)


def _tensor(name: str, value: Any) -> Tensor:
    if value and isinstance(value[0], str | bytes):
        return wire.text(name, *value)
    return wire.numbers(name, "FP32", np.array(value, np.float32))
