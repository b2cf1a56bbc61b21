"""A real Prometheus that scrapes a loaded `up` of two colos, in which much goes wrong.

Every metric has its labels, no panel of a dashboard is empty, and alerts fire.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prometheus_client.parser import text_string_to_metric_families

from libs.common.catalog import Backend, Model, Permits
from libs.common.clients.control import ControlClient
from services import metric_table
from tests.deploy.queries import DASHBOARDS, panel_queries
from tests.short_dirs import short_dir
from tests.system.ghosts import haunt, pass_by
from tests.system.harness import CHAT, EMBED, Up, cleaned_up, until
from tests.system.load import streamed
from tests.system.prometheus import Prometheus
from tests.system.text_server import MODEL, TextServer

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("up")]
SICK = "@cf/test/sick"
RENTED = {"CONSTELLATION_NODE_PROVIDER": "rented", "CONSTELLATION_NODE_GPUS": "1"}
WORDS = {"prompt": "Hello!", "max_tokens": 6}
# The metrics of the seeds, and the labels that they have there or that say which of ours it is.
OF_MODEL = {"colo", "model"}
SCALED = {"model", "tier", "region"}
SEEDS: dict[str, set[str]] = {
    "constellation_server_requests_total": {*OF_MODEL, "status"},
    "constellation_server_errors_total": {*OF_MODEL, "internal", "http"},
    "constellation_server_infer_per_backend_total": {*OF_MODEL, "backend"},
    "constellation_server_infer_per_health_state_total": {*OF_MODEL, "state"},
    "constellation_server_turnstile_outcomes_total": {*OF_MODEL, "outcome"},
    "constellation_server_full_fraction": OF_MODEL,
    "constellation_server_total_permits": OF_MODEL,
    "constellation_server_mean_used_permits": OF_MODEL,
    "constellation_server_mean_queue_size": OF_MODEL,
    "constellation_server_forward_failures_total": OF_MODEL,
    "constellation_server_endpoints_removed": OF_MODEL,
    "constellation_server_external_endpoints": {*OF_MODEL, "host", "port"},
    "constellation_server_events_connect_err_total": {"server"},
    "constellation_server_events_write_err_total": {"server"},
    "constellation_server_events_ok_total": {"server"},
    "ai_scheduler_model_deployments": {*SCALED, "status", "gpu_model"},
    "ai_scheduler_requested_instances": SCALED,
    "ai_scheduler_min_requested_instances": SCALED,
    "ai_scheduler_max_requested_instances": SCALED,
    "ai_scheduler_autoscaler_measured_utilization": SCALED,
    "ai_scheduler_autoscaler_estimated_utilization": SCALED,
    "ai_scheduler_autoscaler_forecast_utilization": SCALED,
    "ai_scheduler_autoscaler_required_instances": SCALED,
    "ai_scheduler_autoscaler_snapshot_queue_length": SCALED,
    "ai_scheduler_autoscaler_snapshot_replica_count": SCALED,
    "ai_scheduler_external_instances": {"provider", "region", "model", "phase"},
    "ai_scheduler_external_nodes": {"provider", "region", "state"},
}


@dataclass(frozen=True)
class Observed:
    """What there is to look at once all has happened."""

    prometheus: Prometheus
    shown: str  # the page of metrics
    began: float
    ended: float

    def range(self, text: str) -> list[float]:
        """What a panel that shows all of it would draw."""
        asked = text.replace("$__rate_interval", "4s")
        for name in ("colo", "region", "model"):
            asked = asked.replace(f"${name}", ".*")
        found = self.prometheus.over(asked, seconds=self.ended - self.began, until_s=self.ended)
        points = (float(value) for series in found for _, value in series["values"])
        return [each for each in points if math.isfinite(each)]


def trouble(up: Up, servers: list[TextServer]) -> None:
    """Have whatever there is a metric of happen at least once."""
    call, (a, b, c) = up.client.run, servers

    def streaming(_: int) -> None:
        streamed(up.client, **WORDS)

    _put(up.state, *(each.address for each in servers))
    asyncio.run(pass_by(up.state, name="gone-node", colo="iad"))
    until(lambda: call(SICK, **WORDS).status_code == 200, seconds=10, what="the sick model")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(streaming, range(4)))
        list(pool.map(lambda _: call(EMBED, text="hi"), range(4)))
        call(CHAT, prompt="x", max_tokens=9999)  # refused for its body
        haunting = pool.submit(
            asyncio.run,
            haunt(up.state, model=CHAT, colo="iad", rival="iad-server", seconds=2.0),
        )
        list(pool.map(lambda n: _full(up, n), range(36)))
        haunting.result()
        for each in servers:
            each.mood = "breaking"
        list(pool.map(lambda _: _stream_of(up, SICK), range(4)))
        for each in servers:
            each.mood = "well"
        for number, each in enumerate((a, b), 1):  # one after the other, or it is the calls' fault
            each.mood = "failing"
            until(lambda n=number: _ejected(up, pool) >= n, seconds=30, what="one more is out")
        c.leave()
        until(lambda: _panics(up, pool), seconds=30, what="a panic")
        list(pool.map(streaming, range(4)))  # again: what is counted must be seen to grow


def _full(up: Up, number: int) -> None:
    """More calls than there are permits, of which some can wait for none of them."""
    options = {"maxQueueMs": 30} if number % 3 == 0 else {}
    up.client.run(CHAT, prompt="Hello!", max_tokens=24, options=options)


def _stream_of(up: Up, model: str) -> None:
    url = f"{up.client.account}/ai/run/{model}"
    with up.client.http.stream("POST", url, json={**WORDS, "stream": True}) as response:
        response.read()


def _ejected(up: Up, pool: ThreadPoolExecutor) -> float:
    """How often endpoints that fail were left alone, after some calls more."""
    _call(up, pool)
    found = {"model": SICK, "cause": "failing"}
    return up.client.metric("constellation_server_ejections_total", **found)


def _panics(up: Up, pool: ThreadPoolExecutor) -> bool:
    _call(up, pool)
    return up.client.metric("constellation_server_panics_total", model=SICK) > 0


def _call(up: Up, pool: ThreadPoolExecutor) -> None:
    """Some calls at once: what fails goes on to another model, and takes its time there."""
    list(pool.map(lambda _: up.client.run(SICK, prompt="Hello!", max_tokens=1), range(4)))


def _put(state: Path, *addresses: str) -> None:
    model = Model(
        name=SICK,
        task="text-generation",
        backend=Backend(
            kind="openai_http", dialect="vllm", served_as=MODEL, external=addresses, provider="them"
        ),
        permits=Permits(per_instance=2, queue=8),
        fallbacks=(CHAT,),
    )

    async def put() -> None:
        async with ControlClient(f"unix:{state}/control.sock") as control:
            await control.put(model)

    asyncio.run(put())


@pytest.fixture(scope="module")
def observed() -> Iterator[Observed]:
    began = time.time()
    with short_dir() as state, cleaned_up(state), ExitStack() as stack:
        servers = [stack.enter_context(TextServer()) for _ in range(3)]
        up = Up(state, "--colos", "ams,iad", env=RENTED).start()
        prometheus = stack.enter_context(Prometheus(state, {"up": [f"127.0.0.1:{up.http}"]}))
        until(lambda: prometheus.query("up == 1"), seconds=10, what="a scrape")
        trouble(up, servers)
        until(lambda: prometheus.firing(), seconds=10, what="an alert")
        time.sleep(2.5)  # two more scrapes
        shown = up.client.http.get(f"{up.client.base}/metrics").text
        yield Observed(prometheus, shown, began, time.time())
        up.client.close()
        assert up.service.stop() == 0
        assert _ends_of_lifecycle(state) == []


def _ends_of_lifecycle(state: Path) -> list[Any]:
    """Endpoints that ended without a begin, or twice."""
    with closing(duckdb.connect(str(state / "events.duckdb"), read_only=True)) as events:
        assert events.execute("SELECT count(*) FROM lifecycle_events").fetchall() > [(8,)]
        return events.execute(
            "SELECT endpoint, colo, model_id, begin_ts FROM lifecycle_events GROUP BY ALL "
            "HAVING count_if(end_ts = 0) <> 1 OR count_if(end_ts > 0) > 1"
        ).fetchall()


def test_every_metric_of_the_seeds_has_values_with_its_labels(observed: Observed) -> None:
    found: dict[str, set[frozenset[str]]] = {}
    for family in text_string_to_metric_families(observed.shown):
        for sample in family.samples:
            found.setdefault(sample.name, set()).add(frozenset(sample.labels))

    assert {name: found.get(name) for name in SEEDS} == {
        name: {frozenset(labels)} for name, labels in SEEDS.items()
    }


def test_every_metric_is_shown_as_the_table_says(observed: Observed) -> None:
    shown = {family.name: family for family in text_string_to_metric_families(observed.shown)}

    for told in (each for found in metric_table.all_metrics().values() for each in found):
        family = shown[told.name.removesuffix("_total") if told.type == "counter" else told.name]
        labels = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert family.type == told.type
        assert labels <= {frozenset(told.labels)}, told.name
        assert family.documentation.removesuffix(".") == told.meaning


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_panel_is_empty(observed: Observed, path: Path) -> None:
    empty = [each for each in panel_queries(path) if not observed.range(each.text)]

    assert empty == []


def test_what_is_recorded_counts_what_went_wrong(observed: Observed) -> None:
    failures = observed.range('constellation:entry_failures:ratio_rate5m{colo="ams"}')

    assert 0 < max(failures) < 1
    assert "ConstellationEndpointPanic" in observed.prometheus.firing()
