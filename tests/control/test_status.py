"""How control says how it is, over its socket."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import grpc

from libs.common.backoff import Backoff
from libs.common.clients.control import ControlClient
from libs.common.clock import SystemClock
from libs.common.lifecycle import background
from libs.common.own_process import OwnProcess, our_version
from libs.common.process import EventsWaiting
from libs.common.rpc import grpc_server
from libs.common.world import World, keep_reporting
from libs.common.world_map import Colo, Report, Server
from services.control import app
from tests.waiting import until

SERVER = Server(name="s1", colo="ams", address="unix:/nowhere")


class Sink:
    """Has some events, and nobody to take them."""

    def events_waiting(self) -> EventsWaiting:
        return EventsWaiting(waiting=5, spooled=3, spool_bytes=9, spool_most_bytes=99, is_away=True)


async def test_control_tells_of_itself_and_of_those_that_report(folder: Path) -> None:
    config = app.Config(name="c1", state_dir=folder, listen="")
    process = OwnProcess(folder=folder, clock=SystemClock(), world=World(), sink=Sink())

    def made() -> Report:
        return Report(kind="server", name="s1", colo="ams", resources=(SERVER,))

    async with AsyncExitStack() as stack:
        control = app.build(config, catalog=[Colo(name="ams")])
        serving = app.serve(config, control, tick_s=60.0)
        address, *_ = await stack.enter_async_context(serving)
        client = await stack.enter_async_context(ControlClient(address))
        reporting = keep_reporting(client, made, process=process, backoff=Backoff())
        await stack.enter_async_context(background(reporting, name="reports"))

        await until(control.peers)
        control.refuse_catalog(["models/x.yaml:1: task: required"])
        status = await client.status()

    assert status is not None
    assert (status.name, status.tick_s, status.has_standby) == ("c1", 60.0, False)
    assert status.mistakes == ("models/x.yaml:1: task: required",)
    assert status.process.version == our_version()
    assert 0 < status.process.disk_free_bytes <= status.process.disk_bytes
    assert 0 < status.process.files <= status.process.most_files
    (peer,) = status.peers
    assert (peer.kind, peer.name, peer.colo, peer.is_reporting) == ("server", "s1", "ams", True)
    assert peer.process is not None
    assert peer.process.events == Sink().events_waiting()


async def test_an_older_control_says_nothing_of_itself(folder: Path) -> None:
    address = f"unix:{folder}/control.sock"

    def nothing(server: grpc.aio.Server) -> None:
        pass

    async with grpc_server(address, add=nothing), ControlClient(address) as client:
        assert await client.status() is None
