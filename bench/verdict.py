"""The project's own bars: what it must reach against Envoy, and what it aims at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.results import REFERENCE, Row, compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One ratio and its bounds."""

    ours: str
    workload: str
    field: str
    must: float
    aim: float
    theirs: str = REFERENCE
    is_floor: bool = False  # whether more is better

    @property
    def text(self) -> str:
        """Return what is compared, in words."""
        return f"{self.ours} / {self.theirs}, {self.workload}: {self.field}"

    def verdict(self, ratio: float) -> str:
        """Return which of the bounds the ratio keeps."""
        for bound, word in ((self.aim, "aim reached"), (self.must, "must kept")):
            if ratio >= bound if self.is_floor else ratio <= bound:
                return word
        return "MISSED"


BARS = (
    Bar(ours="fused", workload="unary", field="cpu_us", must=1.0, aim=0.7),
    Bar(ours="split", workload="unary", field="cpu_us", must=1.5, aim=1.0),
    Bar(ours="fused", workload="stream_coalesced", field="cpu_us", must=1.0, aim=0.8),
    Bar(ours="split", workload="stream_paced", field="cpu_us", must=1.0, aim=0.8),
    Bar(ours="fused", workload="unary", field="added_p50_us", must=1.2, aim=0.8),
    Bar(ours="split", workload="stream_paced", field="jitter_p99_us", must=1.2, aim=1.0),
    Bar(
        ours="split_2_entries",
        theirs="split",
        workload="unary",
        field="rps_per_core",
        must=0.8,
        aim=0.9,
        is_floor=True,
    ),
)


def verdicts(rows: Sequence[Row]) -> list[Row]:
    """Return each bar with its ratio, its spread over the rounds, and what that means."""
    told = []
    for bar in BARS:
        ratio = compared(rows, bar.ours, bar.theirs, bar.workload, bar.field)
        told.append(
            {
                "what": bar.text,
                "ratio": ratio.median if ratio else None,
                "ratio_min": ratio.lowest if ratio else None,
                "ratio_max": ratio.highest if ratio else None,
                "must": bar.must,
                "aim": bar.aim,
                "verdict": bar.verdict(ratio.median) if ratio else "not measured",
            }
        )
    return told
