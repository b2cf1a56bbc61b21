"""What the scheduler decided about a model lately, for the console's charts."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from libs.common.errors import ModelNotAllowed
from libs.common.explanation import Question
from libs.common.ports import Explains
from libs.common.world_map import Token
from services.entry.bad_input import bad_input
from services.entry.fronts.cold import ColdRoutes
from services.entry.fronts.console_views import Views
from services.entry.viewing import charted

MOST: Final = 120  # per region: two hours of a decision a minute


class ConsoleDecisions:
    """Asks control, for those who may see the model."""

    def __init__(self, *, views: Views, explains: Explains, cold: ColdRoutes) -> None:
        self._views = views
        self._explains = explains
        self._cold = cold

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers."""
        return [web.get("/console/api/decisions", self._cold.answering(self.decisions))]

    async def decisions(self, request: web.Request, token: Token) -> object:
        """Show the last decisions about a model, the oldest first."""
        name = request.query.get("model", "")
        if not name:
            raise bad_input(["model"], "this field is required")
        if name not in {each.name for each in self._views.models(token)}:
            raise ModelNotAllowed(f"the token may not see a model {name[:200]}")
        found = await self._explains.explain(Question(model=name, count=MOST))
        ordered = sorted(found.decisions, key=lambda each: (each.region, each.at_ms))
        return {"model": name, "decisions": [charted(each) for each in ordered]}
