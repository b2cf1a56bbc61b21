"""Models, tasks and authors as Workers AI's lists show them, and what a list is asked for."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from libs.common.catalog import Model, Price, TaskName
from libs.common.deprecation import deprecated_from_ms
from services.entry.tasks.schema import InputSchema, whole_numbers

T = TypeVar("T")
Json = dict[str, Any]
ANY, CLOUDFLARE, HUGGING_FACE = 0, 1, 2  # the sources, as their lists number them
SHOWN_AFTER_MS: Final = 92 * 24 * 3600 * 1000  # a deprecated model, to those who ask for it
IDS: Final = uuid.UUID("8f3f4bd0-7d5c-5d0c-9c3f-0a6c5f1e2b77")  # the same on every entry
BASES: Final = re.compile(r"@(?:cf|hf)/([^/]+)/")
TASKS: Final[Mapping[TaskName, tuple[str, str]]] = {
    "text-generation": ("Text Generation", "Goes on with a text, or answers in a conversation."),
    "text-classification": ("Text Classification", "Sorts a text, or ranks texts by a question."),
    "text-embeddings": ("Text Embeddings", "Turns texts into vectors that are near by meaning."),
    "text-to-image": ("Text-to-Image", "Makes an image of a text."),
    "text-to-speech": ("Text-to-Speech", "Speaks a text."),
    "automatic-speech-recognition": ("Automatic Speech Recognition", "Writes down what is said."),
    "image-classification": ("Image Classification", "Says what an image shows."),
    "image-to-text": ("Image-to-Text", "Describes an image."),
    "image-text-to-text": ("Image-Text-to-Text", "Answers what is asked of an image."),
    "object-detection": ("Object Detection", "Finds things in an image, and where they are."),
    "translation": ("Translation", "Says a text in another language."),
    "summarization": ("Summarization", "Says a text in fewer words."),
    "multimodal-embeddings": ("Multimodal Embeddings", "Turns texts and images into vectors."),
    "dumb-pipe": ("Dumb Pipe", "Passes bytes to a model, and its answer back, unchanged."),
}
QUERY: Final = InputSchema(
    {
        "type": "object",
        "properties": {
            "search": {"type": "string", "default": ""},
            "task": {"type": "string", "default": ""},
            "author": {"type": "string", "default": ""},
            "source": {"type": "number", "default": ANY},
            "hide_experimental": {"type": "boolean", "default": False},
            "include_deprecated": {"type": "boolean", "default": False},
            "format": {"type": "string", "enum": ["", "openrouter"], "default": ""},
            "page": {"type": "integer", "minimum": 1, "maximum": 1_000_000, "default": 1},
            "per_page": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50},
        },
    }
)
NUMBERS: Final = ("source", "page", "per_page")
NUMBER: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")

SAMPLING: Final = (
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "seed",
    "max_tokens",
)
MODALITIES: Final[Mapping[TaskName, tuple[list[str], list[str]]]] = {
    "text-embeddings": (["text"], ["embeddings"]),
    "multimodal-embeddings": (["text", "image"], ["embeddings"]),
    "text-to-image": (["text"], ["image"]),
    "text-to-speech": (["text"], ["audio"]),
    "automatic-speech-recognition": (["audio"], ["text"]),
    "image-classification": (["image"], ["text"]),
    "image-to-text": (["image"], ["text"]),
    "image-text-to-text": (["image", "text"], ["text"]),
    "object-detection": (["image"], ["text"]),
}
UNITS: Final = {
    "per_token_in": "per input token",
    "per_token_out": "per output token",
    "per_request": "per request",
    "per_character_in": "per input character",
    "per_megapixel": "per megapixel",
    "per_step": "per step",
    "per_audio_second": "per audio second",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which models a list shall have, and which part of them."""

    search: str
    task: str
    author: str
    source: float
    hide_experimental: bool
    include_deprecated: bool
    format: str
    page: int
    per_page: int


def wish_of(query: Mapping[str, str]) -> Wish:
    """Read a query string, whose unknown words pass; raises BadInput."""
    known = QUERY.document["properties"]
    values = {name: _number(name, said) for name, said in query.items() if name in known}
    return Wish(**QUERY.read(values))


def chosen(models: Iterable[Model], wish: Wish, *, now_ms: int) -> list[Model]:
    """Return the models that fit, in their order."""
    return [each for each in models if _is_shown(each, wish, now_ms) and _fits(each, wish)]


