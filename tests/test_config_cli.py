"""`constellation config check`: all mistakes at once, where they are, and what would be right."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from libs.common.catalog import Model
from libs.common.config import load_config
from libs.common.yaml_files import Problems
from services.commands import _parser
from services.config_cli import _check, mistakes
from services.control.app import Config, build
from services.settings import load_or_last
from tests.test_commands import ROOT

GOOD = 'name: "@cf/x/one"\ntask: text-generation\nbackend: {external: ["127.0.0.1:8001"]}\n'
COLOS = "colos:\n  - {name: ams, region: eu}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    made = tmp_path / "config"
    (made / "models").mkdir(parents=True)
    (made / "constellation.yaml").write_text(COLOS)
    (made / "models/one.yaml").write_text(GOOD)
    return made


def checked(folder: Path, *flags: str) -> None:
    asyncio.run(
        _check(_parser({}).parse_args(["config", "check", "--config", str(folder), *flags]))
    )


def test_what_is_shipped_fits() -> None:
    found, fits = mistakes(ROOT / "config", {})

    assert found == []
    assert "settings of 6 services, 10 colos, 16 models and 2 finetunes fit" in fits


def test_mistakes_of_every_kind_are_told_together(config: Path) -> None:
    settings = "entry:\n  body_s: soon\n  max_bodi_bytes: 1\nschedular: {}\n"
    (config / "constellation.yaml").write_text("colos: [{name: ams, regio: eu}]\n" + settings)
    (config / "models/one.yaml").write_text(GOOD + "permitz: {}\n")
    (config / "staged/lhr").mkdir(parents=True)
    (config / "staged/lhr/one.yaml").write_text(GOOD + "shards: none\n")
    env = {"CONSTELLATION_NODE_DRAIN_S": "-1", "CONSTELLATION_SERVER_PROBES_S": "1"}

    found, _ = mistakes(config, env)

    assert [str(each).partition("; known")[0] for each in found] == [
        "CONSTELLATION_NODE_DRAIN_S: input should be greater than or equal to 0, got '-1'",
        "CONSTELLATION_SERVER_PROBES_S: unknown, perhaps probe_s is meant",
        "config/constellation.yaml:1: colos.0.regio: unknown, perhaps region is meant",
        "config/constellation.yaml:3: entry.body_s: input should be a valid number, unable to parse"
        " string as a number, got 'soon'",
        "config/constellation.yaml:4: entry.max_bodi_bytes: unknown, perhaps max_body_bytes is"
        " meant",
        "config/constellation.yaml:5: schedular: unknown, perhaps scheduler is meant",
        "config/models/one.yaml:4: permitz: unknown, perhaps permits is meant",
        "config/staged/lhr/one.yaml:4: shards: input should be a valid integer, unable to parse"
        " string as an integer, got 'none'",
    ]


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ("entry: {http: nonsense}", "entry.http: value error, expected host:port, got 'nonsense'"),
        ('entry: {http: "0.0.0.0:http"}', "entry.http: value error, expected host:port"),
        ("entry: {usage: bad}", "entry.usage: value error, expected host:port, got 'bad'"),
        ("analytics: {listen: '7200'}", "analytics.listen: value error, expected host:port"),
        ("control: {listen: x}", "control.listen: value error, expected host:port, got 'x'"),
        ("control: {store_url: nonsense}", "control.store_url: value error, expected driver://"),
        (
            'control: {store_url: "mysql://u:p@h/x"}',
            "control.store_url: value error, expected a database of sqlite or postgresql",
        ),
        (
            "entry: {hop_cert: /c, hop_ca: /a}",
            "entry.hop_cert: hop_cert, hop_key, hop_ca belong together: expected all or none",
        ),
        ("entry: {tls_key: /k}", "entry.tls_key: tls_cert, tls_key belong together: expected all"),
    ],
)
def test_a_setting_that_its_service_would_end_of_is_told(
    config: Path, settings: str, mistake: str
) -> None:
    (config / "constellation.yaml").write_text(f"{COLOS}{settings}\n")

    (found,), _ = mistakes(config, {})

    assert str(found).startswith(f"config/constellation.yaml:3: {mistake}")


def test_a_file_that_is_not_here_is_noted_since_it_may_be_on_another_machine(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = "entry: {usage: 'unix:/x/usage.sock', rpc_token_file: /no/token}\n"
    (config / "constellation.yaml").write_text(COLOS + settings)

    checked(config)

    printed = capsys.readouterr()
    assert "1 models and 0 finetunes fit" in printed.out
    assert printed.err == (
        "note: config/constellation.yaml:3: entry.rpc_token_file: there is no file /no/token on"
        " this machine\n"
    )


def test_mistakes_are_lines_or_json_and_exit_code_1(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checked(config)
    assert "1 colos, 1 models and 0 finetunes fit" in capsys.readouterr().out
    (config / "models/one.yaml").write_text(GOOD + "shards: 0\n")

    with pytest.raises(SystemExit, match="one mistake in "):
        checked(config)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("config/models/one.yaml:4: shards: input should be greater than")
    with pytest.raises(SystemExit):
        checked(config, "--json")
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["file"], told["line"], told["field"]) == ("config/models/one.yaml", 4, "shards")


def test_a_settings_file_that_is_none_does_not_hide_the_catalogs_mistakes(config: Path) -> None:
    (config / "constellation.yaml").write_text("colos: [\n")
    (config / "models/one.yaml").write_text("name: x\n")

    found, _ = mistakes(config, {})

    assert [each.file for each in found] == ["config/constellation.yaml", "config/models/one.yaml"]


async def test_a_control_that_starts_beside_a_bad_edit_serves_what_was_good_last(
    config: Path, tmp_path: Path
) -> None:
    settings, state = load_config(config, {}), tmp_path / "state"
    (config / "models/one.yaml").write_text("name: x\n")
    with pytest.raises(Problems, match=r"one.yaml:1: task: required"):
        load_or_last(config, {}, settings, state_dir=state)
    (config / "models/one.yaml").write_text(GOOD)
    load_or_last(config, {}, settings, state_dir=state)
    (config / "models/one.yaml").write_text("name: x\n")

    found = load_or_last(config, {}, settings, state_dir=state)

    assert [model.name for model in found.models] == ["@cf/x/one"]
    control = build(Config(state_dir=state), catalog=found.models)
    assert isinstance(found.models[0], Model)
    assert not control.mistakes


@pytest.mark.parametrize("edit", ['repository: "a\\0b"', 'repository: "\\ud800"'])
async def test_no_edit_keeps_it_from_starting_on_what_was_good_last(
    config: Path, tmp_path: Path, edit: str
) -> None:
    settings, state = load_config(config, {}), tmp_path / "state"
    load_or_last(config, {}, settings, state_dir=state)
    (config / "models/one.yaml").write_text(GOOD.replace('external: ["127.0.0.1:8001"]', edit))

    found = load_or_last(config, {}, settings, state_dir=state)

    assert [model.backend.repository for model in found.models] == [""]


async def test_a_kept_catalog_that_is_none_does_not_hide_the_mistake(
    config: Path, tmp_path: Path
) -> None:
    settings, state = load_config(config, {}), tmp_path / "state"
    load_or_last(config, {}, settings, state_dir=state)
    (state / "catalog/models/one.yaml").write_text("name: kept\n")
    (config / "models/one.yaml").write_text("name: edited\ntask: text-generation\n")

    with pytest.raises(Problems, match=r"config/models/one.yaml:1: backend: give a"):
        load_or_last(config, {}, settings, state_dir=state)


def test_a_staged_model_must_be_of_the_catalog_and_a_colo_and_keep_what_colos_share(
    config: Path,
) -> None:
    (config / "staged/lhr").mkdir(parents=True)
    (config / "staged/ams").mkdir()
    (config / "staged/lhr/one.yaml").write_text(GOOD + "shards: 2\n")
    (config / "staged/ams/gone.yaml").write_text(GOOD.replace("one", "gone"))
    (config / "staged/ams/one.yaml").write_text(GOOD + "permits: {queue: 9}\n")

    found, _ = mistakes(config, {})

    assert [str(each) for each in found] == [
        "config/staged/ams/gone.yaml:1: name: '@cf/x/gone' is not in the catalog, which has it for"
        " the other colos",
        "config/staged/lhr/one.yaml:1: there is no colo 'lhr'; there are: ams",
        "config/staged/lhr/one.yaml:4: shards: must be that of the catalog's model: how many there"
        " are says the same to every entry",
    ]
