"""The server's Prometheus metrics: counts as things happen, the rest read at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from libs.common.events.metrics import SinkMetrics
from libs.common.metrics import Counts
from services.server.durations import Durations
from services.server.gauges import LABELS, families
from services.server.outliers import CAUSES, EJECTED
from services.server.shards import OwnedShard

PREFIX = "constellation_server_"


class ServerMetrics(Collector):
    """What all servers of this process have done, and how full their shards are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._shards: list[Callable[[], Iterable[OwnedShard]]] = []
        self.requests = _counts("requests", "Requests by HTTP status.", "status")
        self.errors = _counts(
            "errors", "Failed requests by our code and HTTP status.", "internal", "http"
        )
        self.turnstile = _counts(
            "turnstile_outcomes",
            "Calls by what the turnstile did: leased, queued, rejected.",
            "outcome",
        )
        self.retries = _counts(
            "retries",
            "Calls that lost their endpoint with nothing sent, and had neither been retried nor run"
            " out of time: retried, or refused by the retry budget.",
            "outcome",
        )
        self.ejections = _counts(
            "ejections", "Endpoints taken out of service: lost, dead, failing, slow.", "cause"
        )
        self.panics = _counts(
            "panics",
            "Times that so few endpoints were healthy that those under suspicion were used, too.",
        )
        self.durations = Durations()
        self.forwarded = _counts(
            "forwarded",
            "Calls that another server has served for one of this colo, by the colos where they"
            " entered and where they were sent; the same one: a sibling.",
            "source",
            "to",
        )
        self.forward_failures = _counts(
            "forward_failures",
            "Servers that could not be reached to forward a call; each goes on to another.",
        )
        self.events = SinkMetrics(registry, prefix=f"{PREFIX}events_")
        registry.register(self)

    def watch(self, shards: Callable[[], Iterable[OwnedShard]]) -> None:
        """Show the shards of one server at each scrape."""
        self._shards.append(shards)

    def describe(self) -> Iterator[Metric]:
        """Name what `collect` yields without asking the servers."""
        yield from self._counted(())
        yield from self.durations.empty()
        yield from families((), prefix=PREFIX)
        yield _queue_dropped(())

    def collect(self) -> Iterator[Metric]:
        """Show the counts, and read permits and queues now."""
        shards = [shard for shards in self._shards for shard in shards()]
        yield from self._counted(shards)
        yield from self.durations.families()
        yield from families(shards, prefix=PREFIX)
        yield _queue_dropped(shards)

    def _counted(self, shards: Iterable[OwnedShard]) -> Iterator[Metric]:
        models = {(shard.colo, shard.model.name) for shard in shards}
        causes = [(*each, cause) for each in models for cause in CAUSES]
        yield self.errors.family()
        for counts in self.tallied():
            yield counts.family()
        yield self.retries.family()
        yield self.ejections.family(causes)
        yield self.panics.family(models)
        yield self.forwarded.family()
        yield self.forward_failures.family(models)

    def tallied(self) -> tuple[Counts, ...]:
        """Return requests, outcomes of the turnstile, tokens, and inferences by backend and state.

        With what shards count themselves, in their tallies.
        """
        requests, turnstile = self.requests.copied(), self.turnstile.copied()
        tokens = _counts("tokens", "Tokens, by direction: in, out.", "direction")
        per_backend = _counts("infer_per_backend", "Inferences by kind of backend.", "backend")
        per_state = _counts(
            "infer_per_health_state",
            "Inferences by how their endpoint was when they got it: healthy, on trial, or ejected"
            " and used all the same (panic).",
            "state",
        )
        for (colo, model, backend), tally in self.durations.tallies.copy().items():
            requests.add((colo, model, 200), tally.ok)
            turnstile.add((colo, model, "queued"), tally.queued)
            turnstile.add((colo, model, "leased"), tally.ok - tally.queued)
            tokens.add((colo, model, "in"), tally.tokens_in)
            tokens.add((colo, model, "out"), tally.tokens_out)
            for state, count in tally.states.items():
                per_backend[colo, model, backend] += count
                # what an ejected endpoint ran it ran because too few others were healthy
                per_state[colo, model, "panic" if state == EJECTED else state] += count
        return requests, turnstile, tokens, per_backend, per_state


def _counts(name: str, text: str, *labels: str) -> Counts:
    return Counts(f"{PREFIX}{name}", text, (*LABELS, *labels))


def _queue_dropped(shards: Iterable[OwnedShard]) -> Metric:
    counts = _counts(
        "queue_dropped",
        "Calls that left the queue unserved: time_up could not start in their time, pushed_out lost"
        " their place to an account that had less than its part, taken_over were sent again by"
        " their client.",
        "reason",
    )
    for shard in shards:
        for reason, count in shard.turnstile.dropped.items():
            counts[shard.colo, shard.model.name, reason] += count
    return counts.family()
