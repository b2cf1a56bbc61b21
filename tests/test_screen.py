"""What `constellation up` prints can be pasted."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.common.world import World
from services.entry.app import Config
from services.screen import screen
from tests.certificates import certified


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
def test_the_calls_speak_what_the_port_speaks(is_secure: bool, tmp_path: Path) -> None:
    tls = certified(tmp_path)
    config = Config(tls_cert=tls.cert, tls_key=tls.key) if is_secure else Config()
    base = f"{config.scheme}://127.0.0.1:1"

    text = screen(world=World(), http=base, grpc="", account="a", token="t", took_s=1.0)

    calls = [line for line in text.splitlines() if " curl " in line]
    assert base.startswith("https" if is_secure else "http:")
    assert len(calls) == 3
    assert all(f" {base}/client/v4/accounts/a/ai/run/@cf/demo/" in line for line in calls)
