"""Requests that are under way: cancelled by their id."""

from __future__ import annotations

from aiohttp import web

from libs.common.errors import RequestError
from services.entry.auth import Auth
from services.entry.cancelling import Cancelling
from services.entry.fronts.bodies import JSON, enveloped, error_body, error_headers, to_json
from services.entry.gateway import Gateway
from services.entry.metrics import EntryMetrics

PATHS = ("/client/v4/accounts/{account}/ai/requests/{request_id}", "/v1/requests/{request_id}")


class Requests:
    """Cancels what an account has under way; the account is the token's."""

    def __init__(
        self, *, gateway: Gateway, cancelling: Cancelling, auth: Auth, metrics: EntryMetrics
    ) -> None:
        self._gateway = gateway
        self._cancelling = cancelling
        self._auth = auth
        self._metrics = metrics

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers."""
        return [web.delete(path, self.cancel) for path in PATHS]

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel a request by our id or the client's."""
        try:
            with self._metrics.request(self._gateway.colo, f"{request.method} {request.path}"):
                found = await self._cancel(request)
        except RequestError as error:
            headers = {**error_headers(error), "x-constellation-request-id": self._gateway.new_id()}
            body = to_json(error_body(error))
            return web.Response(body=body, status=error.http, content_type=JSON, headers=headers)
        body = enveloped({"cancelled": len(found), "request_ids": found})
        return web.Response(body=body, content_type=JSON)

    async def _cancel(self, request: web.Request) -> list[str]:
        told, peer = request.match_info, request.remote or ""
        account = told.get("account", "")
        token = self._auth.caller(request.headers, account=account, peer=peer)
        return await self._cancelling.cancel(account=token.account, request_id=told["request_id"])
