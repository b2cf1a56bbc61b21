"""Settings that are refused: what may hold a secret is never shown, wherever it stands."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from libs.common.bounds import DatabaseUrl, HttpUrl
from libs.common.config import load_config
from libs.common.databases import StoreUrl
from libs.common.hop_settings import FOR_ALL
from libs.common.otlp_settings import Pairs
from libs.common.yaml_files import Problems, is_secret
from services.commands import run
from services.config_cli import mistakes
from services.node.docker_settings import EngineUrl
from services.settings import CLASSES, GIVEN

CANARY, REFUSED = "hunter2", "refused:"
NAMES = re.compile(r"(^|_)(token|secret|password|headers|url|key)$")
URLS = (HttpUrl, DatabaseUrl, EngineUrl, StoreUrl)  # which may have a user and a password
IN_TEXT = [
    f"http://u:{CANARY}@h",
    f"http://h:{CANARY}/db",
    f"pg8000://h:{CANARY}/db",
    f"x: {CANARY}",
    f"{CANARY} ü",
]
IN_YAML: list[Any] = [*IN_TEXT, [CANARY], {CANARY: CANARY}, {"a": CANARY}, [[CANARY]]]
AS_WRITTEN = [f"*{CANARY}", f"!{CANARY} x", f"!!{CANARY} x", f"!{CANARY}!x y", f"&a &{CANARY} x"]
OF_ALL = ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_ENDPOINT", FOR_ALL["rpc_token"]]


def secret_settings() -> Iterator[tuple[str, str]]:
    """Every setting that may hold a secret, as its name or its type says."""
    for service, cls in CLASSES.items():
        hints = typing.get_type_hints(cls, include_extras=True)
        for name, hint in hints.items():
            if hint in URLS or (NAMES.search(name) and hint in (str, Pairs)):
                yield service, name


SECRETS = list(secret_settings())


@pytest.fixture
def config(tmp_path: Path) -> Path:
    made = tmp_path / "config"
    (made / "models").mkdir(parents=True)
    (made / "constellation.yaml").write_text("colos: [{name: ams, region: eu}]\n")
    return made


def told_by(folder: Path, env: Mapping[str, str], service: str) -> str:
    """What is said of a service's settings; nothing where they fit."""
    cls = CLASSES[service]
    given = {name: value for name, value in GIVEN.items() if name in cls.__dataclass_fields__}
    try:
        return repr(load_config(folder, env).settings(service, cls, given))
    except Problems as error:
        return f"{REFUSED} {error} {error!r} {error.problems}"


def test_all_that_are_known_to_be_secret_are_among_them() -> None:
    assert {name for _, name in SECRETS} >= {
        *("token", "rpc_token", "report_token", "prefix_secret", "clickhouse_password"),
        *("store_url", "clickhouse_url", "state_url", "setup_url", "otlp", "otlp_headers"),
        "docker_host",
    }


def test_what_is_hidden_is_what_may_hold_a_secret() -> None:
    hidden = [
        (service, field.name)
        for service, cls in CLASSES.items()
        for field in dataclasses.fields(cls)
        if is_secret(cls, (field.name,))
    ]

    assert sorted(hidden) == sorted(SECRETS)


@pytest.mark.parametrize(("service", "name"), SECRETS)
def test_no_bad_value_of_a_file_is_told(config: Path, service: str, name: str) -> None:
    texts = [yaml.safe_dump({service: {name: each}}) for each in IN_YAML]
    texts += [f"{service}:\n  {name}: {each}\n" for each in AS_WRITTEN]
    refused = 0
    for text in texts:
        (config / "constellation.yaml").write_text(text)

        told = told_by(config, {}, service)

        refused += told.startswith(REFUSED)
        assert CANARY not in told, text
    assert refused >= len(AS_WRITTEN) + 4  # that no list and no mapping is taken for a text


@pytest.mark.parametrize(("service", "name"), SECRETS)
def test_no_bad_value_of_the_environment_is_told(config: Path, service: str, name: str) -> None:
    variable = f"CONSTELLATION_{service}_{name}".upper()
    for number, text in enumerate(IN_TEXT):
        file = config.parent / f"{number}"
        file.write_text(text)
        for env in ({variable: text}, {f"{variable}_FILE": str(file)}):
            assert CANARY not in told_by(config, env, service), env


@pytest.mark.parametrize("variable", OF_ALL)
def test_nor_one_that_counts_for_all_and_it_is_told_once(config: Path, variable: str) -> None:
    for text in IN_TEXT:
        found, _ = mistakes(config, {variable: text})

        assert CANARY not in repr(found)
        assert len(found) <= 1


@pytest.mark.parametrize(
    ("command", "variable", "value"),
    [
        ("scheduler", "CONSTELLATION_ANALYTICS_CLICKHOUSE_URL", f"http://u:{CANARY}@h"),
        ("analytics", "CONSTELLATION_ANALYTICS_CLICKHOUSE_URL", f"http://u:{CANARY}@h"),
        ("scheduler", "CONSTELLATION_CONTROL_STORE_URL", f"postgresql://u:p@h:{CANARY}/db"),
        ("config", "CONSTELLATION_SCHEDULER_OTLP_HEADERS", f"authorization: {CANARY}"),
        ("scheduler", "CONSTELLATION_SCHEDULER_OTLP_HEADERS", f"authorization: {CANARY}"),
        ("scheduler", "OTEL_EXPORTER_OTLP_HEADERS", f"authorization {CANARY}"),
    ],
)
def test_no_command_prints_it(
    config: Path,
    command: str,
    variable: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("CONSTELLATION_STATE_DIR", str(config.parent / "state"))
    words = [command, "check"] if command == "config" else [command]

    with pytest.raises(SystemExit) as refused:
        run([*words, "--config", str(config)])

    printed = "".join((*capfd.readouterr(), str(refused.value)))
    assert variable in printed
    assert CANARY not in printed
