"""The load generator's process: a job as JSON on its input, marks and numbers on its output.

Between the marks `begin` and `end` the one who started it reads the clocks of the target's
processes. The generator tells how late its own timers came, so that one that is at its limit
is not taken for a slow target.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from typing import Any, cast

import msgspec
import uvloop

from bench import hops, loads
from bench.client import WrongAnswer
from bench.summary import percentile
from bench.ticker import Ticker

LOOK_S = 0.01


class Lateness:
    """Notes how much later than asked for the loop calls back."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self.microseconds: list[float] = []

    def begin(self) -> None:
        """Look every 10 ms from now on."""
        self._look_at(time.monotonic() + LOOK_S)

    def _look_at(self, due: float) -> None:
        def look() -> None:
            now = time.monotonic()
            self.microseconds.append((now - due) * 1e6)
            self._look_at(max(due + LOOK_S, now))

        self._ticker.at(due, look)


async def run(job: loads.Job) -> dict[str, Any]:
    """Do the job."""
    ticker = Ticker(asyncio.get_running_loop())
    lateness = Lateness(ticker)
    spent = {}

    def mark(name: str) -> None:
        spent[name] = time.process_time(), time.monotonic()
        tell({"mark": name})

    lateness.begin()
    mode: Any = {**loads.MODES, **hops.MODES}[job.mode]
    found = cast(dict[str, Any], await mode(job, ticker, mark))
    ticker.close()
    used, passed = (b - a for a, b in zip(spent["begin"], spent["end"], strict=True))
    found["generator_cpu_share"] = used / passed
    found["generator_late_p99_us"] = percentile(lateness.microseconds, 0.99)
    return found


def tell(message: dict[str, Any]) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do one job; a wrong answer is an error line and exit code 1."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=loads.Job)
    gc.disable()  # a pause of ours would count as the target's
    try:
        tell({"result": uvloop.run(run(job))})
    except (WrongAnswer, OSError) as error:
        tell({"error": f"{type(error).__name__}: {error}"})
        sys.exit(1)


if __name__ == "__main__":
    main()