def page_of(found: Sequence[T], wish: Wish) -> tuple[Sequence[T], Json]:
    """Return the page that was asked for, empty behind the last, and what is said of it."""
    start = (wish.page - 1) * wish.per_page
    page = found[start : start + wish.per_page]
    info = {"page": wish.page, "per_page": wish.per_page, "count": len(page)}
    return page, {**info, "total_count": len(found)}


def author_of(model: Model) -> str:
    """Return who made a model: as the listing says, else as the name does."""
    named = BASES.match(model.name)
    return model.listing.author or (named[1] if named else "")


def model_object(model: Model) -> Json:
    """Return a model as lists show it."""
    return {
        "id": _id("model", model.name),
        "source": _source(model),
        "name": model.name,
        "description": model.description,
        "task": task_object(model.task),
        "created_at": model.listing.properties.get("created_at"),
        "tags": list(model.listing.tags),
        "properties": [
            {"property_id": name, "value": value} for name, value in _properties(model).items()
        ],
    }


def task_object(task: TaskName) -> Json:
    """Return a task as lists show it."""
    name, description = TASKS[task]
    return {"id": _id("task", task), "name": name, "description": description}


def author_object(author: str) -> Json:
    """Return an author as lists show it."""
    return {"id": _id("author", author), "name": author}


def openrouter_object(model: Model, fields: Mapping[str, Any]) -> Json:
    """Return a model as OpenRouter lists it; `fields` are those of its input."""
    told = model.listing.properties
    reads, writes = MODALITIES.get(model.task, (["text"], ["text"]))
    features = ["json_mode", "structured_outputs"] if "response_format" in fields else []
    return {
        "id": model.name,
        "name": model.name,
        "description": model.description,
        "hugging_face_id": told.get("hugging_face_id", ""),
        "created": 0,
        "input_modalities": reads,
        "output_modalities": writes,
        "context_length": whole_numbers(told.get("context_window")),
        "max_output_length": whole_numbers(fields.get("max_tokens", {}).get("maximum")),
        "pricing": _pricing(model.price),
        "supported_sampling_parameters": [each for each in SAMPLING if each in fields],
        "supported_features": [*(["tools"] if "tools" in fields else []), *features],
    }


def _is_shown(model: Model, wish: Wish, now_ms: int) -> bool:
    """Whether a model is not deprecated, or not for long and asked for all the same."""
    until = deprecated_from_ms(model)
    if not until or now_ms < until:
        return True
    return wish.include_deprecated and now_ms < until + SHOWN_AFTER_MS


def _fits(model: Model, wish: Wish) -> bool:
    text = f"{model.name} {model.description}".casefold()
    task, author = wish.task.casefold(), wish.author.casefold()
    return (
        wish.search.casefold() in text
        and task in ("", model.task, TASKS[model.task][0].casefold())
        and author in ("", author_of(model).casefold())
        and wish.source in (ANY, _source(model))
        and not (wish.hide_experimental and model.listing.beta)
    )


def _source(model: Model) -> int:
    return HUGGING_FACE if model.name.startswith("@hf/") else CLOUDFLARE


def _properties(model: Model) -> Json:
    """Return what the listing tells, as words, and what the catalog has of it elsewhere."""
    told = {**model.listing.properties}
    told.pop("created_at", None)
    told |= {"beta": True} if model.listing.beta else {}
    told |= {"lora": True} if model.lora.enabled else {}
    told |= {"async_queue": True} if model.async_queue else {}
    prices = [
        {"unit": UNITS[name], "price": price, "currency": "neurons"}
        for name, price in asdict(model.price).items()
        if price
    ]
    words = {name: _word(whole_numbers(value)) for name, value in told.items()}
    return {**words, "price": prices} if prices else words


def _word(value: Any) -> Any:
    """Return a value as theirs are: numbers and booleans in words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _pricing(price: Price) -> Json:
    """Return the prices in neurons; OpenRouter has them as decimal texts."""
    of = {"prompt": price.per_token_in, "completion": price.per_token_out}
    return {name: f"{each:.12f}".rstrip("0").rstrip(".") for name, each in of.items()}


def _id(kind: str, name: str) -> str:
    return str(uuid.uuid5(IDS, f"{kind}:{name}"))


def _number(name: str, said: str) -> float | str:
    is_number = name in NUMBERS and NUMBER.fullmatch(said)
    return float(said) if is_number else said
