"""How an instance is lost, where the server must know more than its callers are told."""

from __future__ import annotations

from libs.common.errors import Unavailable


class InstanceLost(Unavailable):
    """The instance went away while the call may have run there, which may be the call's doing."""


class InstanceDead(InstanceLost):
    """The model's process is dead, though its server goes on calling the model ready."""
