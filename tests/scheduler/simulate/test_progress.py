"""The progress bar."""

from __future__ import annotations

import io

import pytest

from services.scheduler.simulate.progress import Progress


class Terminal(io.StringIO):
    """A place where somebody looks."""

    def isatty(self) -> bool:
        return True


def test_it_shows_how_much_is_done_and_leaves_the_line_empty() -> None:
    terminal = Terminal()

    with Progress(terminal) as progress:
        progress.tell("simulating", 0.5)
        progress.tell("simulating", 0.51)  # too soon to be drawn
        progress.tell("simulating", 1.0)

    drawn = [each for each in terminal.getvalue().split("\r\x1b[K") if each]
    assert drawn[0] == f"simulating [{'#' * 15}{'-' * 15}]  50%, 0:00 left"
    assert drawn[1] == f"simulating [{'#' * 30}] 100%, 0:00 left"
    assert len(drawn) == 2
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_the_line_is_emptied_after_an_error_too() -> None:
    terminal = Terminal()

    with pytest.raises(ValueError, match="bad"), Progress(terminal) as progress:
        progress.tell("simulating", 0.5)
        raise ValueError("bad")

    assert terminal.getvalue().endswith("\r\x1b[K")


def test_where_nobody_looks_nothing_is_written() -> None:
    file = io.StringIO()

    with Progress(file) as progress:
        progress.tell("simulating", 1.0)

    assert file.getvalue() == ""
