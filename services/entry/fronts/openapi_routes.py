"""What the OpenAPI document says of each route beside its address; a route needs no entry here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from libs.common.catalog import ADAPTER_FILES
from libs.common.usage_texts import GROUPS
from services.entry.fronts.media_bodies import (
    IMAGE_SCHEMA,
    SPEECH_SCHEMA,
    TRANSCRIPTION_SCHEMA,
)
from services.entry.fronts.openai_bodies import CHAT_SCHEMA, COMPLETIONS_SCHEMA, EMBEDDINGS_SCHEMA
from services.entry.fronts.responses_bodies import SCHEMA as RESPONSES_SCHEMA

Json = dict[str, Any]
AI: Final = "/client/v4/accounts/{account}/ai"
RUN: Final = f"{AI}/run/{{model}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One route's words; the defaults are those of any route that answers with JSON."""

    summary: str = ""
    tag: str = ""
    parameters: Sequence[Json] = ()
    body: Mapping[str, Any] | None = None
    form: Mapping[str, Any] | None = None  # a multipart one
    answer: Mapping[str, Any] | None = None
    media: str = ""  # of the answer, if it is not JSON
    other_media: str = ""  # that it may have besides JSON
    streams: bool = False
    is_open: bool = False  # needs no token
    statuses: Sequence[int] = ()  # of an open route, beside 200


def _query(name: str, kind: str = "string", **more: Any) -> Json:
    return {"name": name, "in": "query", "schema": {"type": kind, **more}}


def _object(*names: str) -> Json:
    return {"type": "object", "required": list(names)}


PAGES: Final = (_query("page", "integer", minimum=1), _query("per_page", "integer", minimum=1))
ENVELOPE: Final = _object("result", "success", "errors", "messages")
FINETUNE: Final[Json] = {
    **_object("name", "model"),
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 128},
        "model": {"type": "string"},
        "description": {"type": ["string", "null"], "maxLength": 1024},
        "public": {"type": ["boolean", "null"]},
    },
}
ASSET: Final[Json] = {
    **_object("file_name", "file"),
    "properties": {
        "file_name": {"enum": list(ADAPTER_FILES)},
        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
    },
}
MOMENT: Final = "RFC 3339 such as 2026-11-28T01:00:00Z, or milliseconds since 1970."
OWN: Final = "The token's own account; for operators another's id, or `*` for all."
GROUP: Final = "|".join(GROUPS)
GROUPED: Final = "Words with commas between them; unless told, `model`."
# OpenAI's routes stand under /v1 and under an account's /ai/v1.
_V1: Final[Mapping[str, Operation]] = {
    "/chat/completions": Operation(
        summary="Answer a conversation",
        body=CHAT_SCHEMA,
        answer=_object("id", "object", "created", "model", "choices", "usage"),
        streams=True,
    ),
    "/completions": Operation(
        summary="Continue a text",
        body=COMPLETIONS_SCHEMA,
        answer=_object("id", "object", "created", "model", "choices"),
        streams=True,
    ),
    "/embeddings": Operation(
        summary="Turn texts into vectors",
        body=EMBEDDINGS_SCHEMA,
        answer=_object("object", "data", "model", "usage"),
    ),
    "/responses": Operation(
        summary="Answer an input",
        body=RESPONSES_SCHEMA,
        answer=_object("id", "object", "model", "output"),
        streams=True,
    ),
    "/audio/speech": Operation(summary="Say a text", body=SPEECH_SCHEMA, media="*/*"),
    "/audio/transcriptions": Operation(
        summary="Tell what was said", body=TRANSCRIPTION_SCHEMA, media="*/*"
    ),
    "/audio/translations": Operation(
        summary="Tell in English what was said", body=TRANSCRIPTION_SCHEMA, media="*/*"
    ),
    "/images/generations": Operation(
        summary="Draw pictures", body=IMAGE_SCHEMA, answer=_object("created", "data")
    ),
    "/models": Operation(summary="List the models", answer=_object("object", "data")),
    "/models/{model}": Operation(
        summary="Show a model", answer=_object("id", "object", "created", "owned_by")
    ),
}
OPERATIONS: Final[Mapping[str, Operation]] = {
    **_V1,
    **{f"/v1{path}": said for path, said in _V1.items()},
    RUN: Operation(summary="Run any model", tag="Workers AI"),
    f"{AI}/models/search": Operation(
        summary="Search the models",
        parameters=(
            *map(_query, ("search", "task", "author")),
            *PAGES,
        ),
        answer=ENVELOPE,
    ),
    f"{AI}/models/schema": Operation(
        summary="Show a model's schemas",
        parameters=({**_query("model"), "required": True},),
        answer=ENVELOPE,
    ),
    f"{AI}/tasks/search": Operation(summary="List the tasks", answer=ENVELOPE),
    f"{AI}/authors/search": Operation(summary="List the authors", answer=ENVELOPE),
    f"GET {AI}/finetunes": Operation(summary="List the account's finetunes", answer=ENVELOPE),
    f"POST {AI}/finetunes": Operation(summary="Make a finetune", body=FINETUNE, answer=ENVELOPE),
    f"{AI}/finetunes/public": Operation(
        summary="List the public finetunes",
        parameters=(
            _query("limit", "integer", minimum=1),
            _query("offset", "integer", minimum=0),
            _query("orderBy", enum=["created_at", "modified_at", "name", "model"]),
        ),
        answer=ENVELOPE,
    ),
    f"{AI}/finetunes/{{finetune}}": Operation(summary="Delete a finetune", answer=ENVELOPE),
    f"{AI}/finetunes/{{finetune}}/finetune-assets": Operation(
        summary="Upload one of a finetune's files", form=ASSET, answer=ENVELOPE
    ),
    f"{AI}/usage": Operation(
        summary="Add up what was used",
        parameters=(
            _query("group_by", description=GROUPED, pattern=f"^({GROUP})(,({GROUP}))*$"),
            _query("from", description=MOMENT),
            _query("to", description=MOMENT),
            *(_query(name, maxLength=512) for name in ("model", "finetune", "colo")),
            _query("source", enum=["worker_binding", "pages_binding", "rest"]),
            _query("error_code", "integer", minimum=0, maximum=999_999_999),
            _query("account", description=OWN),
            _query("format", enum=["json", "csv"]),
        ),
        answer=ENVELOPE,
        other_media="text/csv",
    ),
    f"{AI}/usage/requests": Operation(
        summary="List the last requests",
        parameters=(
            _query("model", maxLength=512),
            _query("limit", "integer", minimum=1, maximum=1000),
            _query("before", description="`result_info.next` of the page before."),
            _query("account", description=OWN),
        ),
        answer=ENVELOPE,
    ),
    f"{AI}/requests/{{request_id}}": Operation(summary="Cancel a request", answer=ENVELOPE),
    "/v1/requests/{request_id}": Operation(
        summary="Cancel a request", tag="OpenAI", answer=ENVELOPE
    ),
    "/healthz": Operation(summary="Whether the process lives", tag="Operating", is_open=True),
    "/readyz": Operation(
        summary="Whether calls can be served", tag="Operating", is_open=True, statuses=(503,)
    ),
    "/metrics": Operation(
        summary="Prometheus' metrics", tag="Operating", is_open=True, media="text/plain"
    ),
    "/openapi.json": Operation(summary="This document", tag="Operating", is_open=True),
    "/console": Operation(
        summary="A page to watch and to try", tag="Operating", is_open=True, media="text/html"
    ),
    "/docs": Operation(
        summary="A page to try calls with", tag="Operating", is_open=True, media="text/html"
    ),
}
