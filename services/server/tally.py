"""What the end of a call adds to, of one model in one colo."""

from __future__ import annotations

from libs.common.cells import Cells
from services.server.outliers import EJECTED, HEALTHY, TRIAL


class Tally:
    """Kept at the shard, so that a call needs no look-up by labels."""

    __slots__ = (
        "first_token",
        "labels",
        "ok",
        "output_token",
        "queued",
        "states",
        "tokens_in",
        "tokens_out",
        "took",
    )

    def __init__(
        self, labels: tuple[str, ...], *, took: Cells, first_token: Cells, output_token: Cells
    ) -> None:
        self.labels = labels
        self.took = took
        self.first_token = first_token
        self.output_token = output_token
        self.ok = 0  # calls that were answered; which of them had waited
        self.queued = 0
        self.tokens_in = 0
        self.tokens_out = 0
        # inferences by the state of their endpoint; what an ejected one ran, it ran in a panic
        self.states = {HEALTHY: 0, TRIAL: 0, EJECTED: 0}

    def __repr__(self) -> str:
        return f"<Tally ok={self.ok} {self.states}>"
