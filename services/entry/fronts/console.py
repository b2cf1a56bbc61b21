"""The console: a page, and what it asks this entry for besides the public API."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from libs.common.clock import Clock
from libs.common.ports import Explains
from libs.common.world import World
from services.entry.admins import Admins
from services.entry.auth import Auth
from services.entry.fronts.cold import ColdRoutes
from services.entry.fronts.console_decisions import ConsoleDecisions
from services.entry.fronts.console_page import ConsolePage
from services.entry.fronts.console_views import Views
from services.entry.fronts.console_world import ConsoleWorld
from services.entry.gateway import Gateway
from services.entry.metrics import EntryMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What consoles may cost an entry."""

    every_s: float  # what they watch is written so often
    write_s: float  # one may read nothing for so long
    streams: int
    rows: int  # of each section


class Console:
    """Its routes, of which the streams end when entry leaves."""

    def __init__(
        self,
        *,
        world: World,
        gateway: Gateway,
        auth: Auth,
        admins: Admins,
        explains: Explains,
        cold: ColdRoutes,
        metrics: EntryMetrics,
        clock: Clock,
        bounds: Bounds,
    ) -> None:
        self._views = Views(
            world=world,
            gateway=gateway,
            admins=admins,
            clock=clock,
            every_s=bounds.every_s,
            most_rows=bounds.rows,
        )
        self._world = ConsoleWorld(
            views=self._views,
            gateway=gateway,
            auth=auth,
            metrics=metrics,
            every_s=bounds.every_s,
            write_s=bounds.write_s,
            most_streams=bounds.streams,
        )
        decisions = ConsoleDecisions(views=self._views, explains=explains, cold=cold)
        self._fronts = (self._world, decisions, ConsolePage())

    def __repr__(self) -> str:
        return f"<Console {self._world!r}>"

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers; the page's files take what is left below /console."""
        return [route for front in self._fronts for route in front.routes()]

    def heard(self) -> None:
        """Note that control has just spoken."""
        self._views.heard()

    def leave(self) -> None:
        """End every stream."""
        self._world.leave()
