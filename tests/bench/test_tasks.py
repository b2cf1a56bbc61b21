"""The benchmark of tasks: every task is in it, and it measures calls that are right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import tasks
from services.entry.tasks.registry import TASKS, TaskRegistry


def test_every_task_is_measured() -> None:
    assert {case.task for case in tasks.cases()} == TASKS.keys()


@pytest.mark.parametrize("case", list(tasks.cases()), ids=lambda case: case.name)
def test_every_step_of_a_case_takes_its_time(case: tasks.Case) -> None:
    row = tasks.measure(case, TaskRegistry(lambda path: path), rounds=1)

    assert all(row[step] > 0 for step in tasks.COLUMNS)


def test_the_command_prints_a_table_and_writes_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (case,) = (each for each in tasks.cases() if each.name == "text-generation")
    monkeypatch.setattr(tasks, "cases", lambda: [case])
    found = tmp_path / "found.json"

    monkeypatch.setattr(tasks, "MOST_US", 1e6)
    assert tasks.main(["--rounds", "1", "--json", str(found)]) == 0
    monkeypatch.setattr(tasks, "MOST_US", 0.0)
    assert tasks.main(["--rounds", "1"]) == 1

    assert "validation of text-generation" in capsys.readouterr().out
    assert [row["case"] for row in json.loads(found.read_text())] == ["text-generation"]
