"""The catalog's files: what is read, and that every mistake names its file and line."""

from pathlib import Path
from typing import get_args

import pytest

from libs.common import catalog_files
from libs.common.catalog import Model, TaskName
from libs.common.catalog_files import load_catalog
from services.entry.tasks.registry import TASKS
from tests.libs.catalogs import COLOS, mistakes

ROOT = Path(__file__).parents[2]
GOOD = """\
name: "@cf/demo/one"
task: text-generation
backend: {external: ["127.0.0.1:8001"]}
lora: {enabled: true}
"""
HTTP = GOOD.replace("{external", "{kind: openai_http, dialect: vllm, external").replace(
    "127.0.0.1:8001", "https://models.example"
)
FOLDER = GOOD.replace('external: ["127.0.0.1:8001"]', "repository: r")
COMMAND = GOOD.replace(
    '{external: ["127.0.0.1:8001"]}',
    "{kind: openai_http, dialect: vllm, command: [serve, '--port={port}'], ready_path: /health}",
)


def test_the_shipped_catalog_stands() -> None:
    catalog = load_catalog(ROOT / "config", root=ROOT)

    assert {m.task for m in catalog.models} == set(get_args(TaskName))
    assert all(isinstance(each, Model) for each in catalog.models)


def test_what_is_left_out_has_its_default(folder: Path) -> None:
    (folder / "models/one.yaml").write_text(GOOD)

    (model,) = load_catalog(folder, root=folder.parent).models

    assert (model.permits.per_instance, model.shards, model.served_as) == (4, 1, "one")


def test_a_server_with_openais_api_is_read(folder: Path) -> None:
    text = HTTP.replace("dialect", "served_as: org/Model-7B, key: mine, dialect")
    (folder / "models/one.yaml").write_text(text)

    (model,) = load_catalog(folder, root=folder.parent).models

    assert model.backend.external == ("https://models.example",)
    assert (model.served_as, model.backend.key) == ("org/Model-7B", "mine")


