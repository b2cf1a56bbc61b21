"""The engine's API, as far as a node needs it: its own containers, each call within a bound."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiodocker
import aiohttp

from services.node.drivers.tritonserver import LOG_TAIL_BYTES

NOT_REACHED: Final = 900  # aiodocker's status where there was no answer
NO_SUCH: Final = 404
BEING_REMOVED: Final = 409  # by another, or the name is taken
LOG_LINES: Final = 400
ALIVE: Final = ("running", "paused")  # one that is paused goes on where it was


class EngineAway(ConnectionError):
    """The engine did not answer; what runs may go on running."""


class EngineRefused(Exception):
    """The engine said no, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container, as the engine lists it."""

    id: str
    name: str
    state: str
    labels: Mapping[str, str]
    addresses: Mapping[str, str]  # by network
    ports: Mapping[int, int]  # that are published: inside, and outside

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """Read one of the engine's list."""
        networks = (told.get("NetworkSettings") or {}).get("Networks") or {}
        ports = told.get("Ports") or ()
        return cls(
            id=told["Id"],
            name=told["Names"][0].removeprefix("/") if told["Names"] else told["Id"],
            state=told["State"],
            labels=told.get("Labels") or {},
            addresses={name: each.get("IPAddress") or "" for name, each in networks.items()},
            ports={
                each["PrivatePort"]: each["PublicPort"] for each in ports if "PublicPort" in each
            },
        )

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.state in ALIVE


class Engine:
    """A client of a Docker engine; a context manager."""

    def __init__(self, url: str, *, call_seconds: float) -> None:
        self._url = url
        self._call_seconds = call_seconds
        self._client: aiodocker.Docker | None = None

    def __repr__(self) -> str:
        return f"<Engine {self._url}>"

    async def __aenter__(self) -> Self:
        """Make the client, which connects with the first call."""
        self._client = aiodocker.Docker(url=self._url)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close its connections."""
        if self._client:
            await self._client.close()

    async def labelled(self, labels: Mapping[str, str]) -> list[Container]:
        """Return the containers that have these labels, whatever their state."""
        filters = json.dumps({"label": [f"{name}={value}" for name, value in labels.items()]})
        async with self._call() as client:
            found = await client.containers.list(all=1, filters=filters)
        return [Container.read(each._container) for each in found]

    async def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Create a container, and return its id."""
        async with self._call() as client:
            made = await client.containers.create(dict(body), name=name)
        return made.id

    async def start(self, id_: str) -> None:
        """Start it."""
        async with self._call() as client:
            await client.containers.container(id_).start()

    async def remove(self, id_: str, *, stop_seconds: float) -> None:
        """Stop it, at once or gently, and remove it; one that is gone is fine."""
        try:
            if stop_seconds:
                async with self._call(stop_seconds) as client:
                    await client.containers.container(id_).stop(t=round(stop_seconds))
            async with self._call() as client:
                await client.containers.container(id_).delete(force=True, v=True)
        except EngineRefused as error:
            if error.status not in (NO_SUCH, BEING_REMOVED):
                raise

    async def state(self, id_: str) -> Mapping[str, Any] | None:
        """Return what the engine says of its end; None: it is not there any more."""
        try:
            async with self._call() as client:
                shown: Mapping[str, Any] = await client.containers.container(id_).show()
        except EngineRefused as error:
            if error.status == NO_SUCH:
                return None
            raise
        state: Mapping[str, Any] = shown["State"]
        return state

    async def count(self, id_: str, program: str) -> int:
        """Return how many processes in it are a program; raises as any call."""
        async with self._call() as client:
            told = await client.containers.container(id_).top(ps_args="-eo pid,args")
        return sum(program in " ".join(each) for each in told["Processes"] or ())

    async def log_tail(self, id_: str) -> str:
        """Return the last of what it logged, at most 20 KiB; nothing where none is to be had."""
        try:
            async with self._call() as client:
                container = client.containers.container(id_)
                lines = await container.log(stdout=True, stderr=True, tail=LOG_LINES)
        except (EngineAway, EngineRefused):
            return ""
        return "".join(lines).encode()[-LOG_TAIL_BYTES:].decode(errors="replace")

    @asynccontextmanager
    async def _call(self, longer: float = 0.0) -> AsyncIterator[aiodocker.Docker]:
        """Bound a call, and translate what goes wrong."""
        assert self._client, "the engine was not entered"
        try:
            async with asyncio.timeout(self._call_seconds + longer):
                yield self._client
        except aiodocker.DockerError as error:
            if error.status == NOT_REACHED:
                raise EngineAway(self._away(error.message)) from error
            raise EngineRefused(error.status, error.message) from error
        except TimeoutError as error:
            raise EngineAway(
                self._away(f"nothing for {self._call_seconds + longer:g} s")
            ) from error
        except (OSError, aiohttp.ClientError) as error:
            raise EngineAway(self._away(str(error))) from error

    def _away(self, reason: str) -> str:
        return f"the Docker engine at {self._url} does not answer: {reason}"


def cause_of(state: Mapping[str, Any]) -> str:
    """Say how a container ended, of what the engine tells of its state."""
    told = f"its container ended with exit code {state.get('ExitCode')}"
    if state.get("Running"):
        told = "a process of its model ended"
    if state.get("OOMKilled"):
        told += ", for it used more memory than its limit"
    if error := state.get("Error"):
        told += f": {error}"
    return told
