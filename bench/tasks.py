"""What each task costs entry, in microseconds: its body read and checked, its answer written.

No server and no socket is in it: the very calls that the gateway makes, one after the other.
"""

from __future__ import annotations

import argparse
import base64
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from bench.arguments import positive_int
from bench.report import say, table
from libs import compiled
from libs.common import wire
from libs.common.catalog import Model
from libs.common.envelope import InferReply
from libs.common.pb import kserve_pb2 as kserve
from libs.common.wire import Tensor
from services.entry.fronts.bodies import enveloped
from services.entry.tasks.base import Binary, Task
from services.entry.tasks.registry import TASKS, TaskRegistry
from services.entry.tasks.sent import Sent

MOST_US = 5.0  # of text-generation's validation, as the project wants it
ROUND_S = 0.02
TEXT = "What is the capital of France, and how many people live there today?"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20_000)
WAV = b"RIFF\0\0\0\0WAVEfmt " + bytes(40_000)
COLUMNS = {
    "read": "body to fields",
    "validate": "validation",
    "parse": "all checks",
    "payload": "payload",
    "render": "answer",
}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A task with a body that is usual for it, and what its model answers."""

    name: str
    task: str
    body: bytes
    content_type: str = "application/json"
    outputs: Mapping[str, Any]


def cases() -> Iterator[Case]:
    """Yield a usual call of each task, and files in their other forms."""
    image = {"image": base64.b64encode(PNG).decode()}
    labels = {"label": ["cat", "dog", "bird"], "score": [0.1, 0.7, 0.2]}
    boxes = labels | {"box": [[1.0, 2.0, 3.0, 4.0]] * 3}
    said: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        "text-generation": (
            {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 64, "temperature": 0.5},
            {"text_output": ["Paris."], "finish_reason": ["stop"]},
        ),
        "text-embeddings": ({"text": [TEXT]}, {"embedding": [[0.5] * 384]}),
        "text-classification": ({"text": TEXT}, labels),
        "text-to-image": ({"prompt": TEXT, "num_steps": 8, "seed": 7}, {"image": [PNG]}),
        "text-to-speech": ({"text": TEXT}, {"audio": [WAV]}),
        "automatic-speech-recognition": (
            {"audio": base64.b64encode(WAV).decode()},
            {
                "text": [TEXT],
                "words": TEXT.split(),
                "word_times": [[at, at + 0.5] for at in range(len(TEXT.split()))],
            },
        ),
        "image-classification": (image, labels),
        "object-detection": (image, boxes),
        "image-to-text": (image, {"text": [TEXT]}),
        "image-text-to-text": (image | {"prompt": TEXT}, {"text": [TEXT]}),
        "translation": ({"text": TEXT, "target_lang": "fr"}, {"translated_text": [TEXT]}),
        "summarization": ({"input_text": TEXT * 20}, {"summary": [TEXT]}),
        "multimodal-embeddings": (image | {"text": [TEXT]}, {"embedding": [[0.5] * 512] * 2}),
        "dumb-pipe": ({"any": TEXT}, {"body": [b"{}"], "content_type": ["application/json"]}),
    }
    for task in TASKS:
        body, outputs = said[task]
        yield Case(name=task, task=task, body=orjson.dumps(body), outputs=outputs)
    contexts = {"query": TEXT, "contexts": [{"text": TEXT}] * 10}
    yield Case(
        name="text-embeddings, a query and 10 contexts",
        task="text-embeddings",
        body=orjson.dumps(contexts),
        outputs={"embedding": [[0.5] * 384] * 11},
    )
    yield from _files(labels)


def _files(labels: Mapping[str, Any]) -> Iterator[Case]:
    """Yield one picture of a megabyte in every form."""
    picture = b"\x89PNG\r\n\x1a\n" + b"\xc8" * 1_000_000
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    forms = {
        "bytes": ("image/png", picture),
        "multipart": ("multipart/form-data; boundary=x", form + picture + b"\r\n--x--\r\n"),
        "base64": ("application/json", orjson.dumps({"image": base64.b64encode(picture).decode()})),
        "integers": ("application/json", orjson.dumps({"image": list(picture)})),
    }
    for name, (kind, body) in forms.items():
        yield Case(
            name=f"image-classification, 1 MB as {name}",
            task="image-classification",
            body=body,
            content_type=kind,
            outputs=labels,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every case; 1 if the bar is missed."""
    arguments = parser().parse_args(argv)
    registry = TaskRegistry(lambda path: path)
    rows = [measure(case, registry, rounds=arguments.rounds) for case in cases()]
    say(f"compiled: {'yes' if compiled.in_use() else 'no'}; us, medians of {arguments.rounds}\n")
    say(table(("task", *COLUMNS.values()), [_cells(row) for row in rows]))
    took = next(row["validate"] for row in rows if row["case"] == "text-generation")
    say(f"\nvalidation of text-generation: {took:.2f} us of at most {MOST_US:g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    return int(took > MOST_US)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="constellation bench tasks", description=(__doc__ or "").splitlines()[0]
    )
    made.add_argument("--rounds", type=positive_int, default=15)
    made.add_argument("--json", type=Path, help="file for the numbers")
    return made


def measure(case: Case, registry: TaskRegistry, *, rounds: int) -> Row:
    """Return the microseconds of each step of a call."""
    name = f"@cf/bench/{case.task}"
    task = registry.of(Model(name=name, task=case.task))  # type: ignore[arg-type]
    sent = Sent(case.body, case.content_type)
    body = task.read(sent)
    parsed = task.parse(body)
    reply = InferReply(payload=_answer(case.outputs))
    small = {name: "a file" if _is_file(value) else value for name, value in body.items()}
    steps: dict[str, Callable[[], object]] = {
        "read": lambda: task.read(sent),
        "validate": lambda: task.input.read(small),
        "parse": lambda: task.parse(body),
        "payload": lambda: task.payload(parsed, stream=False, adapter=""),
        "render": lambda: _written(task, parsed, reply),
    }
    return {"case": case.name} | {step: _us(work, rounds) for step, work in steps.items()}


def _written(task: Task, parsed: Any, reply: InferReply) -> bytes:
    result = task.render(parsed, reply)
    return result.content if isinstance(result, Binary) else enveloped(result)


def _is_file(value: object) -> bool:
    """Whether the validator sees a word in place of it."""
    return isinstance(value, bytes) or (isinstance(value, str | list) and len(value) > 10_000)


def _us(work: Callable[[], object], rounds: int) -> float:
    """Return the median over rounds of what one of many takes."""
    work()
    begun = time.perf_counter()
    work()
    count = max(1, int(ROUND_S / max(time.perf_counter() - begun, 1e-7)))
    gc.collect()
    gc.disable()
    try:
        return statistics.median(_round(work, count) for _ in range(rounds))
    finally:
        gc.enable()


def _round(work: Callable[[], object], count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - begun) / count * 1e6


def _answer(outputs: Mapping[str, Any]) -> bytes:
    message = kserve.ModelInferResponse(model_name="m", model_version="1")
    for name, value in outputs.items():
        tensor = _tensor(name, value)
        message.outputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_output_contents.append(tensor.data)
    return message.SerializeToString()


def _tensor(name: str, value: Any) -> Tensor:
    if isinstance(value[0], str | bytes):
        return wire.text(name, *value)
    return wire.numbers(name, "FP32", np.array(value, np.float32))


def _cells(row: Row) -> list[str]:
    return [row["case"], *(_spelled(row[step]) for step in COLUMNS)]


def _spelled(us: float) -> str:
    return f"{us:.2f}" if us < 10 else f"{us:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
