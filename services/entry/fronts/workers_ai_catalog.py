"""Workers AI's lists: models, a model's schema, tasks, authors."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from libs.common.catalog import TaskName
from libs.common.clock import Clock
from libs.common.errors import InvalidModel, UnknownModel
from libs.common.world_map import Token
from services.entry.bad_input import bad_input
from services.entry.fronts.cold import ColdRoutes
from services.entry.fronts.model_listing import (
    TASKS,
    author_object,
    author_of,
    chosen,
    model_object,
    openrouter_object,
    page_of,
    task_object,
    wish_of,
)
from services.entry.gateway import Gateway

BASE = "/client/v4/accounts/{account}/ai"


class WorkersAiCatalog:
    """What an account may run, as Workers AI's SDKs ask for it."""

    def __init__(self, *, gateway: Gateway, cold: ColdRoutes, clock: Clock) -> None:
        self._gateway = gateway
        self._cold = cold
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers."""
        looks = {
            "models/search": self.models,
            "models/schema": self.schema,
            "tasks/search": self.tasks,
            "authors/search": self.authors,
        }
        answering = self._cold.answering
        return [web.get(f"{BASE}/{path}", answering(look)) for path, look in looks.items()]

    def models(self, request: web.Request, token: Token) -> object:
        """List the models that fit the query, a page at a time; behind the last it is empty."""
        wish = wish_of(request.query)
        models = self._gateway.models(token.account)
        found = chosen(models, wish, now_ms=self._clock.unix_ms())
        page, info = page_of(found, wish)
        if wish.format != "openrouter":
            return _enveloped([model_object(each) for each in page], info)
        task = self._gateway.task
        shown = [
            openrouter_object(each, task(each.name, token.account).input.document["properties"])
            for each in page
        ]
        return {**_enveloped(shown, info), "data": shown}  # OpenRouter itself reads `data`

    def schema(self, request: web.Request, token: Token) -> object:
        """Return the JSON Schemas of a model's input and output."""
        name = request.query.get("model", "")
        if not name:
            raise bad_input(["model"], "this field is required")
        try:
            task = self._gateway.task(name, token.account)
        except UnknownModel:
            raise InvalidModel(f"Invalid model ID {name[:200]}") from None
        about = task.model.description
        schemas = {"input": task.input.document, "output": task.output_schema()}
        return _enveloped({which: _described(each, about) for which, each in schemas.items()})

    def tasks(self, request: web.Request, token: Token) -> object:
        """List the tasks that the account's models do."""
        done = {each.task for each in self._gateway.models(token.account)}
        names: list[TaskName] = [each for each in TASKS if each in done]
        return _listed([task_object(each) for each in names])

    def authors(self, request: web.Request, token: Token) -> object:
        """List who made the account's models."""
        names = {author_of(each) for each in self._gateway.models(token.account)} - {""}
        return _listed([author_object(each) for each in sorted(names)])


def _described(schema: Any, description: str) -> dict[str, Any]:
    """Return a schema with the words that the SDK's type has: unknown fields pass."""
    return {"description": description, "additionalProperties": True, **schema}


def _listed(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a list that has one page."""
    count = len(found)
    info = {"page": 1, "per_page": count, "count": count, "total_count": count}
    return _enveloped(found, info)


def _enveloped(result: Any, info: dict[str, Any] | None = None) -> dict[str, Any]:
    body = {"result": result, "success": True, "errors": [], "messages": []}
    return body if info is None else {**body, "result_info": info}
