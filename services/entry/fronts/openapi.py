"""The API as an OpenAPI 3.1 document, made of the schemas that calls are checked with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from libs.common.errors import BY_REASON
from services.entry.fronts.bodies import JSON
from services.entry.fronts.openapi_routes import OPERATIONS, RUN, Operation
from services.entry.options import SCHEMA as OPTIONS
from services.entry.tasks.base import Task

Json: TypeAlias = dict[str, Any]
BYTES: Final = "application/octet-stream"
EVENTS: Final = "text/event-stream"
FORM: Final = "multipart/form-data"
TEXT: Final = "text/plain"
BETWEEN_SERVICES: Final = frozenset({"server_lost", "fell_behind", "name_taken"})
COLD: Final = (400, 401, 403, 404, 405, 408, 413, 429, 500, 503)  # what any route may answer
CONTROLS: Final[Json] = {
    "type": "object",
    "properties": {
        "stream": {"type": ["boolean", "string"], "description": "Answer by events."},
        "lora": {"type": "string", "description": "The id or name of a finetune."},
        "options": {"$ref": "#/components/schemas/Options"},
    },
}
ERROR: Final[Json] = {
    "type": "object",
    "required": ["success", "errors", "messages", "result", "error"],
    "properties": {
        "result": {"type": "null"},
        "success": {"const": False},
        "messages": {"type": "array"},
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["code", "message", "reason"],
                "properties": {
                    "code": {"enum": sorted({cls.code for cls in BY_REASON.values()})},
                    "message": {"type": "string"},
                    "reason": {"enum": sorted(BY_REASON.keys() - BETWEEN_SERVICES)},
                    "source": {
                        "type": "object",
                        "properties": {"pointer": {"type": "string"}},
                    },
                },
            },
        },
        "error": {
            "type": "object",
            "description": "The same as OpenAI's SDKs read it.",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        },
    },
}


def document(routes: Iterable[str], tasks: Iterable[Task], *, version: str) -> Json:
    """Describe the routes, and a route for each model that these tasks are of."""
    paths: dict[str, Json] = {}
    for route in routes:
        method, _, path = route.partition(" ")
        known = path.rpartition("/ai/v1")[2] if "/ai/v1" in path else path
        said = OPERATIONS.get(f"{method} {known}") or OPERATIONS.get(known)
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, said or Operation())
    paths[RUN]["post"] |= _any_model()
    for task in tasks:
        paths[RUN.replace("{model}", task.model.name)] = {"post": _of_model(task)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Constellation",
            "version": version,
            "description": "AI inference on machines of your own: Workers AI's API, and OpenAI's.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in ("Models", "OpenAI", "Workers AI", "Operating")],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": ERROR, "Options": OPTIONS},
            "responses": {f"Error{status}": _error(status) for status in _statuses()},
        },
    }


def _operation(method: str, path: str, said: Operation) -> Json:
    """Return one operation; what is not said of a route is what any route may have."""
    made: Json = {
        "operationId": _id(method, path),
        "summary": said.summary or f"{method} {path}",
        "tags": [said.tag or ("OpenAI" if "/v1/" in path else "Workers AI")],
        "parameters": [*_in_path(path), *said.parameters],
        "responses": {"200": _ok(said.answer, streams=said.streams, media=said.media)},
    }
    if said.other_media:
        made["responses"]["200"]["content"][said.other_media] = {"schema": {"type": "string"}}
    bodies = {JSON: said.body, FORM: said.form}
    content = {kind: {"schema": each} for kind, each in bodies.items() if each is not None}
    if content:
        made["requestBody"] = {"required": True, "content": content}
    if said.is_open:
        made["security"] = []
        made["responses"] |= {str(each): _plain(said.media) for each in said.statuses}
    else:
        made["responses"] |= _errors()
    return made


def _of_model(task: Task) -> Json:
    """Return the operation that runs one model."""
    model = task.model
    schema = {"allOf": [task.input.document, CONTROLS]}
    content: Json = {JSON: {"schema": schema}}
    if task.raw_field:
        content[BYTES] = {"schema": {"type": "string", "format": "binary"}}
    return {
        "operationId": _id("run", model.name),
        "summary": f"{model.name}: {model.task}",
        "description": model.description,
        "tags": ["Models"],
        "parameters": _in_path("{account}"),
        "requestBody": {"required": True, "content": content},
        "responses": {"200": _answer(task), **_errors()},
    }


def _any_model() -> Json:
    content: Json = {each: {"schema": {}} for each in (JSON, BYTES, FORM)}
    content[JSON] = {"schema": {**CONTROLS, "additionalProperties": True}}
    answers: Json = {each: {} for each in (JSON, EVENTS, "*/*")}
    return {
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": "The answer.", "content": answers}, **_errors()},
    }


def _answer(task: Task) -> Json:
    """Return what a model answers: an envelope, events, or bytes."""
    output = task.output_schema()
    if "contentMediaType" in output:
        bytes_of = {"type": "string", "format": "binary"}
        kinds = {output["contentMediaType"], "*/*"}
        content = {each: {"schema": bytes_of} for each in sorted(kinds)}
        return {"description": "The answer's bytes.", "content": content}
    answer = _ok(output, streams=task.streams, media="", is_enveloped=True)
    if task.may_be_binary:
        answer["content"]["*/*"] = {}
    return answer


def _ok(output: Any, *, streams: bool, media: str, is_enveloped: bool = False) -> Json:
    schema = output if output is not None else {"type": "object"}
    if is_enveloped:
        schema = {
            "type": "object",
            "required": ["result", "success", "errors", "messages"],
            "properties": {
                "result": schema,
                "success": {"const": True},
                "errors": {"type": "array", "maxItems": 0},
                "messages": {"type": "array"},
            },
        }
    content: Json = {media: {}} if media else {JSON: {"schema": schema}}
    if streams:
        content[EVENTS] = {"schema": {"type": "string"}}
    return {"description": "The answer.", "content": content}


def _plain(media: str) -> Json:
    content: Json = {media or JSON: {}}
    return {"description": "Not so now; the body says why.", "content": content}


def _errors() -> Json:
    return {str(each): {"$ref": f"#/components/responses/Error{each}"} for each in _statuses()}


def _statuses() -> list[int]:
    told = {cls.http for cls in BY_REASON.values() if cls.reason not in BETWEEN_SERVICES}
    return sorted(told | set(COLD))


def _error(status: int) -> Json:
    """Return the response of one status, with the codes that it may have."""
    codes = [cls for cls in BY_REASON.values() if cls.http == status]
    told = [f"{cls.code} `{cls.reason}`" for cls in codes if cls.reason not in BETWEEN_SERVICES]
    schema: Mapping[str, Any] = {"$ref": "#/components/schemas/Error"}
    answer: Json = {
        "description": "; ".join(told) or "An error.",
        "content": {JSON: {"schema": schema}},
    }
    if status in (429, 503):
        seconds = {"type": "integer", "minimum": 1, "maximum": 60}
        answer["headers"] = {"Retry-After": {"schema": seconds}}
    return answer


def _in_path(path: str) -> list[Json]:
    names = re.findall(r"\{(\w+)\}", path)
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
        }
        for name in names
    ]


def _id(method: str, path: str) -> str:
    return f"{method.lower()}_" + re.sub(r"[^A-Za-z0-9]+", "_", path).strip("_")
