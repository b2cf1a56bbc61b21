"""The catalog's folder while control runs: what is taken up, and when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from libs.common.catalog import Model
from libs.common.staged_files import Staged
from libs.common.world_map import Resource
from services.control.catalog_folder import CatalogFolder, keep

ROOT = Path(__file__).parents[2]
GOOD = 'name: "@cf/x/one"\ntask: text-generation\nbackend: {external: ["127.0.0.1:8001"]}\n'
FOLDER = GOOD.replace('external: ["127.0.0.1:8001"]', "repository: models/one")


class Control:
    """Notes what it is handed."""

    def __init__(self) -> None:
        self.models: list[Model] = []
        self.mistakes: Sequence[str] = ()

    def take_catalog(self, found: Sequence[Resource | Staged]) -> None:
        self.models = [each for each in found if isinstance(each, Model)]
        self.mistakes = ()

    def refuse_catalog(self, mistakes: Sequence[str]) -> None:
        self.mistakes = mistakes


@pytest.fixture
def config(tmp_path: Path) -> Path:
    made = tmp_path / "config"
    (made / "models").mkdir(parents=True)
    (made / "constellation.yaml").write_text("colos:\n  - {name: ams, region: eu}\n")
    (made / "models/one.yaml").write_text(GOOD)
    return made


@pytest.fixture
def control() -> Control:
    return Control()


def catalog_of(config: Path, *, again_s: float = 5.0) -> CatalogFolder:
    """Return one that has everything in the folder before it still to read."""
    keep(config.parent / "none", config.parent / "state/catalog")
    return CatalogFolder(config, kept=config.parent / "state/catalog", again_s=again_s)


def served(control: Control) -> list[str]:
    return sorted(each.name for each in control.models)


async def looked(catalog: CatalogFolder, control: Control, times: int = 2) -> Sequence[str]:
    for _ in range(times):
        await catalog.look(control)
    return control.mistakes


async def test_a_change_is_read_once_two_looks_found_the_same(
    config: Path, control: Control
) -> None:
    catalog = catalog_of(config)
    await looked(catalog, control)
    (config / "models/two.yaml").write_text(GOOD.replace("one", "two"))

    await looked(catalog, control, 1)
    assert served(control) == ["@cf/x/one"]
    await looked(catalog, control, 1)
    assert served(control) == ["@cf/x/one", "@cf/x/two"]


async def test_no_part_of_a_file_that_is_being_written_is_taken_up(
    config: Path, control: Control
) -> None:
    whole = (ROOT / "config/models/text-generation.yaml").read_text()
    (config.parent / "models").symlink_to(ROOT / "models")
    catalog, path = catalog_of(config), config / "models/one.yaml"
    found: list[Model] = []
    for end in [at for at, each in enumerate(whole, 1) if each == "\n"]:
        path.write_text(whole[:end])
        await looked(catalog, control, 1)
        found += control.models

    assert not found
    assert not await looked(catalog, control, 1)
    assert len(served(control)) == 1


@pytest.mark.parametrize("harm", ["moved", "unreadable", "a file"])
async def test_models_that_are_not_where_they_were_are_served_on(
    config: Path, control: Control, harm: str
) -> None:
    catalog, models = catalog_of(config), config / "models"
    await looked(catalog, control)

    models.rename(config / "models.old")
    if harm == "unreadable":
        models.symlink_to("models")  # as one that may not be entered is for others than root
    if harm == "a file":
        models.touch()
    (mistake,) = await looked(catalog, control)

    assert mistake.startswith("config/models: ")
    assert served(control) == ["@cf/x/one"]
    models.unlink(missing_ok=True)
    (config / "models.old").rename(models)
    assert not await looked(catalog, control)


async def test_models_that_are_gone_at_a_start_are_not_taken_away(
    config: Path, control: Control
) -> None:
    keep(config, config.parent / "state/catalog")
    (config / "models").rename(config / "models.old")
    catalog = CatalogFolder(config, kept=config.parent / "state/catalog")

    (mistake,) = await looked(catalog, control)

    assert "there is no such folder any more" in mistake


async def test_the_last_model_can_be_removed(config: Path, control: Control) -> None:
    catalog = catalog_of(config)
    await looked(catalog, control)
    (config / "models/one.yaml").unlink()

    assert not await looked(catalog, control)
    assert served(control) == []


async def test_what_was_refused_is_read_again_and_told_once(
    config: Path, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    (config / "models/one.yaml").write_text(FOLDER)
    catalog = catalog_of(config, again_s=0.0)
    (mistake,) = await looked(catalog, control, 4)
    assert "there is no config.pbtxt in it" in mistake
    assert caplog.text.count("the catalog stays as it was") == 1

    (config.parent / "models/one").mkdir(parents=True)
    (config.parent / "models/one/config.pbtxt").touch()

    assert not await looked(catalog, control, 1)
    assert served(control) == ["@cf/x/one"]


async def test_what_was_refused_is_not_read_at_each_look(config: Path, control: Control) -> None:
    (config / "models/one.yaml").write_text(FOLDER)
    catalog = catalog_of(config, again_s=60.0)
    await looked(catalog, control)
    (config.parent / "models/one").mkdir(parents=True)
    (config.parent / "models/one/config.pbtxt").touch()

    assert await looked(catalog, control)


async def test_what_nobody_has_foreseen_in_an_edit_does_not_end_control(
    config: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise ZeroDivisionError("unforeseen")

    catalog = catalog_of(config)
    monkeypatch.setattr(control, "take_catalog", fails)

    assert await looked(catalog, control) == [
        "config: cannot be taken up: ZeroDivisionError('unforeseen')"
    ]
