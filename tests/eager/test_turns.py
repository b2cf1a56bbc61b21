"""Turns at the end of what is read, and the loop's rests."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from libs.eager import turns_of


async def test_who_asks_while_something_is_read_has_a_turn_at_its_end() -> None:
    turns = turns_of(asyncio.get_running_loop())
    had: list[str] = []

    turns.begin()
    turns.begin()  # a read within a read
    turns.ask(lambda: had.append("first"))
    turns.ask(lambda: had.append("second"))
    turns.end()
    assert had == []
    turns.end()

    assert had == ["first", "second"]


async def test_who_asks_outside_of_a_read_has_a_turn_in_the_next_round() -> None:
    turns = turns_of(asyncio.get_running_loop())
    had: list[str] = []

    turns.ask(lambda: had.append("it"))
    assert had == []
    await asyncio.sleep(0)

    assert had == ["it"]


async def test_a_read_in_between_gives_their_turns_to_those_who_asked_before() -> None:
    turns = turns_of(asyncio.get_running_loop())
    had: list[str] = []

    turns.ask(lambda: had.append("it"))
    turns.begin()
    turns.end()
    assert had == ["it"]
    await asyncio.sleep(0)

    assert had == ["it"]


async def test_who_asks_in_a_turn_has_one_too() -> None:
    turns = turns_of(asyncio.get_running_loop())
    had: list[str] = []

    turns.begin()
    turns.ask(lambda: turns.ask(lambda: had.append("inner")))
    turns.end()

    assert had == ["inner"]


async def test_what_can_wait_comes_after_all_turns_that_others_wait_for() -> None:
    turns = turns_of(asyncio.get_running_loop())
    had: list[str] = []

    turns.after(lambda: had.append("at once"))  # nothing is being read
    turns.begin()
    turns.after(lambda: had.append("after"))
    turns.after(lambda: had.append("too"))
    turns.ask(lambda: turns.ask(lambda: had.append("inner")))
    assert had == ["at once"]
    turns.end()

    assert had == ["at once", "inner", "after", "too"]


async def test_what_can_wait_and_is_alone_lets_the_loop_sleep_first() -> None:
    turns = turns_of(asyncio.get_running_loop())
    had: list[str] = []

    for name in ("first", "second"):
        turns.begin()
        turns.after(partial(had.append, name))
        turns.end()
        await asyncio.sleep(0)
        assert name not in had
        await asyncio.sleep(0.05)

    assert had == ["first", "second"]


async def test_a_read_that_brings_another_takes_both_along() -> None:
    turns = turns_of(asyncio.get_running_loop())
    had: list[str] = []

    turns.begin()
    turns.after(lambda: had.append("first"))
    turns.end()
    turns.begin()  # brings none
    turns.end()
    assert had == []
    turns.begin()
    turns.after(lambda: had.append("second"))
    turns.end()

    assert had == ["first", "second"]
    await asyncio.sleep(0.05)
    assert had == ["first", "second"]


async def test_who_ends_the_loop_has_it_done_first() -> None:
    turns = turns_of(asyncio.get_running_loop())
    had: list[str] = []

    def it() -> None:
        had.append("it")
        turns.after(lambda: had.append("its own"))

    turns.settle()  # there is nothing to do
    turns.begin()
    turns.after(it)
    turns.end()
    turns.settle()

    assert had == ["it", "its own"]
    await asyncio.sleep(0.05)
    assert had == ["it", "its own"]


@pytest.mark.parametrize("others", [0, 1])
async def test_what_comes_after_may_ask_for_turns_of_its_own(others: int) -> None:
    turns = turns_of(asyncio.get_running_loop())
    had: list[str] = []

    turns.begin()
    turns.after(lambda: turns.ask(lambda: had.append("asked")))
    for _ in range(others):
        turns.after(lambda: turns.after(lambda: had.append("after")))
    turns.end()
    await asyncio.sleep(0.05)

    assert had == ["asked", "after"][: 1 + others]


async def test_a_turn_that_fails_takes_no_other_its_turn() -> None:
    turns = turns_of(asyncio.get_running_loop())
    had: list[str] = []

    def fail() -> None:
        raise ValueError

    turns.begin()
    turns.ask(fail)
    turns.ask(lambda: had.append("it"))
    turns.end()
    turns.ask(lambda: had.append("later"))
    await asyncio.sleep(0)

    assert had == ["it", "later"]


async def test_the_loop_rests_once_however_many_ask_and_after_what_they_were_doing() -> None:
    turns = turns_of(asyncio.get_running_loop())
    began = time.monotonic()

    for _ in range(100):
        turns.rest(0.05)
    assert time.monotonic() - began < 0.05
    await asyncio.sleep(0)

    assert 0.05 <= time.monotonic() - began < 1


async def test_loops_have_turns_of_their_own() -> None:
    other = asyncio.new_event_loop()
    try:
        assert turns_of(other) is not turns_of(asyncio.get_running_loop())
        assert turns_of(other) is turns_of(other)
    finally:
        other.close()
