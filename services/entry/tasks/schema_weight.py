"""How much work a client's JSON Schema can make: what its $refs unfold to, and where they loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

DEEPEST: Final = 64
REFS_ELSEWHERE: Final = ("$dynamicRef", "$recursiveRef")
PLAIN: Final = frozenset({"enum", "const", "default", "examples", "required"})  # no schemas in them


class BadSchema(ValueError):
    """The schema is one that is not followed here; the message says why."""


@dataclass(frozen=True, slots=True)
class Weight:
    """The parts of a schema with every $ref followed, and the $refs back to what they stand in."""

    parts: int
    loops: int


def weigh(schema: Mapping[str, Any]) -> Weight:
    """Weigh a schema without unfolding it; raises BadSchema."""
    return _Scale(schema).weigh(schema, ())


class _Scale:
    """Weighs each part once, however many $refs lead to it."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[int, Weight] = {}

    def weigh(self, node: Any, above: tuple[int, ...]) -> Weight:
        """Return the weight of a part; `above` are those that it stands in."""
        if not isinstance(node, dict | list):
            return Weight(0, 0)
        if len(above) > DEEPEST:
            raise BadSchema(f"nested deeper than {DEEPEST} levels")
        if id(node) in above:
            return Weight(0, 1)
        if id(node) not in self._known:
            inner = [self.weigh(each, (*above, id(node))) for each in self._inside(node)]
            parts, loops = sum(each.parts for each in inner), sum(each.loops for each in inner)
            self._known[id(node)] = Weight(parts + 1, loops)
        return self._known[id(node)]

    def _inside(self, node: dict[str, Any] | list[Any]) -> Iterator[Any]:
        if isinstance(node, list):
            yield from node
            return
        for name, value in node.items():
            if name == "$ref" and isinstance(value, str):
                yield self._at(value)
            elif name in REFS_ELSEWHERE or (name == "$id" and node is not self._root):
                if isinstance(value, str):
                    raise BadSchema(f"{name} is not followed here: use $ref and #/$defs")
            elif name not in PLAIN:
                yield value

    def _at(self, ref: str) -> Any:
        """Return the part that a $ref leads to."""
        if ref != "#" and not ref.startswith("#/"):
            raise BadSchema(f"$ref {ref[:100]!r} leads elsewhere: only #/... is followed here")
        node: Any = self._root
        for step in ref.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(name)] if isinstance(node, list) else node[name]
            except (LookupError, ValueError, TypeError):
                raise BadSchema(f"$ref {ref[:100]!r} leads nowhere") from None
        return node
