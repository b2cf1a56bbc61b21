"""Settings of a server, and what its parts get of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from libs.common.bounds import (
    Address,
    AtLeastOne,
    AtLeastZero,
    Factor,
    FewOrNone,
    MessageBytes,
    NotNegative,
    Positive,
    Seconds,
    SecondsOrNone,
    Share,
    ShareOrNone,
)
from libs.common.events.sinks import SinkConfig
from libs.common.events.spool import SpoolConfig
from libs.common.events.spooling import SpoolingConfig
from libs.common.hop_settings import HopSettings
from libs.common.hops import Transport
from libs.common.otlp_settings import OtlpSettings
from services.server.forwarding import Settings
from services.server.idempotency import KeptLimits
from services.server.outliers import Limits
from services.server.preferences import Preferences
from services.server.probing import ProbeLimits
from services.server.retries import RetryLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(OtlpSettings, HopSettings):
    """What leases permits, chooses endpoints and calls them.

    Hops to Triton are not encrypted, whatever `hop_cert` says.
    """

    name: str
    """Unique among servers."""
    colo: str
    """Where it is."""
    listen: Address = ""
    """Where it listens for gRPC; empty: only within its process, so a server alone needs it."""
    advertise: Address = ""
    """The address that entries and other servers reach it at; empty: the one that it listens on."""
    connect_s: Seconds = 1.0
    """How long a call, or a probe, waits for a connection to a Triton; then it is lost with nothing
    sent (`lean` alone)."""
    probe_s: Seconds = 1.0
    """How often it probes each endpoint, a fifth more or less."""
    probe_timeout_s: Seconds = 1.0
    """For the answer to a probe; the model's own has the `backend.probe.timeout_s` of the catalog.
    """
    probe_failures: AtLeastOne = 2
    """Probes that must fail in a row until an endpoint is ejected."""
    probe_idle_s: Seconds = 10.0
    """Without an answer to a call for so long, the model itself is probed."""
    probes_at_once: AtLeastOne = 64
    """Addresses that are probed at the same time."""
    failures_in_row: AtLeastOne = 5
    """Calls that must fail in a row until an endpoint is failing; more, where failures are usual.
    """
    error_share: Share = 0.5
    """Part of its calls that must fail until an endpoint is failing."""
    error_calls: AtLeastOne = 20
    """Calls within the window that `error_share` takes."""
    unanswered_s: SecondsOrNone = 1.0
    """A call that was not answered in time counts as failed if the endpoint had it for so long."""
    slow_factor: Positive = 5.0
    """How many times as long as on the model's other endpoints the typical call must take until an
    endpoint is slow."""
    slow_calls: AtLeastOne = 10
    """Answered calls within the window that `slow_factor` takes, of it and of another."""
    slow_s: SecondsOrNone = 0.1
    """How much longer a slow endpoint's typical call must take at least."""
    window_s: Seconds = 30.0
    """The window in which calls are looked at."""
    backoff_s: Seconds = 0.25
    """How long a lost endpoint is left alone at first, a fifth more or less."""
    outlier_backoff_s: Seconds = 5.0
    """How long a failing or slow endpoint is left alone at first."""
    longest_backoff_s: Seconds = 10.0
    """How long an endpoint is left alone at most."""
    trials: AtLeastOne = 3
    """Calls that must go well until an endpoint on trial is healthy."""
    panic_share: ShareOrNone = 0.25
    """With a smaller part of a model's endpoints healthy, those that are failing or slow are used,
    too; 0: only if none is."""
    retry_share: ShareOrNone = 0.2
    """Part of a shard's calls that may be retried."""
    retries_per_s: NotNegative = 3.0
    """Retries per second that a shard may do besides."""
    killer_s: Seconds = 600.0
    """How long a request is refused that has killed two instances."""
    killers: AtLeastOne = 1024
    """Requests that are remembered for having run on an instance that died."""
    idempotency_s: SecondsOrNone = 600.0
    """How long an answer is kept for its [idempotency key](api.md#idempotency-keys)."""
    idempotency_bytes: AtLeastOne = 64 * 1024 * 1024
    """What all kept answers may take, 1 KiB for each included; the oldest leave first."""
    idempotency_answer_bytes: AtLeastOne = 4 * 1024 * 1024
    """A larger answer is not kept, and its key runs the model again."""
    check_s: Seconds = 60.0
    """Between two looks whether an endpoint's model fits its dialect; new ones are looked at at
    once."""
    report_s: Seconds = 1.0
    """How often it tells control how full it is; when it gets full or is it no more, at once."""
    drain_s: SecondsOrNone = 10.0
    """For calls in flight, on leaving."""
    forward_margin_s: SecondsOrNone = 0.05
    """A call that could wait here is forwarded if it is served sooner elsewhere by so much."""
    max_hops: FewOrNone = 2
    """How often a call may change its colo; 0: no call is forwarded to another colo."""
    events_flush_s: Seconds = 0.01
    """Events of so long go into one batch: what a kill -9 loses
    ([events](analytics.md#from-a-server-to-the-store))."""
    events_slots: AtLeastOne = 64
    """Batches that may be sent and not acknowledged; what comes then waits in the spool."""
    events_pending: AtLeastOne = 4096
    """Events that may wait for room in the slots or the spool; beyond it they are dropped and
    counted."""
    events_watchdog_s: Seconds = 10.0
    """A connection to the collector whose acknowledgements stay away for so long is opened anew."""
    events_close_s: Seconds = 5.0
    """For the last acknowledgements, on leaving."""
    events_spool_mb: AtLeastZero = 1024
    """Largest spool of a server, in the state folder's `spool`; 0: none, and what is not
    acknowledged is in memory alone."""
    events_sync_s: Seconds = 1.0
    """What has waited for so long is brought from the system's cache to the disk."""
    events_adopt_s: Seconds = 60.0
    """How often a server looks for spools of others that never came back, while it is connected."""
    max_message_bytes: MessageBytes = 64 * 1024 * 1024
    """Largest gRPC message."""
    coalesce_s: SecondsOrNone = 0.0007
    """While 16 streams or more of a Triton bring parts in a row, the process rests so long after
    it has read and sent some, less than 4 kB, and takes those that come meanwhile together; 0:
    never; the first after a pause goes at once; `lean` alone."""
    http_connections: AtLeastOne = 512
    """Open connections to each address of kind `openai_http`."""
    http_ca: Path | None = None
    """PEM file with the authority that https of kind `openai_http` trusts, in place of the
    system's."""
    keys: Path | None = None
    """Folder with a file for each bearer key, which the catalog names as `backend.key`; as a
    command runs it, `keys` in the state folder unless set."""
    transport: Transport = "lean"
    """What hops from entries and other servers come in over, and those to Triton and other servers
    [go over](operating.md#the-transport); either takes calls of both."""
    weight_free: NotNegative = 1.0
    """What a whole endpoint's free permits are worth in the [choice of an
    endpoint](../ARCHITECTURE.md#endpoint-choice)."""
    weight_latency: NotNegative = 0.25
    """What it costs to be the slowest."""
    weight_adapter: NotNegative = 4.0
    """What it is worth to have the call's adapter in memory."""
    weight_session: NotNegative = 2.0
    """What it is worth to have had the session's last call."""
    weight_prefix: NotNegative = 1.0
    """What it is worth to have read all of the prompt before; less for less of it."""
    load_bound: Factor = 1.25
    """An endpoint that is fuller than so many times the mean is not chosen for what it holds."""
    spare_fill: ShareOrNone = 0.25
    """But up to this share of its permits in use it always may be."""
    latency_memory_s: Seconds = 10.0
    """After so long a latency counts half."""
    sessions_kept: AtLeastOne = 4096
    """Sessions that are remembered of each endpoint, those used last."""
    prefixes_kept: AtLeastOne = 8192
    """Hashes of prompts that are remembered of each endpoint, those used last; a conversation has
    about ten."""

    @property
    def outliers(self) -> Limits:
        """Return from where on an endpoint is an outlier."""
        return Limits(**{each.name: getattr(self, each.name) for each in fields(Limits)})

    @property
    def probes(self) -> ProbeLimits:
        """Return how often endpoints are probed."""
        return ProbeLimits(
            every_s=self.probe_s,
            timeout_s=self.probe_timeout_s,
            idle_s=self.probe_idle_s,
            at_once=self.probes_at_once,
        )

    @property
    def retries(self) -> RetryLimits:
        """Return what the budget of retries is made of."""
        return RetryLimits(share=self.retry_share, per_s=self.retries_per_s)

    @property
    def forwarding(self) -> Settings:
        """Return when calls are forwarded."""
        return Settings(margin_ms=1000 * self.forward_margin_s, max_hops=self.max_hops)

    def sink(self, spool_dir: Path) -> SinkConfig:
        """Return the bounds of events on their way, with their spool in a folder."""
        spooling = SpoolingConfig(
            folder=spool_dir,
            bounds=SpoolConfig(most_bytes=self.events_spool_mb << 20),
            sync_seconds=self.events_sync_s,
            adopt_seconds=self.events_adopt_s,
        )
        return SinkConfig(
            flush_seconds=self.events_flush_s,
            slots=self.events_slots,
            pending_events=self.events_pending,
            watchdog_seconds=self.events_watchdog_s,
            close_seconds=self.events_close_s,
            spooling=spooling if self.events_spool_mb else None,
        )

    @property
    def kept(self) -> KeptLimits:
        """Return what keeping answers for their keys may cost."""
        return KeptLimits(
            keep_s=self.idempotency_s,
            total_bytes=self.idempotency_bytes,
            answer_bytes=self.idempotency_answer_bytes,
        )

    @property
    def preferences(self) -> Preferences:
        """Return what counts how much when an endpoint is chosen."""
        return Preferences(
            free=self.weight_free,
            latency=self.weight_latency,
            adapter=self.weight_adapter,
            session=self.weight_session,
            prefix=self.weight_prefix,
            bound=self.load_bound,
            spare=self.spare_fill,
            latency_s=self.latency_memory_s,
            sessions=self.sessions_kept,
            prefixes=self.prefixes_kept,
        )