def test_a_command_that_nodes_run_is_read(folder: Path) -> None:
    (folder / "models/one.yaml").write_text(COMMAND)

    (model,) = load_catalog(folder, root=folder.parent).models

    assert model.backend.command == ("serve", "--port={port}")
    assert not model.backend.shares


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            GOOD + "permitz: {}\n",
            "config/models/one.yaml:5: permitz: unknown, perhaps permits is meant; known here",
        ),
        (GOOD + "permits:\n  queue: -1\n", "one.yaml:6: permits.queue: input should be greater"),
        (
            GOOD + "permits:\n  per_instnce: 1\n",
            "one.yaml:6: permits.per_instnce: unknown, perhaps per_instance is meant; known",
        ),
        (GOOD + "shards: many\n", "one.yaml:5: shards: input should be a valid integer"),
        (GOOD + "name: again\n", "one.yaml:5: name: given twice"),
        (GOOD + "scaling: {min: 3, max: 2}\n", "one.yaml:5: scaling.min: 3 is above max, 2"),
        (GOOD + "fallbacks: [x]\n", "one.yaml:5: fallbacks: 'x' is not in the catalog"),
        (GOOD + "aliases: [x]\nfallbacks: [x]\n", "one.yaml:6: fallbacks: 'x' is the model itself"),
        (
            GOOD.replace("127.0.0.1:8001", "here"),
            "one.yaml:3: backend.external: expected host:port",
        ),
        (GOOD.replace("text-generation", "poetry"), "one.yaml:2: task: input should be 'text-gen"),
        ("task: text-generation\n", "one.yaml:1: name: required"),
        ("name: a\n\ttask: b\n", "one.yaml:2: found character"),
        ("- a list\n", "one.yaml:1: expected fields with values"),
        (
            GOOD.replace("{external", "{kind: cog, external"),
            "one.yaml:3: backend.kind: this version serves triton, openai_http only",
        ),
        (
            GOOD.replace("{external", "{kind: openai_http, external"),
            "one.yaml:3: backend.dialect: kind openai_http speaks openai_http, vllm, sglang, not s",
        ),
        (
            GOOD.replace("{external", "{dialect: sglang, external"),
            "one.yaml:3: backend.dialect: kind triton speaks vllm, tensorrt_llm, tensorrt_llm_api,",
        ),
        (
            GOOD.replace("{external", "{key: ../k, external"),
            "one.yaml:3: backend.key: '../k' is to name a file",
        ),
        (
            HTTP.replace("external:", "repository: r, external:"),
            "one.yaml:3: backend: give `external` addresses or a `command`, and no `repository`",
        ),
        (
            HTTP.replace("https://", "ftp://"),
            "one.yaml:3: backend.external: expected host:port, or http(s)://host",
        ),
        (
            COMMAND.replace("command:", "external: [a:1], command:"),
            "one.yaml:3: backend.command: a `command` stands alone",
        ),
        (COMMAND.replace("{port}", "80"), "one.yaml:3: backend.command: nothing in it says {port}"),
        (
            COMMAND.replace("/health", "health"),
            "one.yaml:3: backend.ready_path: expected a path that begins with /",
        ),
        (
            "name: a\ntask: dumb-pipe\n",
            "one.yaml:1: backend: give a `repository` to load, a `command`",
        ),
        (GOOD + "access: {accounts: [1]}\n", "one.yaml:5: access.accounts"),
        (GOOD + "timeouts: {total_s: .inf}\n", "one.yaml:5: timeouts.total_s: input should be"),
        (GOOD + "timeouts: {idle_s: .nan}\n", "one.yaml:5: timeouts.idle_s: input should be"),
        (GOOD + "price: {per_step: .inf}\n", "one.yaml:5: price.per_step: input should be less"),
        (GOOD + "permits:\n  queue: 10000000000\n", "one.yaml:6: permits.queue: input should be"),
        (
            GOOD + "schema: {max_tokens: {maximum: abc}}\n",
            'one.yaml:5: schema.max_tokens: no JSON Schema: "abc" is not of type',
        ),
        (GOOD + "schema:\n  prompt: {pattern: '('}\n", "one.yaml:6: schema.prompt: no JSON Schema"),
        (
            GOOD + "schema: {max_tokens: {maxmum: 5}}\n",
            "one.yaml:5: schema.max_tokens.maxmum: no keyword of JSON Schema",
        ),
        (GOOD + "schema: {max_tokens: 5}\n", "one.yaml:5: schema.max_tokens: no keyword"),
        (
            HTTP.replace("text-generation", "translation"),
            "one.yaml:2: task: kind openai_http serves text-generation, text-embeddings",
        ),
        (GOOD.replace('"@cf/demo/one"', '"a\\nb"'), "one.yaml:1: name: expected a name without"),
        (GOOD.replace('"@cf/demo/one"', '" "'), "one.yaml:1: name: expected a name without"),
        (
            GOOD.replace("{external", "{served_as: ../x, external"),
            "one.yaml:3: backend.served_as: '../x' is to name a folder",
        ),
        (GOOD.replace(":8001", ":99999"), "one.yaml:3: backend.external: expected host:port"),
        (
            GOOD + "scaling: {max: 2, region: {eu: {min: 5}}}\n",
            "one.yaml:5: scaling.region.eu.min: 5 is above max, 2",
        ),
        (
            GOOD + "scaling: {schedules: [{cron: 0 25 * * *, minutes: 5, min: 1}]}\n",
            "one.yaml:5: scaling.schedules.0.cron: hour: expected *, or 0 to 23, got '25'",
        ),
        (
            GOOD
            + "scaling: {schedules: [{cron: 0 5 * * *, minutes: 5, min: 1, timezone: Mars}]}\n",
            "one.yaml:5: scaling.schedules.0.timezone: expected a name like Europe/Berlin, "
            "got 'Mars'",
        ),
        (
            GOOD + "scaling: {schedules: [{cron: 0 5 * * *, minutes: 5, min: 1, region: x}]}\n",
            "one.yaml:5: scaling.schedules.0.region: no colo is in this region; there are: eu, us",
        ),
        (
            GOOD + "scaling: {schedules: [{cron: 0 5 * * *, minutes: 5, min: 4}]}\n",
            "one.yaml:5: scaling.schedules.0.min: 4 is above max, 1",
        ),
        (
            GOOD + "scaling: {region: {atlantis: {max: 0}}}\n",
            "one.yaml:5: scaling.region.atlantis: no colo is in this region; there are: eu, us",
        ),
        (
            GOOD.replace("{external", "{chat_template: bad.jinja, external"),
            "one.yaml:3: backend.chat_template: no Jinja template: ",
        ),
        (GOOD + 'listing: {properties: {a: "\\ud800"}}\n', "one.yaml:1: it cannot be handed out"),
        (
            GOOD + f"listing: {{properties: {{a: {'[' * 120}{']' * 120}}}}}\n",
            "one.yaml:1: it cannot be handed out",
        ),
        (FOLDER.replace("r}", '"a\\0b"}'), "one.yaml:3: backend.repository: no path of a file: "),
        (FOLDER.replace("r}", '"\\ud800"}'), "one.yaml:3: backend.repository: "),
        (
            GOOD.replace("{external", '{chat_template: "a\\ud800", external'),
            "one.yaml:3: backend.chat_template: no path of a file: ",
        ),
        (
            FOLDER.replace("r}", "r" * 300 + "}"),
            "one.yaml:3: backend.repository: File name too long: ",
        ),
        (
            GOOD.replace("{external", f"{{chat_template: {'r' * 300}, external"),
            "one.yaml:3: backend.chat_template: File name too long: ",
        ),
        (
            GOOD.replace("{external", "{chat_template: round, external"),
            "one.yaml:3: backend.chat_template: Too many levels of symbolic links: ",
        ),
        (
            GOOD.replace("{external", "{chat_template: latin.jinja, external"),
            "one.yaml:3: backend.chat_template: not UTF-8 text (its line 2)",
        ),
        (
            GOOD.replace("{external", "{chat_template: deep.jinja, external"),
            "one.yaml:3: backend.chat_template: no Jinja template: nested too deeply",
        ),
        (GOOD + '"\\ud800": 1\n', "one.yaml:5: \\ud800: unknown"),
        (GOOD + "description: a\0b\n", "one.yaml:5: special characters are not allowed"),
        (GOOD + "description: 2024-13-45\n", "one.yaml:5: no value: month must be in 1..12"),
        (GOOD + "description: !!bool x\n", "one.yaml:5: no value: "),
        (GOOD + "aliases: !!python/object/apply:os.system [ls]\n", "one.yaml:5: could not"),
        (GOOD + "? [a]\n: b\n", "one.yaml:5: a key must be plain text"),
        (GOOD + "aliases: &a [*a]\n", "one.yaml:5: aliases.0: contains itself"),
        ("a: " + "[" * 3000 + "]" * 3000, "one.yaml: nested too deeply"),
        (
            "a0: &a0 [1]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 20)}]\n" for n in range(1, 9)),
            "too much in one file",
        ),
    ],
    ids=lambda value: value[-30:].strip() if isinstance(value, str) else None,
)
def test_a_mistake_is_told_with_its_line(folder: Path, text: str, mistake: str) -> None:
    (folder.parent / "bad.jinja").write_text("{% for %}")
    (folder.parent / "deep.jinja").write_text("{{" + "(" * 5000 + ")" * 5000 + "}}")
    (folder.parent / "latin.jinja").write_bytes(b"fine\n\xe9")
    (folder.parent / "round").symlink_to("round")
    (folder / "models/one.yaml").write_text(text)

    assert any(mistake in line for line in mistakes(folder)), mistakes(folder)


