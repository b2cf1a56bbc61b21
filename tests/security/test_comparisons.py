"""No secret is compared with another, character by character: how long that takes would tell.

Tokens are looked up by their hashes, which nobody can choose; whoever needs to compare secrets
takes `hmac.compare_digest`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.system.harness import ROOT

SECRETS = ("token", "secret", "password", "api_key", "bearer", "authorization")
ENDS = tuple(f"_{each}" for each in SECRETS)


def name_of(node: ast.expr) -> str:
    """Return what an operand is called."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=called):
            return name_of(called)
        case ast.Subscript(value=value, slice=ast.Constant(value=str(name))):
            return name or name_of(value)
    return ""


def comparisons(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that hold a secret against something that is no constant, with its name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        if not all(isinstance(each, ast.Eq | ast.NotEq) for each in node.ops) or any(
            isinstance(each, ast.Constant) for each in sides
        ):
            continue
        for name in map(name_of, sides):
            if name.lower() in SECRETS or name.lower().endswith(ENDS):
                yield node.lineno, name


def test_no_secret_is_compared() -> None:
    found = []
    for path in (each for top in ("libs", "services") for each in (ROOT / top).rglob("*.py")):
        where = path.relative_to(ROOT)
        found += [f"{where}:{line} {name}" for line, name in comparisons(path)]

    assert found == []


def test_one_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("if told['token'] == self._secret: pass\nif a.key == 'b' or a.b == c: pass\n")

    assert [name for _, name in comparisons(path)] == ["token", "_secret"]
