"""A real Prometheus with the configuration and rules of deploy/, faster where a test wants it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import yaml

from tests.system.harness import ROOT, answers, free_ports, until

DEPLOYED = ROOT / "deploy/prometheus"
DURATION = re.compile(r"(?<=[\[ ])(\d+)([smhd])(?=\]|$)")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Prometheus:
    """Scrapes addresses, by service; a context manager."""

    def __init__(
        self,
        folder: Path,
        targets: Mapping[str, Sequence[str]],
        *,
        every: str = "1s",
        sooner: int = 1,
    ) -> None:
        """With `sooner` all times of the rules are so many times shorter."""
        binary = shutil.which("prometheus")
        if binary is None:
            pytest.skip("no prometheus: apt install prometheus")
        self._folder = folder / "prometheus"
        (self._folder / "targets").mkdir(parents=True)
        (self._folder / "rules").mkdir()
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(configuration(every)))
        for rules in DEPLOYED.glob("rules/*.yml"):
            text = faster(rules.read_text("utf-8"), sooner)
            (self._folder / "rules" / rules.name).write_text(text)
        self.scrape(targets)
        (port,) = free_ports(1)
        self.base = f"http://127.0.0.1:{port}"
        self._command = [
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        self._http = httpx.Client(timeout=20, trust_env=False)

    def scrape(self, targets: Mapping[str, Sequence[str]]) -> None:
        """Say what is scraped, as a file that is read again."""
        found = [{"targets": [*at], "labels": {"service": name}} for name, at in targets.items()]
        (self._folder / "targets/found.yml").write_text(json.dumps(found))

    def __enter__(self) -> Prometheus:
        log = (self._folder / "log").open("w")
        self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        log.close()
        until(lambda: answers(f"{self.base}/-/ready"), seconds=20, what=self._said)
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(20)

    def query(self, text: str) -> list[dict[str, Any]]:
        """What there is now."""
        return self._ask("query", query=text)

    def over(self, text: str, *, seconds: float, until_s: float) -> list[dict[str, Any]]:
        """What there was in the last seconds, step by step."""
        span = {"start": until_s - seconds, "end": until_s, "step": 1}
        return self._ask("query_range", query=text, **span)

    def firing(self) -> set[str]:
        """The alerts that fire."""
        found = self.query('ALERTS{alertstate="firing"}')
        return {each["metric"]["alertname"] for each in found}

    def told(self) -> str:
        """The alerts that fire, in words."""
        return f"firing: {sorted(self.firing())}"

    def _ask(self, what: str, **parameters: Any) -> list[dict[str, Any]]:
        answer = self._http.get(f"{self.base}/api/v1/{what}", params=parameters).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def _said(self) -> str:
        return (self._folder / "log").read_text()


def configuration(every: str) -> dict[str, Any]:
    """The one of deploy/, which looks as often as this."""
    config: dict[str, Any] = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": every, "evaluation_interval": every}
    return config


def faster(rules: str, by: int) -> str:
    """Rules with all ranges and all `for` so many times shorter, and never less than 2 s."""
    if by == 1:
        return rules

    def shorter(found: re.Match[str]) -> str:
        return f"{max(2, int(found[1]) * SECONDS[found[2]] // by)}s"

    lines = rules.splitlines(keepends=False)
    timed = (
        DURATION.sub(shorter, line) if "[" in line or "for: " in line else line for line in lines
    )
    return "\n".join(timed) + "\n"
