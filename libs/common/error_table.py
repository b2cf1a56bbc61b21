"""The table of all errors in docs/errors.md, made of their classes: `make docs` writes it."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from libs.common.errors import BY_REASON, RequestError
from libs.common.written_tables import with_table

HEAD = """\
| code | HTTP | reason | status | what it means | tried elsewhere | try again | x-should-retry |
|---|---|---|---|---|---|---|---|
"""


def table() -> str:
    """Return the table, sorted by code."""
    classes = sorted(
        BY_REASON.values(), key=lambda cls: (cls.code, list(BY_REASON).index(cls.reason))
    )
    return HEAD + "".join(map(_row, classes))


def _row(cls: type[RequestError]) -> str:
    means = " ".join((inspect.getdoc(cls) or "").split()).removesuffix(".")
    should = {None: "", True: "true", False: "false"}[cls.should_retry]
    cells = (
        str(cls.code),
        str(cls.http),
        f"`{cls.reason}`",
        cls.status,
        means,
        "yes" if cls.retryable else "no",
        cls.again,
        should,
    )
    return f"| {' | '.join(cells)} |".replace("  |", " |") + "\n"


def main(path: Path) -> None:
    """Write the table into a document."""
    path.write_text(with_table(path.read_text("utf-8"), table()), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
