"""How long calls take, as histograms by the names of OpenTelemetry's gen_ai conventions.

https://github.com/open-telemetry/semantic-conventions-genai, "Generative AI model server
metrics": the same names, attributes and buckets, in Prometheus' spelling.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from prometheus_client.core import HistogramMetricFamily

from libs.common.metrics import Histogram
from services.server.records import Record
from services.server.shards import OwnedShard
from services.server.tally import Tally

PROVIDER: Final = "constellation"
LABELS: Final = ("colo", "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
# The conventions' words for what they have words for; other operations go by their task's name.
OPERATIONS: Final = {"text-generation": "text_completion", "text-embeddings": "embeddings"}
REQUEST_S: Final = tuple(0.01 * 2**each for each in range(14))
FIRST_TOKEN_S: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
OUTPUT_TOKEN_S: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)


class Durations:
    """Counts each call once, at its end."""

    def __init__(self) -> None:
        name = "gen_ai_server_"
        self.request = Histogram(
            f"{name}request_duration_seconds",
            "From a call's arrival at the server to its end; `error_type` is the reason of its"
            " error.",
            (*LABELS, "error_type"),
            bounds=REQUEST_S,
        )
        self.first_token = Histogram(
            f"{name}time_to_first_token_seconds",
            "From a streamed call's arrival at the server to its first part.",
            LABELS,
            bounds=FIRST_TOKEN_S,
        )
        self.output_token = Histogram(
            f"{name}time_per_output_token_seconds",
            "Mean time between the output tokens of a streamed call, one value per call.",
            LABELS,
            bounds=OUTPUT_TOKEN_S,
        )
        self.tallies: dict[tuple[str, str, str], Tally] = {}  # by colo, model, kind of backend

    def __repr__(self) -> str:
        return f"<Durations of {len(self.tallies)} models>"

    def families(self) -> list[HistogramMetricFamily]:
        """Return the three as they are now."""
        return [each.family() for each in (self.request, self.first_token, self.output_token)]

    def empty(self) -> list[HistogramMetricFamily]:
        """Return the three without values."""
        return [each.empty() for each in (self.request, self.first_token, self.output_token)]

    def tally(self, shard: OwnedShard) -> Tally:
        """Return where a shard's calls are counted, for the shard to keep."""
        name, model = shard.model.name, shard.model
        key = (shard.colo, name, model.backend.kind)
        tally = self.tallies.get(key)
        if tally is None:
            labels = (shard.colo, OPERATIONS.get(model.task, model.task), PROVIDER, name)
            tally = self.tallies[key] = Tally(
                labels,
                took=self.request[(*labels, "")],
                first_token=self.first_token[labels],
                output_token=self.output_token[labels],
            )
        shard.tally = tally
        return tally

    def took(self, record: Record) -> None:
        """Take down how long a call took that has ended."""
        shard = record.shard
        if shard is None:
            return
        tally = shard.tally or self.tally(shard)
        if record.error is not None:
            self.request[(*tally.labels, record.error.reason)].observe(record.took_s)
            return
        took = tally.took  # as `observe`, without a call for each request
        took.counts[bisect_left(REQUEST_S, record.took_s)] += 1
        took.sum += record.took_s
        if record.request.stream and record.first_part_at:
            to_first = record.first_part_at - record.arrived
            tally.first_token.observe(to_first)
            if (tokens := record.usage.tokens_out) > 1:
                tally.output_token.observe((record.took_s - to_first) / (tokens - 1))
