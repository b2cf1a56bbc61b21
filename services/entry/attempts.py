"""Falling over: the next colo after one that failed, and what to say when all have."""

from __future__ import annotations

from libs.common.errors import ModelStarting, OutOfCapacity, RequestError, Unavailable
from services.entry.routing import Target

WAIT_FOR_A_SERVER_MS = 2000
WORDS = (OutOfCapacity, ModelStarting, Unavailable)  # what says most to the caller first


class Attempts:
    """The targets of one call, and why each could not serve it."""

    __slots__ = ("errors", "model", "targets")

    def __init__(self, targets: tuple[Target, ...], model: str) -> None:
        self.targets = targets
        self.model = model
        self.errors: list[RequestError] = []

    def __repr__(self) -> str:
        return f"<Attempts {len(self.errors)}/{len(self.targets)} of {self.model}>"

    def failed(self, error: RequestError) -> None:
        """Note why a target could not serve; raises what no other could mend."""
        if not error.retryable or error.sent:
            raise error
        self.errors.append(error)

    def verdict(self) -> RequestError:
        """Return the one error that stands for all, with the longest wait that was named."""
        if not self.errors:
            text = f"no server serves {self.model} now"
            return Unavailable(text, retry_after_ms=WAIT_FOR_A_SERVER_MS)
        kind = next((k for k in WORDS if any(type(e) is k for e in self.errors)), None)
        alike = [each for each in self.errors if kind is None or type(each) is kind]
        text = str(alike[-1])
        if kind is OutOfCapacity and len(self.targets) > 1:
            text = "No more data centers to forward the request to"
        wait_ms = max(each.retry_after_ms for each in alike)
        return type(alike[-1])(text, retry_after_ms=wait_ms)
