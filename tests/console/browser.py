"""A Chromium that looks at a console, and keeps all that it complained of and asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 20_000  # other tests have the CPUs, too
expect.set_options(timeout=PATIENCE_MS)
WIDE, NARROW = (1600, 1000), (390, 844)


@contextmanager
def chromium() -> Iterator[Browser]:
    """One browser while inside."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Looking:
    """A page of its own, at one entry."""

    def __init__(
        self,
        browser: Browser,
        base: str,
        *,
        size: tuple[int, int] = WIDE,
        scheme: Literal["light", "dark"] = "light",
        scale: float = 1.0,
    ) -> None:
        self.base = base
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            device_scale_factor=scale,
            reduced_motion="reduce",
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def enter(self, token: str, view: str = "overview") -> Page:
        """Open a view as somebody who signed in before, and wait until it is live."""
        self.context.add_init_script(f"sessionStorage.setItem('constellation.token', '{token}')")
        self.page.goto(f"{self.base}/console#/{view}")
        self.page.locator("#live", has_text="Live").wait_for()
        return self.page

    @property
    def elsewhere(self) -> list[str]:
        """What was asked of others than the entry."""
        ours = (f"{self.base}/", "blob:", "data:")
        return [each for each in self.asked if not each.startswith(ours)]
