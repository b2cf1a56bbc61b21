"""Makes the pictures of docs/console.md: a loaded cluster of two colos, in a real browser.

.venv/bin/python -m tests.console.pictures --out docs --minutes 12
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from pathlib import Path
from typing import Any, Literal

from httpx2 import TransportError
from PIL import Image
from playwright.sync_api import Browser, Page

from bench.report import say
from tests.console.browser import NARROW, WIDE, Looking, chromium
from tests.console.cluster import COLOS, THEIR_TOKEN, THEIRS, two_colos
from tests.short_dirs import short_dir
from tests.system.harness import ACCOUNT, CHAT, EMBED, TOKEN, Client, cleaned_up

Scheme = Literal["light", "dark"]
# What is asked for, how often, and with what.
Calls = tuple[tuple[int, str, dict[str, Any]], ...]
CALLS: Calls = (
    (10, CHAT, {"prompt": "Tell me about the stars.", "max_tokens": 60, "stream": True}),
    (8, CHAT, {"prompt": "Hello!", "max_tokens": 16}),
    (12, EMBED, {"text": ["A star is born in a cloud of gas.", "Bread is made of flour."]}),
    (3, "@cf/demo/translation", {"text": "the house is red", "target_lang": "fr"}),
    (3, "@cf/demo/text-classification", {"text": "What a wonderful evening."}),
    (2, "@cf/demo/text-to-image", {"prompt": "a red circle"}),
    (2, "@cf/demo/text-to-speech", {"prompt": "hello stars"}),
    (1, CHAT, {"prompt": "Hello!", "max_tokens": 200, "options": {"totalMs": 20}}),
    (1, CHAT, {"prompt": "Hello!", "max_tokens": 60, "options": {"maxQueueMs": 1}}),
)
# While the pictures are taken: as much text as fills its permits, and some of its queue.
RUSH: Calls = ((1, CHAT, {"prompt": "Tell me a story.", "max_tokens": 120, "stream": True}),)
TALL = 1600  # of a telephone's pictures: what one sees of it by scrolling a little
WAVE_S = 240.0  # the load rises and falls once in so long


class Callers:
    """Ask for a mixture of models, more and then less, from both accounts and both colos."""

    def __init__(self, port: int, *, threads: int, calls: Calls = CALLS) -> None:
        self._calls = calls
        self._over = threading.Event()
        self._port = port
        self._threads = [
            threading.Thread(target=self._ask, args=(number, number / threads))
            for number in range(threads)
        ]

    def __enter__(self) -> Callers:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join(60)

    def _ask(self, seed: int, share: float) -> None:
        rng, client = random.Random(seed), Client(self._port)
        weights = [each[0] for each in self._calls]
        while not self._over.wait(rng.expovariate(1.5)):
            phase = (time.monotonic() % WAVE_S) / WAVE_S
            if share > 0.4 + 0.6 * (1 - abs(2 * phase - 1)):
                continue
            ((_, model, body),) = rng.choices(self._calls, weights)
            options = {"preferredColo": rng.choice(COLOS), **body.get("options", {})}
            theirs = rng.random() < 0.3
            token, account = (THEIR_TOKEN, THEIRS) if theirs else (TOKEN, ACCOUNT)
            try:
                client.http.post(
                    f"{client.base}/client/v4/accounts/{account}/ai/run/{model}",
                    json={**body, "options": options},
                    headers={"Authorization": f"Bearer {token}"},
                )
            except TransportError as error:
                say(f"a call was lost: {error!r}")
        client.close()


def take(browser: Browser, base: str, out: Path) -> None:
    """Take a picture of each view, at both widths, in light and dark."""
    schemes: tuple[Scheme, ...] = ("light", "dark")
    for size, name in ((WIDE, "1600"), ((NARROW[0], TALL), "390")):
        for scheme in schemes:
            looking = Looking(browser, base, size=size, scheme=scheme)
            page = looking.enter(TOKEN)
            page.wait_for_timeout(12_000)  # for the rate of the last seconds to be one
            for view in ("overview", "scaling", "requests", "playground"):
                show(page, view)
                picture = out / f"console-{view}-{name}-{scheme}.png"
                page.screenshot(path=picture, full_page=name == "1600" and view != "requests")
                shrink(picture)
                say(f"{picture} {picture.stat().st_size // 1024} KiB")
            assert looking.complaints == [], looking.complaints
            looking.context.close()


def shrink(picture: Path) -> None:
    """Write it with 256 colors, which are more than it has but for the edges of letters."""
    with Image.open(picture) as drawn:
        small = drawn.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(picture, optimize=True)


def show(page: Page, view: str) -> None:
    """Go to a view, and do there what fills it."""
    page.get_by_role("link", name=view.capitalize(), exact=True).click()
    page.get_by_role("heading", name=view.capitalize(), level=1).wait_for()
    if view == "scaling":
        page.locator("svg.chart path.line").first.wait_for(state="attached")
    if view == "requests":
        page.locator("tr[data-request]").first.wait_for()
    if view == "playground":
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_text("200 OK").wait_for(timeout=60_000)
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.wait_for_timeout(1_500)


def main() -> None:
    """Run a cluster and its load for some minutes, then take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--minutes", type=float, default=16.0)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--rush", type=int, default=20)
    said = parser.parse_args()
    with (
        short_dir() as folder,
        cleaned_up(folder),
        two_colos(folder) as running,
        Callers(running.http, threads=said.threads),
    ):
        say(running.client.base)
        time.sleep(60 * said.minutes)
        rush = Callers(running.http, threads=said.rush, calls=RUSH)
        with chromium() as browser, rush:
            take(browser, running.client.base, said.out)


if __name__ == "__main__":
    main()
