"""Values that are made for every request: plain attributes, which compiled code reads for nothing.

A frozen dataclass would be compiled into slow calls for each field, and a struct of msgspec has
its fields where only the interpreter finds them fast. Nobody changes a value that was handed on.
"""

from __future__ import annotations

from typing import Any, TypeVar

V = TypeVar("V", bound="Value")


class Value:
    """Equal to another with the same attributes, and shown with them."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and attributes(self) == attributes(other)

    def __repr__(self) -> str:
        told = " ".join(f"{name}={value!r}" for name, value in attributes(self).items())
        return f"<{type(self).__name__} {told}>"


def attributes(value: object) -> dict[str, object]:
    """Return all attributes by their names."""
    names = set(getattr(value, "__dict__", ()))
    for kind in type(value).__mro__:
        for told in ("__mypyc_attrs__", "__slots__", "__annotations__"):
            names.update(kind.__dict__.get(told, ()))
    return {name: getattr(value, name) for name in sorted(names)}


def changed(value: V, **attributes_of_it: object) -> V:
    """Return the value with other attributes, made anew."""
    kind: Any = type(value)
    made: V = kind(**(attributes(value) | attributes_of_it))
    return made
