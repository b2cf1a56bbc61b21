"""Interfaces that cross a service boundary."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol

from libs.common.envelope import InferReply, InferRequest, Parts
from libs.common.events.values import Event
from libs.common.world_map import Ref, Report, Resource, Update


class Inference(Protocol):
    """Runs a model: the server itself, or a client of one.

    Both raise RequestError, and keep the request's time bounds. Whoever leaves
    a stream early closes it, and that stops the model.
    """

    async def infer(self, request: InferRequest) -> InferReply:
        """Run the request and return its one answer."""
        ...

    def stream(self, request: InferRequest) -> AsyncGenerator[Parts, None]:
        """Run the request and yield its parts as they come; the last has the outcome."""
        ...


class ControlPlane(Protocol):
    """Control: the object itself, or a client of it. Raises Unavailable when it is away."""

    def watch(self) -> AsyncIterator[Update]:
        """Yield everything once, then every change."""
        ...

    async def report(self, reports: AsyncIterator[Report]) -> None:
        """Say what there is, again and again; the stream's end says that the reporter left."""
        ...

    async def put(self, resource: Resource) -> int:
        """Write a resource and return the version that has it. BadInput: not to be written."""
        ...

    async def delete(self, name: Ref) -> int:
        """Remove a resource and return the version without it; a missing one is no error."""
        ...


class SnapshotFile(Protocol):
    """Keeps the last state of everything on disk."""

    def load(self) -> Update | None:
        """Return what was saved last, None where there is nothing readable."""
        ...

    def save(self, update: Update) -> None:
        """Replace what was saved, whole or not at all."""
        ...


class EventSink(Protocol):
    """Takes events away; never waits, never raises."""

    def emit(self, event: Event | Callable[[], Event]) -> None:
        """Hand over one event, or what makes it when it is its turn to go."""
        ...
