"""Settings: the file, the environment over it, and every mistake at once."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.common.config import load_config
from libs.common.yaml_files import Problems
from services.settings import check


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    name: str
    drain_s: float = 5.0
    port: int = 80
    quiet: bool = False


def folder(tmp_path: Path, text: str) -> Path:
    (tmp_path / "constellation.yaml").write_text(text)
    return tmp_path


def test_the_environment_overrides_the_file_and_the_file_the_default(tmp_path: Path) -> None:
    env = {"CONSTELLATION_SERVER_PORT": "81", "CONSTELLATION_SERVER_QUIET": "true"}
    file = load_config(folder(tmp_path, "server: {drain_s: 2, port: 90}\n"), env)

    settings = file.settings("server", Settings, name="ams")

    assert settings == Settings(name="ams", drain_s=2.0, port=81, quiet=True)


def test_all_bad_values_are_told_with_where_they_came_from(tmp_path: Path) -> None:
    env = {"CONSTELLATION_SERVER_PORT": "eighty"}
    file = load_config(folder(tmp_path, "server:\n  drain_s: soon\n  speed: 1\n"), env)

    with pytest.raises(Problems) as caught:
        file.settings("server", Settings, name="ams")

    lines = str(caught.value).splitlines()
    assert lines[0].startswith("CONSTELLATION_SERVER_PORT: input should be a valid integer")
    assert ":2: server.drain_s: input should be a valid number" in lines[1]
    assert ":3: server.speed: unknown; known here: name, drain_s, port, quiet" in lines[2]


def test_colos_are_read_and_checked(tmp_path: Path) -> None:
    (colo,) = load_config(folder(tmp_path, "colos: [{name: ams, latitude: 52}]\n"), {}).colos
    assert (colo.name, colo.latitude) == ("ams", 52.0)

    with pytest.raises(Problems, match=r"colos\.0\.latitude: input should be less than"):
        load_config(folder(tmp_path, "colos: [{name: ams, latitude: 520}]\n"), {})


def test_an_unknown_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=r":1: sever: unknown; known here: colos, entry, server"):
        load_config(folder(tmp_path, "sever: {}\n"), {})


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=r"constellation.yaml: No such file"):
        load_config(tmp_path, {})


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("colos: 5", ":1: colos: expected a list of colos"),
        ("colos: {a: b}", ":1: colos: expected a list of colos"),
        ("colos: [5]", ":1: colos.0: expected fields with values"),
        ("\nscheduler: 5", ":2: scheduler: expected settings with values"),
        ("scheduler: [1]", ":1: scheduler: expected settings with values"),
        ("[1]", ":1: expected sections: colos, entry"),
        ("abc", ":1: expected sections: colos, entry"),
        ("1: 2", ":1: 1: unknown; known here: colos"),
        ("colos:\n- {name: a}\n- {name: a}", ":3: colos.1.name: there is another 'a'"),
        (
            "colos:\n- {name: a, nodes: [n]}\n- {name: b, nodes: [n]}",
            ":3: colos.1.nodes: there is a node 'n' in a already",
        ),
        (
            "colos:\n- {name: a}\n- {name: b, nodes: [a-node]}",
            ":3: colos.1.nodes: there is a node 'a-node' in a already",
        ),
    ],
)
def test_a_file_of_another_form_is_told_with_its_line(
    tmp_path: Path, text: str, mistake: str
) -> None:
    with pytest.raises(Problems) as caught:
        load_config(folder(tmp_path, text), {})

    assert mistake in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SCHEDULER_TICK_S", "0"),
        ("SCHEDULER_TICK_S", "nan"),
        ("SCHEDULER_MEASURE_S", "-1"),
        ("SCHEDULER_FLOOR_S", "inf"),
        ("SCHEDULER_KEEP_DECISIONS", "0"),
        ("CONTROL_GRACE_S", "-1"),
        ("CONTROL_WATCH_BOUND", "0"),
        ("SERVER_PROBE_S", "-5"),
        ("SERVER_REPORT_S", "0"),
        ("NODE_STEP_S", "0"),
        ("NODE_BOOT_S", "-1"),
        ("ANALYTICS_THREADS", "0"),
    ],
)
def test_a_setting_out_of_its_bounds_is_told(tmp_path: Path, variable: str, value: str) -> None:
    name = f"CONSTELLATION_{variable}"

    with pytest.raises(Problems, match=f"^{name}: input should be"):
        check(load_config(folder(tmp_path, ""), {name: value}))
