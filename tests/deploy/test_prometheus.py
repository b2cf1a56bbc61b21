"""What Prometheus is given: rules that name what there is, alerts that are tested and explained."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml

from libs.common.errors import BY_REASON
from tests.deploy.queries import PROMETHEUS, ROOT, SCRAPED, Query, alerts, all_queries, known, rules

TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
CODES = re.compile(r'code=~"([\d|]+)"')
# Refused, lost or late, and not for what the caller did: capacity, time, lost endpoints, bugs.
CALLERS = {"aborted", "rate_limited", "token_rate_limited", "neurons_used_up"}
UPLOADS = {"no_room", "too_many_uploads"}
OTHERS = 7000  # from which code on it is no call of a model that is refused


def promtool(*arguments: str | Path) -> str:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("no promtool: apt install prometheus")
    done = subprocess.run([tool, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_finds_nothing_wrong_with_configuration_and_rules() -> None:
    told = promtool("check", "config", PROMETHEUS / "prometheus.yml")

    assert f"{len(alerts())} rules found" in told
    assert f"{len(rules('recording.yml'))} rules found" in told


def test_the_unit_tests_of_alerts_pass() -> None:
    assert promtool("test", "rules", *TESTS).count("SUCCESS") == len(TESTS)


def test_every_alert_is_shown_to_fire_to_rest_and_to_rest_again() -> None:
    looks: dict[str, list[list[bool]]] = defaultdict(list)
    for path in TESTS:
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            by_alert: dict[str, list[bool]] = defaultdict(list)
            for look in test["alert_rule_test"]:
                by_alert[look["alertname"]].append(bool(look.get("exp_alerts")))
            for alert, fired in by_alert.items():
                looks[alert].append([each for each, _ in groupby(fired)])

    assert looks.keys() == {each["alert"] for each in alerts()}
    for alert, found in looks.items():
        # what is measured over days is shown to begin alone
        ends = [] if alert == "ConstellationErrorBudgetDrains" else [False]
        assert [False, True, *ends] in found, alert


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_it_is_and_where_it_is_told_what_to_do(rule: dict[str, Any]) -> None:
    told = rule["annotations"]
    page, _, anchor = told["runbook_url"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / page).read_text("utf-8"), re.M)

    assert rule["labels"]["severity"] in ("page", "ticket")
    assert told.keys() == {"summary", "description", "runbook_url"}
    assert all(told.values())
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings


def test_no_alert_is_explained_that_there_is_not() -> None:
    text = (ROOT / "docs/operating.md").read_text("utf-8")

    told = set(re.findall(r"^### (Constellation\w+)$", text, re.M))
    assert told == {each["alert"] for each in alerts()}


@pytest.mark.parametrize("place", all_queries())
def test_queries_name_metrics_and_labels_that_there_are(place: str) -> None:
    wrong = {query.where: list(_wrong(query)) for query in all_queries()[place]}

    assert {where: found for where, found in wrong.items() if found} == {}


def _wrong(query: Query) -> Iterator[str]:
    found = list(query.selectors())
    if not found and query.text != "vector(0.005)":
        yield "it names nothing"
    for name, asked in found:
        if name not in known():
            yield f"there is no {name}"
        elif strange := asked - known()[name] - SCRAPED:
            yield f"{name} has no {strange}"
    labels = set.union(*(known().get(name, set()) for name, _ in found), set(SCRAPED))
    if strange := query.groupings() - labels:
        yield f"nothing has {strange}"


def test_a_query_for_what_there_is_not_is_found() -> None:
    queries = (
        'sum by (colour) (rate(constellation_entry_requests_total{statuz="200"}[5m]))',
        "constellation_entry_requests > 0",
    )

    assert [len(list(_wrong(Query("", each)))) for each in queries] == [2, 1]


def test_what_counts_as_our_failure_is_one_set_of_codes() -> None:
    found = {each for rule in rules("recording.yml") for each in CODES.findall(rule["expr"])}
    ours = {
        str(cls.code)
        for reason, cls in BY_REASON.items()
        if (cls.http >= 500 or cls.http in (408, 429)) and cls.code < OTHERS
        if reason not in CALLERS | UPLOADS
    }

    assert len(found) == 1
    assert set(found.pop().split("|")) == ours
