"""The catalog's files: what is read, and that every mistake names its file and line."""

from pathlib import Path

import pytest

from libs.common.catalog import Model
from libs.common.catalog_files import load_catalog
from libs.common.yaml_files import Problems

ROOT = Path(__file__).parents[2]
GOOD = """\
name: "@cf/demo/one"
task: text-generation
backend: {external: ["127.0.0.1:8001"]}
lora: {enabled: true}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = tmp_path / "config"
    (config / "models").mkdir(parents=True)
    (config / "finetunes").mkdir()
    return config


def mistakes(folder: Path) -> list[str]:
    with pytest.raises(Problems) as caught:
        load_catalog(folder, root=folder.parent)
    return str(caught.value).splitlines()


def test_the_shipped_catalog_stands() -> None:
    catalog = load_catalog(ROOT / "config", root=ROOT)

    assert {m.name for m in catalog.models} >= {
        "@cf/demo/text-generation",
        "@cf/demo/text-embeddings",
    }
    assert all(isinstance(each, Model) for each in catalog.models)


def test_what_is_left_out_has_its_default(folder: Path) -> None:
    (folder / "models/one.yaml").write_text(GOOD)

    (model,) = load_catalog(folder, root=folder.parent).models

    assert (model.permits.per_instance, model.shards, model.served_as) == (4, 1, "one")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            GOOD + "permitz: {}\n",
            "config/models/one.yaml:5: permitz: unknown; known here: name, task",
        ),
        (GOOD + "permits:\n  queue: -1\n", "one.yaml:6: permits.queue: input should be greater"),
        (GOOD + "permits:\n  per_instnce: 1\n", "one.yaml:6: permits.per_instnce: unknown; known"),
        (GOOD + "shards: many\n", "one.yaml:5: shards: input should be a valid integer"),
        (GOOD + "name: again\n", "one.yaml:5: name: given twice"),
        (GOOD + "scaling: {min: 3, max: 2}\n", "one.yaml:5: scaling.min: 3 is above max, 2"),
        (GOOD + "fallbacks: [x]\n", "one.yaml:5: fallbacks: 'x' is not in the catalog"),
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
            "one.yaml:3: backend.kind: this version serves triton only",
        ),
        ("name: a\ntask: dumb-pipe\n", "one.yaml:1: backend: give a `repository` to load, or"),
        (GOOD + "access: {accounts: [1]}\n", "one.yaml:5: access.accounts"),
    ],
    ids=lambda value: value[-30:].strip() if isinstance(value, str) else None,
)
def test_a_mistake_is_told_with_its_line(folder: Path, text: str, mistake: str) -> None:
    (folder / "models/one.yaml").write_text(text)

    assert any(mistake in line for line in mistakes(folder)), mistakes(folder)


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
    ],
    ids=["unknown model", "missing files"],
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
