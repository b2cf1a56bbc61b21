"""Settings: the file, the environment over it, and every mistake at once."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.common.config import load_config
from libs.common.yaml_files import Problems


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
