"""The whole machinery once, for a second: backend, a proxy of ours, and the load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import gateway, workloads
from bench.measure import MEASURES, Settings, backend_running, lasting, run_load
from bench.measure import job as job_of
from bench.peers import PEERS
from bench.processes import Failure
from bench.targets import Started

SETTINGS = Settings(seconds=0.5, warm_s=0.2, connections=4, streams=4, paced_streams=80, tokens=16)


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


@pytest.mark.timeout(180)
def test_a_run_writes_tables_numbers_and_a_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept_signals: None
) -> None:
    files = {"--json": tmp_path / "found.json", "--png": tmp_path / "found.png"}
    flags = ["--targets", "none", "--peers", "aiohttp", "--workloads", "unary,stream_coalesced"]
    sizes = ["--rounds", "1", "--seconds", "0.3", "--tokens", "16"]

    code = gateway.main([*flags, *sizes, *(str(each) for pair in files.items() for each in pair)])

    assert code == 0
    assert "us/request" in capsys.readouterr().out
    document = json.loads(files["--json"].read_text())
    assert document.keys() >= {"machine", "settings", "results", "large", "features", "failures"}
    assert document["machine"].keys() >= {"cpu", "cores", "kernel", "python", "versions"}
    assert {row["workload"] for row in document["results"]} == {"unary", "stream_coalesced"}
    assert files["--png"].read_bytes().startswith(b"\x89PNG")
