"""/console: the page and its files, as they lie in the package, loaded from nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

from aiohttp import web

from services.entry.fronts.ops import unknown

FOLDER: Final = Path(__file__).parents[1] / "console"
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing is loaded from elsewhere or written into the page as code or style, no text can become
# HTML, no form is sent anywhere, and no other page shows this one as a part of its own. Blobs
# are the pictures and sounds that models made.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS: Final = {
    "Cache-Control": "no-cache",  # kept, but asked for: the page is of one version
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class ConsolePage:
    """Serves the files that the package has, and no others."""

    def __repr__(self) -> str:
        return f"<ConsolePage of {FOLDER.name}>"

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers."""
        return [web.get("/console", self.page), web.get("/console/{file:.+}", self.file)]

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Show the page."""
        return self._answer(request, "index.html")

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Show one of the page's files."""
        return self._answer(request, request.match_info["file"])

    def _answer(self, request: web.Request, name: str) -> web.StreamResponse:
        path = self._files.get(name)
        if path is None:
            return unknown(request)
        return web.FileResponse(path, headers={**HEADERS, "Content-Type": TYPES[path.suffix]})

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        """All files by their address, found once: what is not in it is not there."""
        every = (each for each in FOLDER.rglob("*") if each.suffix in TYPES)
        return {str(each.relative_to(FOLDER)): each for each in every}
