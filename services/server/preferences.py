"""What counts how much when an endpoint is chosen, and how much is remembered for it."""

from __future__ import annotations

from typing import Final

from libs.common.values import Value


class Preferences(Value):
    """Weights of the scores, the bound within which affinity may choose, and the tables' sizes.

    Scores are shares from 0 to 1, so a weight is what the whole of one is worth:
    with `free` at 1, an adapter of 4 outweighs any difference in fill.
    """

    __slots__ = (
        "adapter",
        "bound",
        "free",
        "latency",
        "latency_s",
        "prefix",
        "prefixes",
        "session",
        "sessions",
        "spare",
    )

    def __init__(
        self,
        *,
        free: float = 1.0,
        latency: float = 0.25,
        adapter: float = 4.0,
        session: float = 2.0,
        prefix: float = 1.0,
        bound: float = 1.25,  # times the mean fill: beyond it an endpoint is clearly fuller
        spare: float = 0.25,  # an endpoint is never clearly fuller below this fill
        latency_s: float = 10.0,  # after which a latency counts half
        sessions: int = 4096,  # remembered of each endpoint
        prefixes: int = 8192,
    ) -> None:
        self.free = free
        self.latency = latency
        self.adapter = adapter
        self.session = session
        self.prefix = prefix
        self.bound = bound
        self.spare = spare
        self.latency_s = latency_s
        self.sessions = sessions
        self.prefixes = prefixes


USUAL: Final = Preferences()
