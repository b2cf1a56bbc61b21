"""Compiled modules: used where they fit the source, and nowhere else."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from libs.compiled import build, interpreter
from libs.compiled.finding import Finder
from libs.compiled.modules import GROUP, HOT, ROOT, SUFFIX, files, fitting, source

WHICH = """
import importlib, sys
from libs import compiled
import libs.http1.heads, services.entry.gateway
print(compiled.in_use(), libs.http1.heads.__file__.endswith(".py"))
"""


def which(cwd: Path, **environment: str) -> list[str]:
    """Ask a fresh interpreter whether it runs compiled, and whether a module is its source."""
    env = {**os.environ, "PYTHONPATH": str(cwd), **environment}
    ran = subprocess.run([sys.executable, "-c", WHICH], cwd=cwd, env=env, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout.decode().split()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources, with the build of these if there is one."""
    for name in ("libs", "services"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    if fitting().is_dir():
        (tmp_path / "build" / "compiled").mkdir(parents=True)
        (tmp_path / "build" / "compiled" / fitting().name).symlink_to(fitting())
    return tmp_path


@pytest.mark.parametrize(
    "module", ["libs/eager/timers.py", "libs/common/catalog.py"], ids=["compiled", "known to them"]
)
def test_a_build_that_fits_is_used_and_an_edit_leaves_all_to_the_interpreter(
    tree: Path, module: str
) -> None:
    if fitting().is_dir():
        assert which(tree, CONSTELLATION_INTERPRETED="") == ["True", "False"]
    edited = tree / module
    edited.write_text(edited.read_text() + "\n# an edit\n")

    assert which(tree, CONSTELLATION_INTERPRETED="") == ["False", "True"]


def test_the_interpreter_can_be_asked_for(tree: Path) -> None:
    assert which(tree, CONSTELLATION_INTERPRETED="1") == ["False", "True"]


def test_without_a_source_nothing_is_compiled(tree: Path) -> None:
    (tree / "libs" / "lean" / "frames.py").rename(tree / "libs" / "lean" / "gone.py")

    ran = subprocess.run(
        [sys.executable, "-c", "from libs import compiled; print(compiled.in_use())"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "CONSTELLATION_INTERPRETED": ""},
        capture_output=True,
        check=True,
    )

    assert ran.stdout.decode().split() == ["False"]


def test_every_hot_module_has_a_source_and_a_place_in_a_build() -> None:
    build_of = files(Path("b"))

    assert all(source(module).is_file() for module in HOT)
    assert len(set(HOT)) == len(HOT)
    assert build_of["libs.http1.heads"] == Path("b", "libs", "http1", f"heads{SUFFIX}")
    assert build_of[f"{GROUP}__mypyc"] == Path("b", f"{GROUP}__mypyc{SUFFIX}")


def test_the_finder_leaves_other_modules_to_others() -> None:
    assert Finder({}).find_spec("libs.http1.heads", None) is None


def test_what_is_missing_is_named_with_what_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda _: None)

    assert "C compiler" in build.what_is_missing()
    assert "apt install gcc" in build.what_is_missing()


def test_a_compiler_that_fails_leaves_all_to_the_interpreter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Path) -> None:
        raise build.CompileError("command 'gcc' failed")

    monkeypatch.setattr(build, "fitting", lambda: tmp_path / "none")
    monkeypatch.setattr(build, "what_is_missing", lambda: "")
    monkeypatch.setattr(build, "compile_into", fail)

    assert build.main() == build.CANNOT
    assert "command 'gcc' failed: the hot path runs interpreted" in capsys.readouterr().err


def test_without_a_compiler_nothing_is_built_and_the_exit_code_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "fitting", lambda: tmp_path / "none")
    monkeypatch.setattr(build, "what_is_missing", lambda: "there is no C compiler")

    assert build.main() == build.CANNOT
    assert "runs interpreted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("first", "other", "chosen"),
    [
        (1.0, 0.7, interpreter.CANDIDATES[1]),
        (1.0, 0.99, interpreter.CANDIDATES[0]),
        (1.0, None, interpreter.CANDIDATES[0]),
        (None, 0.7, interpreter.CANDIDATES[1]),
        (None, None, ">=3.11"),
    ],
    ids=["faster", "as fast", "the only one", "the first is of no use", "none"],
)
def test_the_faster_interpreter_is_chosen(
    monkeypatch: pytest.MonkeyPatch, first: float | None, other: float | None, chosen: str
) -> None:
    took = dict(zip(interpreter.CANDIDATES, (first, other), strict=True))
    monkeypatch.setattr(interpreter, "seconds", took.__getitem__)

    assert interpreter.choose() == chosen


def test_an_interpreter_that_is_none_is_no_candidate() -> None:
    assert interpreter.seconds("/bin/false") is None
    assert interpreter.seconds("/no/such/python") is None
    assert interpreter.seconds(sys.executable)


WAITS = (ast.Await, ast.AsyncWith, ast.AsyncFor, ast.Yield, ast.YieldFrom)


def waits(body: list[ast.stmt]) -> list[int]:
    """The lines of a block that wait; functions that are defined there are not run there."""
    found: list[int] = []
    nodes: list[ast.AST] = [*body]
    while nodes:
        node = nodes.pop()
        if isinstance(node, WAITS):
            found.append(node.lineno)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            nodes += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("module", HOT)
def test_nothing_compiled_waits_while_it_handles_an_exception(module: str) -> None:
    """Compiled, the exception would be the whole thread's meanwhile (CONTRIBUTING.md)."""
    tries = [n for n in ast.walk(ast.parse(source(module).read_text())) if isinstance(n, ast.Try)]
    blocks = [each.body for n in tries for each in n.handlers] + [n.finalbody for n in tries]

    assert [line for body in blocks for line in waits(body)] == []
