"""Tables in docs/ that are made of the code: where they stand in a document."""

from __future__ import annotations

from typing import Final

BEGIN: Final = "<!-- begin: `make docs` writes this -->"
END: Final = "<!-- end -->"


def with_table(document: str, table: str) -> str:
    """Return the document with this table in its place; ValueError where it has no such place."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{table}{END}{after}"
