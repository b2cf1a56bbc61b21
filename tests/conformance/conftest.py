"""The official SDKs, each pointed at one running `constellation up` by address and token alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cloudflare import Cloudflare

from tests.system.harness import TOKEN, Up


@pytest.fixture(scope="session")
def base_url(up: Up) -> str:
    """What takes the place of https://api.cloudflare.com/client/v4."""
    return f"{up.client.base}/client/v4"


@pytest.fixture(scope="session")
def cloudflare(base_url: str) -> Iterator[Cloudflare]:
    with Cloudflare(api_token=TOKEN, base_url=base_url) as client:
        yield client
