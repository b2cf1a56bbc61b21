"""Windows: what was so over the last samples, at the same cost however long they are."""

from __future__ import annotations

PERMIT_SAMPLES = 600
SAMPLE_S = 0.5


class RollingSums:
    """Sums of the last `length` samples of whole numbers, kept as samples come and go."""

    def __init__(self, length: int, *, width: int) -> None:
        self._length = length
        self._width = width
        self._samples: list[tuple[int, ...]] = []
        self._at = 0  # of the oldest, once there is no more room
        self.sums = (0,) * width

    def __repr__(self) -> str:
        return f"<RollingSums {self.sums} of {self.count}/{self._length}>"

    @property
    def count(self) -> int:
        """How many samples there are; at most the length."""
        return len(self._samples)

    def add(self, sample: tuple[int, ...]) -> None:
        """Take in a sample, in place of the oldest one if there is no room."""
        if len(self._samples) < self._length:
            self._samples.append(sample)
            gone = (0,) * self._width
        else:
            gone, self._samples[self._at] = self._samples[self._at], sample
            self._at = (self._at + 1) % self._length
        # whole numbers alone: with fractions the sums would drift away from what is there
        self.sums = tuple(
            total + new - old for total, new, old in zip(self.sums, sample, gone, strict=True)
        )

    def clear(self) -> None:
        """Forget all samples."""
        self._samples, self._at, self.sums = [], 0, (0,) * self._width


class PermitWindow:
    """How full a model was, over five minutes: 600 samples, one every 500 ms."""

    def __init__(self, length: int = PERMIT_SAMPLES) -> None:
        self._sums = RollingSums(length, width=3)

    def __repr__(self) -> str:
        return f"<PermitWindow full={self.full_fraction:.0%} used={self.mean_used_permits:.1f}>"

    def add(self, *, total: int, available: int, queued: int) -> None:
        """Take in how it is now. A model without permits is full as soon as somebody waits."""
        is_full = available <= 0 and (total > 0 or queued > 0)
        self._sums.add((int(is_full), max(0, total - available), queued))

    @property
    def full_fraction(self) -> float:
        """The part of the time in which no permit was free."""
        return self._mean(0)

    @property
    def mean_used_permits(self) -> float:
        """How many permits were in use, on average."""
        return self._mean(1)

    @property
    def mean_queue_size(self) -> float:
        """How many calls waited, on average."""
        return self._mean(2)

    def _mean(self, which: int) -> float:
        return self._sums.sums[which] / self._sums.count if self._sums.count else 0.0
