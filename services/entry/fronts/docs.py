"""/openapi.json, and /docs: a page to try calls with, all of it served from here."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import orjson
from aiohttp import web

from libs.common.world import World
from services.entry.fronts.bodies import JSON
from services.entry.fronts.openapi import document
from services.entry.fronts.ops import ROUTES, unknown
from services.entry.gateway import Gateway
from services.entry.tasks.registry import TASKS

VIEWER: Final = "swagger_ui"  # the package whose folder `static` has Swagger UI's files
FILES: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Constellation: the API</title>
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START: Final = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  persistAuthorization: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""
# Nothing is loaded from elsewhere, and no other site shows the page as a part of its own.
POLICY: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'"
)
KEEP: Final = {"Cache-Control": "public, max-age=3600"}


class Docs:
    """Describes the routes and the models that everyone may run."""

    def __init__(self, *, gateway: Gateway, world: World) -> None:
        self._gateway = gateway
        self._written = b""
        world.listen(lambda _: self._forget())
        spec = find_spec(VIEWER)
        self._viewer = Path(spec.origin).parent / "static" if spec and spec.origin else None

    def __repr__(self) -> str:
        return f"<Docs {len(self._written)} bytes>"

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers."""
        return [
            web.get("/openapi.json", self.openapi),
            web.get("/docs", self.page),
            web.get("/docs/{file}", self.file),
        ]

    async def openapi(self, request: web.Request) -> web.Response:
        """Show the document, as the catalog is now."""
        if not self._written:
            models = [each for each in self._gateway.models("") if each.task in TASKS]
            tasks = [self._gateway.task(each.name, "") for each in models]
            made = document(ROUTES, tasks, version=version("constellation-inference"))
            self._written = orjson.dumps(made)
        return web.Response(body=self._written, content_type=JSON)

    async def page(self, request: web.Request) -> web.Response:
        """Show the page."""
        headers = {"Content-Security-Policy": POLICY}
        return web.Response(text=PAGE, content_type="text/html", headers=headers)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Show one of the page's files."""
        name = request.match_info["file"]
        if name == "start.js":
            return web.Response(text=START, content_type="text/javascript", headers=KEEP)
        if name not in FILES or self._viewer is None:
            return unknown(request)
        headers = {"Content-Type": FILES[name], **KEEP}
        return web.FileResponse(self._viewer / name, headers=headers)

    def _forget(self) -> None:
        self._written = b""
