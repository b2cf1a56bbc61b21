"""A Triton that is killed in the middle of many streams: their clients notice a pause at most."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import CHAT, ROOT, Up, tritons_of, until
from tests.system.load import Streamed, counts, streamed

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("processes")]
PERMITS = 10
# With a seed the demo model says the same whenever it is asked, and from wherever it goes on.
BODIES: list[dict[str, Any]] = [
    {"prompt": f"Tell me a story, number {n}.", "seed": n + 1, "max_tokens": 100 + 10 * (n % 7)}
    | ({"temperature": 0} if n % 3 == 0 else {})
    for n in range(2 * PERMITS)
]


def two_instances(folder: Path) -> Path:
    """Return the usual configuration, with always two instances of the text model."""
    shutil.copytree(ROOT / "config", folder / "config")
    for name in ("models", ".triton"):
        (folder / name).symlink_to(ROOT / name)
    path = folder / "config" / "models" / "text-generation.yaml"
    text = path.read_text()
    text = text.replace("per_instance: 4", f"per_instance: {PERMITS}")
    path.write_text(text.replace("{min: 1, max: 2,", "{min: 2, max: 2,"))
    return folder / "config"


@pytest.mark.parametrize("rounds", [3, pytest.param(8, marks=pytest.mark.long)])
def test_streams_in_flight_on_a_killed_triton_go_on_as_if_nothing_had_been(
    own: Callable[..., Up],
    state: Path,
    tmp_path: Path,
    told: Callable[[str, object], None],
    rounds: int,
) -> None:
    up = own("--config", str(two_instances(tmp_path)))

    def permits() -> float:
        return up.client.metric("constellation_server_total_permits", model=CHAT)

    def broken(end: str) -> float:
        return up.client.metric("constellation_entry_broken_streams_total", end=end)

    def ask(body: dict[str, Any]) -> Streamed:
        return streamed(up.client, **body)

    until(lambda: permits() == 2 * PERMITS, seconds=60, what="both instances")
    wrong: list[tuple[Streamed, Streamed]] = []
    all_seen: list[Streamed] = []
    with ThreadPoolExecutor(len(BODIES)) as pool:
        undisturbed = list(pool.map(ask, BODIES))
        assert not [each for each in undisturbed if each.problem]
        for number in range(rounds):
            asked = pool.map(ask, BODIES)
            time.sleep(0.3 + 0.05 * number)
            victim = _text_tritons(state)[number % 2]
            os.kill(victim, signal.SIGKILL)
            pairs = list(zip(asked, undisturbed, strict=True))
            all_seen += [seen for seen, _ in pairs]
            wrong += [(seen, meant) for seen, meant in pairs if seen != meant]
            until(lambda: permits() == 2 * PERMITS, seconds=60, what="both instances again")

    ends = {end: int(broken(end)) for end in ("continued", "whole", "lost")}
    counted = f"of {sum(ends.values())} in flight there {ends}, {len(wrong)} with another text"
    told(f"kill -9 of a Triton, {rounds} times", f"{counts({}, streams=all_seen)}; {counted}")
    assert ends["continued"] + ends["whole"] >= 0.99 * sum(ends.values()) > 2 * rounds
    assert len(wrong) <= 0.01 * sum(ends.values()), wrong[:2]
    assert up.service.stop() == 0, up.service.text()[-5000:]


def _text_tritons(state: Path) -> list[int]:
    """Return the Tritons that hold the text model, in order."""
    found = {pid for pid, each in tritons_of(state).items() if "text_generation" in each}
    found = found or {pid for pid, each in tritons_of(state).items() if "text-generation" in each}
    assert len(found) == 2, tritons_of(state)
    return sorted(found)