def test_what_is_not_utf_8_is_told_with_its_line(folder: Path) -> None:
    (folder / "models/one.yaml").write_bytes(GOOD.encode() + b"description: \xe9\n")

    assert mistakes(folder) == ["config/models/one.yaml:5: not UTF-8 text"]


def test_what_nobody_has_foreseen_is_a_mistake_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(catalog_files, "_check_listing", fails)
    (folder / "models/one.yaml").write_text(GOOD)

    assert mistakes(folder) == ["config: cannot be read: ZeroDivisionError('unforeseen')"]


def test_all_mistakes_of_all_files_are_told_at_once(folder: Path) -> None:
    (folder / "models/one.yaml").write_text(GOOD + "shards: 0\ntier: 7\n")
    (folder / "models/two.yaml").write_text("task: [\n")

    assert [line.split(": ")[0] for line in mistakes(folder)] == [
        "config/models/one.yaml:5",
        "config/models/one.yaml:6",
        "config/models/two.yaml:2",
    ]


def test_two_models_with_one_name_are_refused(folder: Path) -> None:
    (folder / "models/one.yaml").write_text(GOOD)
    (folder / "models/two.yaml").write_text(
        GOOD.replace("one", "two") + 'aliases: ["@cf/demo/one"]\n'
    )

    (line,) = mistakes(folder)

    assert (
        line == "config/models/two.yaml:1: name: '@cf/demo/one' is also in config/models/one.yaml"
    )


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("id: f\nname: f\nmodel: nobody\n", "f.yaml:3: model: 'nobody' is not in the catalog"),
        (
            "id: f\nname: f\nmodel: '@cf/demo/one'\nadapter: a\n",
            "f.yaml:4: adapter: there is no adapter_config.json",
        ),
        (
            "id: f\nname: f\nmodel: '@cf/demo/one'\nadapter: \"a\\0b\"\n",
            "f.yaml:4: adapter: no path of a file: embedded null byte",
        ),
        ('id: f\nname: "\\ud800"\nmodel: "@cf/demo/one"\n', "f.yaml:2: name: input should be"),
        ("id: a/b\nname: f\nmodel: '@cf/demo/one'\n", "f.yaml:1: id: 'a/b' is to name a folder"),
        ("id: ..\nname: f\nmodel: '@cf/demo/one'\n", "f.yaml:1: id: '..' is to name a folder"),
    ],
    ids=["unknown model", "missing files", "a zero", "half a character", "a path", "a parent"],
)
def test_a_finetune_is_checked_against_its_model_and_files(
    folder: Path, text: str, mistake: str
) -> None:
    (folder / "models/one.yaml").write_text(GOOD)
    (folder / "finetunes/f.yaml").write_text(text)

    assert any(mistake in line for line in mistakes(folder)), mistakes(folder)


