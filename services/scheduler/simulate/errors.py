"""Why nothing can be simulated; the text is all that the caller needs."""

from __future__ import annotations


class CannotSimulate(ValueError):
    """Something that the caller can put right."""


class BadTrace(CannotSimulate):
    """A file is no trace; the text names it, and the line where there is one."""


class BadOptions(CannotSimulate):
    """Options that do not fit together, or name what is not there."""


class NoChart(CannotSimulate):
    """Nothing draws here."""


class Lost(CannotSimulate):
    """A process that simulated is gone."""
