"""Where the catalog's files are: what nothing reads is told, and no folder is taken for empty."""

from pathlib import Path

import pytest

from libs.common.catalog_files import load_catalog
from libs.common.yaml_files import Problems
from tests.libs.catalogs import mistakes

GOOD = """\
name: "@cf/demo/one"
task: text-generation
backend: {external: ["127.0.0.1:8001"]}
"""


@pytest.mark.parametrize(
    ("path", "mistake"),
    [
        ("models/x.yml", "models/x.yml: nothing reads it under this name: call it x.yaml"),
        ("finetunes/x.yml", "finetunes/x.yml: nothing reads it under this name: call it x.yaml"),
        ("staged/ams/x.yml", "staged/ams/x.yml: nothing reads it under this name: call it x.yaml"),
        ("staged/y.yaml", "staged/y.yaml: nothing reads it here: it belongs into staged/<colo>/"),
        ("stage/ams/x.yaml", "stage: nothing reads this folder, perhaps staged is meant"),
    ],
)
def test_a_file_where_nothing_reads_it_is_told(folder: Path, path: str, mistake: str) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(GOOD)

    assert mistakes(folder) == [f"config/{mistake}"]


def test_a_copy_of_the_models_beside_them_is_none_of_the_catalogs_business(folder: Path) -> None:
    for name in ("models.old", "models2", "keys"):
        (folder / name).mkdir()
        (folder / name / "x.yaml").write_text(GOOD)

    assert not load_catalog(folder, root=folder.parent).models


def test_a_folder_that_cannot_be_read_is_no_empty_one(folder: Path) -> None:
    (folder / "models").rmdir()
    assert not load_catalog(folder, root=folder.parent).models
    (folder / "models").symlink_to("models")

    assert mistakes(folder) == ["config/models: Too many levels of symbolic links"]
    (folder / "models").unlink()
    with pytest.raises(Problems, match="config/models: there is no such folder any more"):
        load_catalog(folder, root=folder.parent, expected={"models"})
