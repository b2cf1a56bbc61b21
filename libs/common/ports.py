"""Interfaces that cross a service boundary."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol, TypeAlias

from libs.common.envelope import InferReply, InferRequest, Outcome
from libs.common.events.occurrences import Occurrence
from libs.common.events.values import Event
from libs.common.explanation import Explanation, Question
from libs.common.limit_shares import Shares
from libs.common.world_map import Ref, Report, Resource, Update
from libs.eager import Promise

# Takes the parts of a stream that came together. What is returned, if anything, is waited for
# before the next ones: so who reads slowly slows the model. What is raised ends the stream.
Send: TypeAlias = Callable[[Sequence[bytes]], Promise[None] | None]

Granted: TypeAlias = Callable[[Shares], None]  # takes an entry's shares of accounts' limits


class Inference(Protocol):
    """Runs a model: the server itself, or a client of one.

    Both raise RequestError, and keep the request's time bounds. Cancelling the
    call stops the model.
    """

    async def infer(self, request: InferRequest) -> InferReply:
        """Run the request and return its one answer."""
        ...

    async def stream(self, request: InferRequest, send: Send) -> Outcome:
        """Run the request, hand its parts to `send` as they come, and say how it was served."""
        ...

    async def cancel(self, *, account: str, request_id: str) -> Sequence[str]:
        """Cancel an account's calls of this id, ours or the client's; return our ids of them."""
        ...


class Updates(Protocol):
    """Tells the state of everything. Raises Unavailable when it is away."""

    def watch(self, colo: str = "") -> AsyncIterator[Update]:
        """Yield everything once, then every change, as readers in a colo see it."""
        ...


class Reports(Protocol):
    """Takes what reporters say. Raises Unavailable when it is away."""

    async def report(self, reports: AsyncIterator[Report], granted: Granted | None = None) -> None:
        """Say what there is, again and again; the stream's end says that the reporter left.

        An entry's reports are answered, to `granted`.
        """
        ...


class Explains(Protocol):
    """Says why a model has as many instances as it has. Raises Unavailable, UnknownModel."""

    async def explain(self, question: Question) -> Explanation:
        """Return the decisions that are asked for."""
        ...


class ControlPlane(Updates, Reports, Explains, Protocol):
    """Control: the object itself, or a client of it. Raises Unavailable when it is away."""

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

    def emit(self, event: Event | Occurrence) -> None:
        """Hand over one event."""
        ...
