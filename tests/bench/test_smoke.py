"""The whole machinery once, for a second: backend, a proxy of ours, and the load."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import workloads
from bench.measure import MEASURES, Settings, backend_running, lasting, run_load
from bench.measure import job as job_of
from bench.peers import PEERS
from bench.processes import Failure
from bench.targets import Started

SETTINGS = Settings(seconds=0.5, warm_s=0.2, connections=4, streams=4, paced_streams=10, tokens=16)


@pytest.mark.timeout(180)
def test_a_proxy_is_measured_with_every_workload(tmp_path: Path) -> None:
    proxy = PEERS["aiohttp"]
    proxy.install()

    with backend_running() as backend, proxy.started(backend, tmp_path) as started:
        rows = {}
        for name in workloads.NAMES:
            ask = proxy.ask(name, lasting(SETTINGS), SETTINGS.tokens)
            assert ask is not None
            rows[name] = MEASURES[name](started, backend, ask, SETTINGS)

    assert all(row["cpu_us"] > 0 and row["rss_mb"] > 5 for row in rows.values())
    assert rows["unary"]["direct_p50_us"] > 0
    assert rows["stream_paced"]["kept_pace"] > 0.5


@pytest.mark.timeout(120)
def test_a_wrong_answer_fails_the_measurement() -> None:
    ask = workloads.chat(workloads.COALESCED, tokens=8, stream=False)  # asks for another answer
    wrong = workloads.Ask(path=ask.path, body=ask.body, markers=("not in it",))

    with backend_running() as backend:
        job = job_of(
            Started(address=backend.http, gateway=[]), wrong, SETTINGS, mode="closed", concurrency=2
        )
        with pytest.raises(Failure, match="WrongAnswer: there is no"):
            run_load(job, lambda _: None)
