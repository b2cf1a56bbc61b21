"""Where a catalog's files are in its folder, and what stands there that would not be read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from os.path import isdir  # unlike Path's, it says no where it may not look
from pathlib import Path
from typing import Final

from libs.common.yaml_files import Problem

MODELS: Final = "models"
FINETUNES: Final = "finetunes"
STAGED: Final = "staged"  # a folder in it for each colo
LASTING: Final = (MODELS, FINETUNES)  # what is gone is moved away by mistake, and no rollback
ALIKE: Final = 0.85  # stage and model, but no models.old


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The files, and what is wrong with where they are."""

    models: tuple[Path, ...]
    finetunes: tuple[Path, ...]
    staged: tuple[Path, ...]
    problems: tuple[Problem, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Return all of them."""
        return (*self.models, *self.finetunes, *self.staged)


def shown(folder: Path, path: Path) -> str:
    """Return how a path is told in mistakes, whatever machine it is on."""
    return f"{folder.name}/{path.relative_to(folder)}"


def find_places(folder: Path, *, expected: Collection[str] = ()) -> Places:
    """List a catalog's files; of the folders, those that are `expected` must be there."""
    look = _Look(folder)
    models = look.yaml_files(folder / MODELS, must_be=MODELS in expected)
    finetunes = look.yaml_files(folder / FINETUNES, must_be=FINETUNES in expected)
    staged: list[Path] = []
    for path in look.inside(folder / STAGED):
        if isdir(path):
            staged += look.yaml_files(path)
        elif path.suffix in (".yaml", ".yml"):
            text = f"nothing reads it here: it belongs into {STAGED}/<colo>/"
            look.problems.append(Problem(file=shown(folder, path), text=text))
    look.problems += _misnamed(folder, look.inside(folder))
    return Places(
        models=tuple(models),
        finetunes=tuple(finetunes),
        staged=tuple(staged),
        problems=tuple(look.problems),
    )


class _Look:
    """What is found of the folders, and what is wrong with them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.problems: list[Problem] = []

    def __repr__(self) -> str:
        return f"<_Look {self._folder} problems={len(self.problems)}>"

    def yaml_files(self, folder: Path, *, must_be: bool = False) -> list[Path]:
        """Return the files that are read; one that others would call YAML, too, is a mistake."""
        found = self.inside(folder, must_be=must_be)
        for path in found:
            if path.suffix == ".yml":
                text = f"nothing reads it under this name: call it {path.stem}.yaml"
                self.problems.append(Problem(file=shown(self._folder, path), text=text))
        return [path for path in found if path.name.endswith(".yaml")]

    def inside(self, folder: Path, *, must_be: bool = False) -> list[Path]:
        """Return what is in a folder; one that cannot be read is no empty one."""
        try:
            return sorted(folder.iterdir())
        except FileNotFoundError:
            why = "there is no such folder any more; an empty one takes all of it away"
            if not must_be and folder != self._folder:
                return []
        except OSError as error:
            why = error.strerror or str(error)
        self.problems.append(Problem(file=shown(self._folder, folder).removesuffix("/."), text=why))
        return []


def _misnamed(folder: Path, inside: Collection[Path]) -> Iterator[Problem]:
    """A folder with YAML in it that is called almost as one that is not there."""
    names = {path.name for path in inside}
    missing = [name for name in (*LASTING, STAGED) if name not in names]
    for path in inside:
        meant = get_close_matches(path.name, missing, n=1, cutoff=ALIKE)
        if meant and isdir(path) and any(path.rglob("*.y*ml")):
            text = f"nothing reads this folder, perhaps {meant[0]} is meant"
            yield Problem(file=shown(folder, path), text=text)
