"""The models, as OpenAI's API has them."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from libs.common.catalog import Model
from libs.common.errors import InvalidModel, UnknownModel
from libs.common.world_map import Token
from services.entry.fronts.cold import ColdRoutes
from services.entry.fronts.model_listing import author_of
from services.entry.gateway import Gateway

PATHS = ("/client/v4/accounts/{account}/ai/v1/models", "/v1/models")


class Models:
    """Says what an account may run; the account is the token's."""

    def __init__(self, *, gateway: Gateway, cold: ColdRoutes) -> None:
        self._gateway = gateway
        self._cold = cold

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers; a model's name has slashes, raw or encoded."""
        listed, one = self._cold.answering(self.models), self._cold.answering(self.model)
        return [
            *(web.get(path, listed) for path in PATHS),
            *(web.get(f"{path}/{{model:.+}}", one) for path in PATHS),
        ]

    def models(self, request: web.Request, token: Token) -> object:
        """List what the account may run."""
        models = [_model(each) for each in self._gateway.models(token.account)]
        return {"object": "list", "data": models}

    def model(self, request: web.Request, token: Token) -> object:
        """Say of one model that it is there."""
        name = request.match_info["model"]
        try:
            return _model(self._gateway.task(name, token.account).model)
        except UnknownModel:
            raise InvalidModel(f"there is no model {name[:200]}", pointer="/model") from None


def _model(model: Model) -> dict[str, object]:
    created = _seconds(model.listing.properties.get("created_at"))
    owner = author_of(model) or "constellation"
    return {"id": model.name, "object": "model", "created": created, "owned_by": owner}


def _seconds(date: object) -> int:
    """Return a date in seconds since 1970, 0 where there is none."""
    try:
        told = datetime.fromisoformat(str(date))
    except ValueError:
        return 0
    return int((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp())
