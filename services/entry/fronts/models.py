"""The lists of models, as OpenAI's API has them."""

from __future__ import annotations

from aiohttp import web

from libs.common.errors import RequestError
from services.entry.auth import Auth
from services.entry.fronts.bodies import JSON, client_id, error_body, error_headers, to_json
from services.entry.gateway import Gateway
from services.entry.metrics import EntryMetrics

PATHS = ("/client/v4/accounts/{account}/ai/v1/models", "/v1/models")


class Models:
    """Says what an account may run; the account is the token's."""

    def __init__(self, *, gateway: Gateway, auth: Auth, metrics: EntryMetrics) -> None:
        self._gateway = gateway
        self._auth = auth
        self._metrics = metrics

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers."""
        return [web.get(path, self.models) for path in PATHS]

    async def models(self, request: web.Request) -> web.Response:
        """List what the account may run."""
        try:
            with self._metrics.request(self._gateway.colo):
                return _answer(request, 200, self._listed(request))
        except RequestError as error:
            headers = error_headers(error)
            headers["x-constellation-request-id"] = self._gateway.new_id()
            return _answer(request, error.http, error_body(error), headers)

    def _listed(self, request: web.Request) -> dict[str, object]:
        account = request.match_info.get("account", "")
        token = self._auth.caller(request.headers, account=account, scope="read")
        models = [
            {
                "id": model.name,
                "object": "model",
                "created": 0,
                "owned_by": model.listing.author or "constellation",
            }
            for model in self._gateway.models(token.account)
        ]
        return {"object": "list", "data": models}


def _answer(
    request: web.Request, status: int, value: object, headers: dict[str, str] | None = None
) -> web.Response:
    theirs = client_id(request.headers.get("x-request-id"))
    echoed = {"x-request-id": theirs} if theirs else {}
    return web.Response(
        body=to_json(value), status=status, content_type=JSON, headers={**echoed, **(headers or {})}
    )
