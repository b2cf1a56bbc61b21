"""What the images are made of is what is tested."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.M)


def pinned(lock: str) -> set[tuple[str, str]]:
    return set(PINNED.findall((ROOT / lock).read_text()))


def test_the_images_have_the_versions_that_tests_run_with() -> None:
    assert pinned("deploy/image/requirements.lock") <= pinned("requirements.lock")


def test_the_images_have_all_that_the_project_and_its_extras_need() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    needed = [*project["dependencies"], *(each for extra in extras for each in extra)]

    there = {name for name, _ in pinned("deploy/image/requirements.lock")}
    assert {re.split(r"[<>=\[]", each)[0] for each in needed} <= there
