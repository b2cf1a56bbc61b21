"""Eager asyncio: tasks that start at once, promises that cost no loop tick, timers by the dozen.

For code that answers thousands of requests a second and wants to be read as `async def`
all the same. Everything here works together with plain asyncio, both ways.
"""

from libs.eager.promise import Promise
from libs.eager.task import EagerTask, promised, start
from libs.eager.timers import Timers
from libs.eager.turns import Turns, call_each, turns_of
from libs.eager.within import Within

__all__ = [
    "EagerTask",
    "Promise",
    "Timers",
    "Turns",
    "Within",
    "call_each",
    "promised",
    "start",
    "turns_of",
]
