"""Settings: the file, the environment over it, and every mistake at once."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.common.config import load_config, unknown_variables
from libs.common.otlp_settings import OtlpSettings, pairs_in
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


def test_a_value_may_be_in_a_file_that_a_variable_names(tmp_path: Path) -> None:
    secret = tmp_path / "port"
    secret.write_text("81\n")
    env = {"CONSTELLATION_SERVER_PORT_FILE": str(secret), "CONSTELLATION_SERVER_NAME_FILE": ""}
    file = load_config(folder(tmp_path, "server: {port: 90, name: ams}\n"), env)

    assert file.settings("server", Settings) == Settings(name="ams", port=81)
    assert unknown_variables(env, {"server": Settings}) == []

    said = load_config(tmp_path, {**env, "CONSTELLATION_SERVER_PORT": "82"})
    assert said.settings("server", Settings).port == 82


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (None, "PORT_FILE: .*secret: No such file or directory"),
        (b"\xff", "PORT_FILE: .*secret: it is no UTF-8 text"),
        (b"eighty", "PORT_FILE: input should be a valid integer"),
    ],
)
def test_a_file_that_has_no_good_value_is_told_with_its_variable(
    tmp_path: Path, content: bytes | None, mistake: str
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    env = {"CONSTELLATION_SERVER_PORT_FILE": str(secret)}
    file = load_config(folder(tmp_path, "server: {name: ams}\n"), env)

    with pytest.raises(Problems, match=f"^CONSTELLATION_SERVER_{mistake}"):
        file.settings("server", Settings)


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
    with pytest.raises(
        Problems, match=r":1: sever: unknown, perhaps server is meant; known here: colos, entry"
    ):
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
        ("ANALYTICS_CLICKHOUSE_WRITE_SECONDS", "301"),
    ],
)
def test_a_setting_out_of_its_bounds_is_told(tmp_path: Path, variable: str, value: str) -> None:
    name = f"CONSTELLATION_{variable}"

    with pytest.raises(Problems, match=f"^{name}: input should be"):
        check(load_config(folder(tmp_path, ""), {name: value}))


@pytest.mark.parametrize(
    ("url", "mistake"),
    [
        ("clickhouse:8123/events", "expected http(s)://host[:port]/database"),
        ("http://clickhouse:8123", "expected http(s)://host[:port]/database"),
        ("http://user:secret@clickhouse/events", "without user and password"),
        ("https://clickhouse:99999/events", "expected a port from 1 to 65535"),
    ],
)
def test_an_address_of_a_database_that_is_none_is_told(
    tmp_path: Path, url: str, mistake: str
) -> None:
    name = "CONSTELLATION_ANALYTICS_CLICKHOUSE_URL"

    with pytest.raises(Problems, match=re.escape(mistake)):
        check(load_config(folder(tmp_path, ""), {name: url}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced(OtlpSettings):
    trace_share: float = 1.0


OTLP = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_HEADERS": "k=a%20b"}


@pytest.mark.parametrize(
    ("env", "text", "expected"),
    [
        (OTLP, "{}", {"otlp": "http://c:4318", "otlp_headers": "k=a%20b"}),
        (
            OTLP | {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/v1/traces"},
            "{}",
            {"otlp": "http://t:1/v1/traces"},
        ),
        (OTLP, "{entry: {otlp: 'http://file:1'}}", {"otlp": "http://file:1"}),
        (OTLP, "{entry: {otlp: ''}}", {"otlp": ""}),
        (OTLP | {"CONSTELLATION_ENTRY_OTLP": "http://ours:1"}, "{}", {"otlp": "http://ours:1"}),
        (OTLP | {"OTEL_SDK_DISABLED": "true"}, "{}", {"otlp": ""}),
        (OTLP | {"OTEL_TRACES_EXPORTER": "none"}, "{}", {"otlp": ""}),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "2500"}, "{}", {"otlp_timeout_s": 2.5}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b"}, "{}", {"otlp_attributes": "a=b"}),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, "{}", {"trace_share": 0.0}),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
            "{}",
            {"trace_share": 0.25},
        ),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.25"}, "{}", {"trace_share": 1.0}),
    ],
)
def test_opentelemetrys_variables_count_where_ours_say_nothing(
    tmp_path: Path, env: dict[str, str], text: str, expected: dict[str, object]
) -> None:
    settings = load_config(folder(tmp_path, text + "\n"), env).settings("entry", Traced)

    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318", "http(s)://host"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "name=value"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "valid number"),
    ],
)
def test_a_bad_value_of_opentelemetrys_is_told_with_its_variable(
    tmp_path: Path, variable: str, value: str, said: str
) -> None:
    file = load_config(folder(tmp_path, "{}\n"), {variable: value})

    with pytest.raises(Problems) as caught:
        file.settings("entry", Traced)

    assert str(caught.value).startswith(f"{variable}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("http://c/otlp", "http://c/otlp/v1/traces"),
        ("http://c:4318/v1/traces", "http://c:4318/v1/traces"),
    ],
)
def test_spans_are_posted_below_the_address(address: str, url: str) -> None:
    assert Traced(otlp=address).traces_url == url


def test_pairs_are_decoded() -> None:
    assert pairs_in(" a=1, b=x%3Dy%2C ,") == {"a": "1", "b": "x=y,"}
