"""What a model is, from what its server says of it: task, dialect, names of tensors.

The tensors of each task are those of docs/models.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from libs.common.catalog import Dialect, TaskName


class CannotTell(Exception):
    """What was asked does not tell enough; the text says what to add to the command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """Datatypes by name, of what a model takes and gives."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    def __str__(self) -> str:
        return f"{', '.join(self.inputs) or 'nothing'} -> {', '.join(self.outputs) or 'nothing'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What goes into the catalog's file; `says` tells the reader why."""

    task: TaskName
    says: str
    backend: dict[str, Any] = field(default_factory=dict)


# Inputs that are always sent, and outputs that are always read. The first that fits is it.
SHAPES: Final[tuple[tuple[TaskName, str, str], ...]] = (
    ("text-classification", "text", "label score"),
    ("text-classification", "query contexts", "score"),
    ("object-detection", "image", "label score box"),
    ("image-classification", "image", "label score"),
    ("text-to-image", "prompt", "image"),
    ("text-to-speech", "text", "audio"),
    ("automatic-speech-recognition", "audio", "text"),
    ("image-text-to-text", "image prompt", "text"),
    ("image-to-text", "image", "text"),
    ("translation", "text source_lang target_lang", "translated_text"),
    ("summarization", "input_text max_length", "summary"),
    ("multimodal-embeddings", "text image", "embedding"),
    ("text-embeddings", "text", "embedding"),
    ("dumb-pipe", "body content_type", "body"),
)
COUNTS: Final[Mapping[str, tuple[str, ...]]] = {
    "tokens_in": ("num_input_tokens", "num_tokens"),
    "tokens_out": ("num_output_tokens",),
}
DIALECTS: Final[Mapping[str, Dialect]] = {"vllm": "vllm", "sglang": "sglang"}  # by `owned_by`
TENSOR: Final = re.compile(r"\{[^{}]*\bname\s*:\s*\"([^\"]+)\"[^{}]*\}", re.S)
NAME: Final = re.compile(r"^\s*name\s*:\s*\"([^\"]+)\"", re.M)
DATATYPE: Final = re.compile(r"\bdata_type\s*:\s*TYPE_(\w+)")


def of_tensors(tensors: Tensors) -> Guess:
    """Return what a model in Triton is; raises CannotTell."""
    if "text_input" in tensors.inputs:
        backend: dict[str, Any] = {"dialect": _text_dialect(tensors)}
        return Guess(
            task="text-generation",
            says=f"it takes text_input as dialect {backend['dialect']} does",
            backend=backend | _usage(tensors),
        )
    for task, inputs, outputs in SHAPES:
        if set(inputs.split()) <= tensors.inputs.keys() and (
            set(outputs.split()) <= tensors.outputs.keys()
        ):
            return Guess(task=task, says=f"its tensors are {tensors}", backend=_usage(tensors))
    texts = [name for name, kind in tensors.inputs.items() if kind == "BYTES"]
    vectors = [name for name, kind in tensors.outputs.items() if kind == "FP32"]
    if len(tensors.inputs) == len(texts) == 1 and len(tensors.outputs) == len(vectors) == 1:
        renamed = {"text": texts[0], "embedding": vectors[0]}
        return Guess(
            task="text-embeddings",
            says=f"it makes FP32 of one text: {tensors}",
            backend={"tensors": {ours: name for ours, name in renamed.items() if ours != name}},
        )
    raise CannotTell(
        f"its tensors ({tensors}) are those of no task: give --task, and rename them by "
        "backend.tensors in the file (docs/models.md has each task's)"
    )


def of_listed(listed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an entry of GET /v1/models tells: the name, and whose dialect it is."""
    dialect = DIALECTS.get(str(listed.get("owned_by", "")).lower(), "openai_http")
    return {"kind": "openai_http", "dialect": dialect, "served_as": str(listed["id"])}


def of_folder(folder: Path, *, task: TaskName | None = None, served_as: str = "") -> Guess:
    """Return what a Triton folder holds, by its config.pbtxt; raises CannotTell.

    `task` is what it is where its tensors do not tell; `served_as` its name, if it has none.
    """
    path = folder / "config.pbtxt"
    try:
        text = re.sub(r"#[^\n]*", "", path.read_text("utf-8"))
    except OSError as error:
        why = error.strerror or error
        raise CannotTell(f"{path}: {why}: expected the folder of one Triton model") from error
    tensors = Tensors(inputs=_declared("input", text), outputs=_declared("output", text))
    try:
        guess = of_tensors(tensors)
    except CannotTell:
        if task is None:
            raise
        guess = Guess(task=task, says=f"{folder} holds a Triton model")
    named = NAME.search(text)  # which must be the folder's, where Triton finds it
    name = named[1] if named else served_as
    if served_as not in ("", name):
        raise CannotTell(f"{path} names the model {name}: it cannot be served as {served_as}")
    backend = {"served_as": name} if name not in ("", folder.name) else {}
    return Guess(task=guess.task, says=guess.says, backend=guess.backend | backend)


def chosen(names: list[str], *, name: str, wanted: str, where: str) -> str:
    """Return which of a server's models is meant; raises CannotTell."""
    if wanted:
        if names and wanted not in names:
            raise CannotTell(f"{where} serves no {wanted!r} but {', '.join(names)}")
        return wanted
    if len(names) == 1:
        return names[0]
    tail = _plain(name.rpartition("/")[2])
    alike = [each for each in names if _plain(each.rpartition("/")[2]) == tail]
    if len(alike) == 1:
        return alike[0]
    served = ", ".join(names) or "no model"
    raise CannotTell(f"{where} serves {served}: give --served-as NAME")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _declared(what: str, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for block in re.finditer(rf"\b{what}\s*:?\s*(\[.*?\n?\s*\}}\s*\]|\{{[^{{}}]*\}})", text, re.S):
        for tensor in TENSOR.finditer(block[1]):
            kind = DATATYPE.search(tensor[0])
            told = kind[1] if kind else ""
            found[tensor[1]] = "BYTES" if told == "STRING" else told
    return found


def _text_dialect(tensors: Tensors) -> Dialect:
    if "sampling_parameters" in tensors.inputs:
        return "seeds" if "lora_name" in tensors.inputs else "vllm"
    is_llm_api = any(name.startswith("sampling_param_") for name in tensors.inputs)
    return "tensorrt_llm_api" if is_llm_api else "tensorrt_llm"


def _usage(tensors: Tensors) -> dict[str, Any]:
    usage = {
        field: name for field, names in COUNTS.items() for name in names if name in tensors.outputs
    }
    return {"usage": usage} if usage else {}
