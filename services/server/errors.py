"""How calls fail and instances are lost, where the server knows more than its callers are told."""

from __future__ import annotations

import asyncio

from libs.common.errors import Aborted, Internal, RequestError, Unavailable


class InstanceLost(Unavailable):
    """The instance went away while the call may have run there, which may be the call's doing."""


class InstanceDead(InstanceLost):
    """The model's process is dead, though its server goes on calling the model ready."""


class EndpointFull(Unavailable):
    """The endpoint's own queue has refused the call, which may go elsewhere; it is not sick."""


def ended_with(kind: type[BaseException] | None) -> type[RequestError] | None:
    """Return as what an error is told, None for none."""
    if kind is None:
        return None
    if issubclass(kind, RequestError):
        return kind
    return Aborted if issubclass(kind, asyncio.CancelledError | GeneratorExit) else Internal
