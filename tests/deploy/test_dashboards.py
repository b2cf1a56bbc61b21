"""Dashboards as Grafana reads them; that no panel is empty is shown in tests/system."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml

from tests.deploy.queries import DASHBOARDS, ROOT, dashboard, panel_queries, panels

UNITS = {"short", "reqps", "s", "bytes", "percentunit"}
TYPES = {"timeseries", "table"}
BUILT_IN = {"__rate_interval"}
VARIABLE = re.compile(r"\$\{?(\w+)")
WIDTH = 24
every_board = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


@every_board
def test_panels_have_ids_of_their_own_and_a_place_where_no_other_is(path: Path) -> None:
    board = dashboard(path)
    ids = [each["id"] for each in board["panels"]]
    taken = [
        {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        for place in (each["gridPos"] for each in board["panels"])
    ]

    assert len(ids) == len(set(ids))
    assert all(x < WIDTH for each in taken for x, _ in each)
    assert not any(one & other for one, other in itertools.combinations(taken, 2))


@every_board
def test_panels_say_what_they_show_in_units_that_grafana_has(path: Path) -> None:
    titles = [each["title"] for each in panels(path)]

    assert len(titles) == len(set(titles))
    for panel in panels(path):
        assert panel["type"] in TYPES
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        refs = [each["refId"] for each in panel["targets"]]
        assert refs
        assert len(refs) == len(set(refs))


@every_board
def test_variables_that_are_used_are_there_and_the_other_way_round(path: Path) -> None:
    variables = {each["name"]: each for each in dashboard(path)["templating"]["list"]}
    texts = [each.text for each in panel_queries(path)]
    texts += [each["definition"] for each in variables.values() if each["type"] == "query"]
    used = {name for text in texts for name in VARIABLE.findall(text)}

    assert used - BUILT_IN | {"datasource"} == variables.keys()
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"


def test_boards_have_names_of_their_own_and_are_told() -> None:
    boards = [dashboard(path) for path in DASHBOARDS]
    told = (ROOT / "docs/operating.md").read_text("utf-8")

    assert len({each["uid"] for each in boards}) == len({each["title"] for each in boards}) == 4
    assert all(f"`{path.name}`" in told for path in DASHBOARDS)


def test_grafana_is_told_where_boards_and_prometheus_are() -> None:
    folder = ROOT / "deploy/grafana/provisioning"
    (provider,) = yaml.safe_load((folder / "dashboards/constellation.yml").read_text())["providers"]
    (source,) = yaml.safe_load((folder / "datasources/constellation.yml").read_text())[
        "datasources"
    ]

    assert provider["type"] == "file"
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert source["type"] == "prometheus"
    assert source["isDefault"] is True
