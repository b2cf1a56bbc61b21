"""What an error says beside its body."""

from __future__ import annotations

import pytest

from libs.common.errors import BY_REASON, RequestError
from services.entry.fronts.bodies import error_headers


@pytest.mark.parametrize("cls", BY_REASON.values(), ids=BY_REASON)
def test_an_error_tells_whether_to_try_again(cls: type[RequestError]) -> None:
    headers = error_headers(cls("no"))

    expected = {None: None, True: "true", False: "false"}[cls.should_retry]
    assert headers.get("x-should-retry") == expected
    assert ("Retry-After" in headers) == (cls.http in (429, 503))


@pytest.mark.parametrize(
    ("wait_ms", "told"), [(0, "1"), (1, "1"), (1001, "2"), (9_500, "10"), (3_600_000, "60")]
)
def test_a_wait_is_told_in_whole_seconds_that_sdks_obey(wait_ms: int, told: str) -> None:
    headers = error_headers(BY_REASON["out_of_capacity"]("full", retry_after_ms=wait_ms))

    assert headers["Retry-After"] == told
