"""What each feature costs: one switched at a time, against the same request without it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import canned, workloads
from bench.certificates import certificate
from bench.measure import Settings, backend_running, loaded
from bench.measure import job as job_of
from bench.ours import OURS, Ours
from bench.results import Row
from bench.summary import ratios, spread
from bench.workloads import COALESCED, EMBEDDINGS, TEXT, Ask

PLAIN = "embeddings, one text"
CHAT = "chat, one answer"
NUMBERS = (canned.NUMBERS[0], canned.NUMBERS[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One row: a request to a variant of the gateway, and the row that it is held against."""

    name: str
    ask: Ask
    against: str = PLAIN
    variant: str = "fused"


def features() -> list[Feature]:
    """Return all rows, those first that others are held against."""
    plain, chat = workloads.embeddings(), workloads.chat(COALESCED, tokens=16, stream=False)
    many = {"model": EMBEDDINGS, "input": [TEXT] * 32, "encoding_format": "float"}
    texts: dict[str, object] = {"text": [TEXT]}
    adapter = workloads.chat(COALESCED, tokens=16, stream=False, lora="bench-lora")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    return [
        Feature(name=PLAIN, ask=plain),
        Feature(
            name="  over Workers AI's route", ask=workloads.run(EMBEDDINGS, texts, markers=NUMBERS)
        ),
        Feature(name="  with a request id", ask=replace(plain, headers={"x-request-id": "a" * 32})),
        Feature(name="  with a trace", ask=replace(plain, headers={"traceparent": trace})),
        Feature(name="  traced", ask=plain, variant="traced"),
        Feature(name="  traced, one of 100", ask=plain, variant="a share traced"),
        Feature(
            name="  with an affinity", ask=replace(plain, headers={"x-session-affinity": "a1"})
        ),
        Feature(name="  of 32 texts", ask=replace(plain, body=workloads.to_json(many))),
        Feature(name="  without a collector", ask=plain, variant="no collector"),
        Feature(name="  over TLS", ask=plain, variant="tls"),
        Feature(name="  over grpcio", ask=plain, variant="grpcio"),
        Feature(name="  split in two processes", ask=plain, variant="split"),
        Feature(name="  split, over grpcio", ask=plain, variant="split grpcio"),
        Feature(name=CHAT, ask=chat, against=CHAT),
        Feature(name="  traced, too", ask=chat, against=CHAT, variant="traced"),
        Feature(name="  with an adapter", ask=adapter, against=CHAT),
        Feature(name="  as a stream of 1", ask=workloads.chat(COALESCED, tokens=1), against=CHAT),
        Feature(name="  as a stream of 16", ask=workloads.chat(COALESCED, tokens=16), against=CHAT),
    ]


def variants(folder: Path) -> Mapping[str, Ours]:
    """Return the gateways that the rows are measured on."""
    fused, split = OURS["fused"], OURS["split"]
    grpcio = {
        "CONSTELLATION_ENTRY_TRANSPORT": "grpcio",
        "CONSTELLATION_SERVER_TRANSPORT": "grpcio",
    }
    return {
        "fused": fused,
        "no collector": replace(fused, analytics=False),
        "traced": replace(fused, trace_share=1.0),
        "a share traced": replace(fused, trace_share=0.01),
        "tls": replace(fused, certificate=certificate(folder)),
        "grpcio": replace(fused, settings=grpcio),
        "split": split,
        "split grpcio": replace(split, settings=grpcio),
    }


def measure(settings: Settings) -> list[Row]:
    """Measure all rows in interleaved rounds."""
    rows = features()
    costs: dict[str, list[float | None]] = {row.name: [] for row in rows}
    with tempfile.TemporaryDirectory(prefix="cstb") as folder:
        made = variants(Path(folder))
        for _ in range(settings.rounds):
            for name, target in made.items():
                wanted = [row for row in rows if row.variant == name]
                for row, cost in zip(wanted, _costs(target, wanted, settings), strict=True):
                    costs[row.name].append(cost)
    return [_row(row, costs) for row in rows]


def _costs(target: Ours, wanted: Sequence[Feature], settings: Settings) -> list[float]:
    """Start a variant and measure all of its rows."""
    with (
        backend_running() as backend,
        tempfile.TemporaryDirectory(prefix="cstb") as folder,
        target.started(backend, Path(folder)) as started,
    ):
        found = []
        for row in wanted:
            job = job_of(
                started, row.ask, settings, mode="closed", concurrency=settings.connections
            )
            cost, numbers = loaded(started, job)
            per_call = numbers["frames_per_answer"] or 1
            found.append(cost["cpu_us"] * per_call)
        return found


def _row(feature: Feature, costs: Mapping[str, Sequence[float | None]]) -> Row:
    """Return a row; the extra cost and the ratio are those of the same rounds."""
    own, base = costs[feature.name], costs[feature.against]
    cost, ratio = spread(own), spread(ratios(own, base))
    extra = spread(a - b for a, b in zip(own, base, strict=True) if a is not None and b is not None)
    return {
        "feature": feature.name,
        "cpu_us": cost.median if cost else None,
        "cpu_us_min": cost.lowest if cost else None,
        "cpu_us_max": cost.highest if cost else None,
        "extra_us": extra.median if extra else None,
        "ratio": ratio.median if ratio else None,
    }