def test_a_broken_model_is_not_told_again_at_its_finetunes(folder: Path) -> None:
    (folder / "models/one.yaml").write_text(GOOD + "shards: 0\n")
    (folder / "finetunes/f.yaml").write_text("id: f\nname: f\nmodel: '@cf/demo/one'\n")

    (line,) = mistakes(folder)

    assert line.startswith("config/models/one.yaml:5: shards")


def test_a_good_narrowing_and_region_are_accepted(folder: Path) -> None:
    (folder / "models/one.yaml").write_text(
        GOOD
        + "schema: {max_tokens: {maximum: 512, default: 64}, required: [prompt]}\n"
        + "scaling: {region: {eu: {max: 0}, us: {min: 1}}}\n"
    )

    assert load_catalog(folder, root=folder.parent, colos=COLOS).models


@pytest.mark.parametrize(
    ("text", "served_as", "why"),
    [
        (
            '# it\nname: "other"\ninput [{name: "x"}]',
            "",
            "names the model other, and it is served as m",
        ),
        ('name: "other"', "mine", "served as mine: set `served_as: other`, or"),
        ('name: "other"', "other", ""),
        ('name: "m"', "", ""),
        ('# name: "other"\nbackend: "python"\ninput [\n{\nname: "x"\n}]', "", ""),
        ('instance_group [{count: 1}]\nname: "late"', "", ""),
    ],
    ids=["folder", "served_as", "the same", "folder's", "none", "not looked for"],
)
def test_a_folder_that_names_its_model_otherwise_is_refused(
    folder: Path, text: str, served_as: str, why: str
) -> None:
    (folder.parent / "m").mkdir()
    (folder.parent / "m/config.pbtxt").write_text(text)
    backend = f'repository: m, served_as: "{served_as}"'
    model = GOOD.replace('external: ["127.0.0.1:8001"]', backend)
    (folder / "models/one.yaml").write_text(model)

    if why:
        (line,) = mistakes(folder)
        assert why in line
    else:
        load_catalog(folder, root=folder.parent)


def test_two_models_that_are_one_inside_triton_are_refused(folder: Path) -> None:
    (folder.parent / "m").mkdir()
    (folder.parent / "m/config.pbtxt").touch()
    for name in ("one", "two"):
        text = GOOD.replace("one", name).replace('external: ["127.0.0.1:8001"]', "repository: m")
        (folder / f"models/{name}.yaml").write_text(text)

    (line,) = mistakes(folder)

    assert line.startswith("config/models/two.yaml:3: backend.served_as: 'm' is what @cf/demo/one")


def test_two_models_that_others_serve_may_be_one_inside_triton(folder: Path) -> None:
    for name in ("one", "two"):
        text = GOOD.replace("one", name).replace("{external", "{served_as: m, external")
        (folder / f"models/{name}.yaml").write_text(text)

    assert len(load_catalog(folder, root=folder.parent).models) == 2


def test_every_task_that_a_model_may_have_is_one_that_entry_knows() -> None:
    assert set(get_args(TaskName)) == TASKS.keys()
