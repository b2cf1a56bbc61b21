"""`constellation simulate`: what it prints, writes and refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from services import commands
from services.scheduler.simulate.families import NAMES

FIELDS = {
    "policy",
    "trace",
    "configuration",
    "instance_hours",
    "ratio_to_clairvoyant",
    "ratio_to_best_peer",
    "late_share",
    "late_10s_share",
    "dropped",
    "longest_wait_s",
    "scale_actions",
    "instances_started",
    "decision_p99_ms",
}


def make_trace(path: Path, *, minutes: int = 90, around: float = 200.0) -> Path:
    """A load that swings, with a step in it."""
    lines = ["t,requests"]
    for minute in range(minutes):
        step = 2 if minute > 0.8 * minutes else 1
        lines.append(f"{60 * minute},{round(around * step * (1.2 + math.sin(minute / 9)))}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return make_trace(tmp_path / "waves.csv")


def simulate(*arguments: object) -> None:
    commands.run(["simulate", *map(str, arguments)])


def said(*arguments: object) -> str:
    """The one line that it refuses with."""
    with pytest.raises(SystemExit) as caught:
        simulate(*arguments)
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


def test_all_policies_are_shown_with_all_figures(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate("--trace", trace, "--json", tmp_path / "out.json", "--png", tmp_path / "out.png")

    found = json.loads((tmp_path / "out.json").read_bytes())
    assert [each["policy"] for each in found["results"]] == list(NAMES)
    assert all(each.keys() == FIELDS for each in found["results"])
    by_name = {each["policy"]: each for each in found["results"]}
    assert by_name["clairvoyant"]["ratio_to_clairvoyant"] == 1
    assert by_name["clairvoyant"]["decision_p99_ms"] is None  # it decides nothing on the way
    assert 0 < by_name["ours"]["decision_p99_ms"] < 1000
    assert by_name["clairvoyant"]["late_share"] <= 0.001
    assert by_name["static"]["late_share"] == 0
    assert by_name["static"]["ratio_to_clairvoyant"] > 1.2
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert shown.startswith("8 permits per instance; service 4 s unless the trace says, cv 1; boot")
    assert [line.split()[0] for line in shown.splitlines()[5:16]] == list(NAMES)


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_trace(tmp_path / "others.csv", around=90)
    outputs = []
    for number, jobs in enumerate((1, 2)):
        file = tmp_path / f"{number}.json"
        options = ("--policy", "hpa,ours", "--no-timing", "--jobs", jobs, "--json", file)
        simulate("--trace", trace, "--trace", other, *options)
        outputs.append((file.read_bytes(), capsys.readouterr().out))

    assert outputs[0] == outputs[1]
    assert b"decision_p99_ms" not in outputs[0][0]
    assert "p99 ms" not in outputs[0][1]
    assert "all traces, geometric means" in outputs[0][1]


def test_another_seed_gives_other_requests(trace: Path, tmp_path: Path) -> None:
    late = []
    for seed in (1, 2):
        file = tmp_path / f"{seed}.json"
        simulate("--trace", trace, "--policy", "hpa", "--seed", seed, "--json", file)
        late.append(json.loads(file.read_bytes())["results"][0]["late_share"])

    assert late[0] != late[1]


def test_one_configuration_is_chosen_on_some_traces_and_shown_on_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some, others = tmp_path / "some", tmp_path / "others"
    some.mkdir()
    others.mkdir()
    make_trace(some / "a.csv", minutes=60)
    make_trace(others / "b.csv", minutes=60, around=300)
    make_trace(others / "c.csv", minutes=60, around=100)

    simulate(
        *("--choose", some, "--apply", others, "--policy", "static,hpa,ours", "--slo", "0.01"),
        *("--json", tmp_path / "out.json"),
    )

    found = json.loads((tmp_path / "out.json").read_bytes())
    assert found["chosen"].keys() == {"static", "hpa", "ours"}
    assert [(each["trace"], each["policy"]) for each in found["results"]] == [
        (trace, policy) for trace in ("b", "c") for policy in ("static", "hpa", "ours")
    ]
    for each in found["results"]:
        assert each["configuration"] == found["chosen"][each["policy"]]
    assert "\nchosen\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((), "expected either --trace FILE, or --choose DIR and --apply DIR"),
        (("--choose", "."), "expected either --trace FILE, or --choose DIR and --apply DIR"),
        (
            ("--trace", "{trace}", "--trace", "{trace}"),
            "expected traces of different names, got waves twice",
        ),
        (
            ("--trace", "{trace}", "--policy", "hpa,magic"),
            f"--policy: expected all or of {', '.join(NAMES)}; got 'magic'",
        ),
        (
            ("--trace", "{trace}", "--min", "3", "--max", "2"),
            "--max: expected at least --min, 3; got 2",
        ),
        (
            ("--trace", "{trace}", "--json", "nowhere/a.json"),
            "--json: expected a file in a folder that exists, got nowhere/a.json",
        ),
        (
            ("--trace", "nowhere.csv"),
            "[Errno 2] No such file or directory: 'nowhere.csv'",
        ),
    ],
)
def test_what_is_wrong_is_one_line(
    trace: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], line: str
) -> None:
    given = (each.format(trace=trace) for each in options)

    assert said(*given) == f"constellation: {line}"


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("--permits", "0", "expected a whole number, 1 to 10000, got '0'"),
        ("--service-mean", "nan", "expected 0.001 to 86400, got 'nan'"),
        ("--service-cv", "-1", "expected 0 to 10, got '-1'"),
        ("--boot", "1.5", "expected a whole number, 0 to 86400, got '1.5'"),
        ("--max", "many", "expected a whole number, 1 to 100000, got 'many', nor auto"),
        ("--slo", "2", "expected 1e-05 to 1, got '2'"),
        ("--jobs", "65", "expected a whole number, 1 to 64, got '65'"),
    ],
)
def test_a_value_out_of_bounds_is_told_with_what_would_be_right(
    capsys: pytest.CaptureFixture[str], option: str, value: str, line: str
) -> None:
    with pytest.raises(SystemExit):
        simulate("--trace", "some.csv", option, value)

    assert f"argument {option}: {line}" in capsys.readouterr().err


def test_a_bad_trace_is_told_before_anything_is_simulated(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("t,requests\n0,1\n60,lots\n")

    line = said("--trace", trace, "--trace", bad)

    assert line.endswith("bad.csv:3: requests: expected a number from 0, got 'lots'")
