"""Which requests entry traces, and what their spans are called."""

from __future__ import annotations

import random

import pytest

from libs.common.errors import ModelFailed, OutOfCapacity, RequestError, StreamLost
from libs.common.spans import NoSpans
from services.entry.traces import Traces, has_failed, route_of

RUN = "/client/v4/accounts/{account}/ai/run/{model}"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/client/v4/accounts/abc/ai/run/@cf/demo/text", RUN),
        ("/client/v4/accounts/abc/ai/run/@cf%2Fdemo%2Ftext", RUN),
        (
            "/client/v4/accounts/abc/ai/v1/embeddings",
            "/client/v4/accounts/{account}/ai/v1/embeddings",
        ),
        ("/client/v4/accounts/abc/ai/models/search", ""),
        ("/client/v4/accounts/", ""),
        ("/metrics", ""),
        ("/client/v4/accountsabc/ai/run/x", ""),
        ("", ""),
    ],
)
def test_a_route_has_no_account_and_no_model(path: str, route: str) -> None:
    assert route_of(path) == route


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_a_share_of_the_requests_is_traced(share: float) -> None:
    traces = Traces(NoSpans(), entry="e", colo="ams", share=share, rng=random.Random(1))

    begun = [traces.begin(None) for _ in range(2_000)]

    assert sum(each.is_ours for each in begun) == pytest.approx(
        share * 2_000, abs=50 * (0 < share < 1)
    )
    assert all(each.context.is_sampled == each.is_ours for each in begun)
    # Others that sample by share decide alike: the lower half of the id is what counts.
    assert all(
        (int(each.context.trace_id[16:], 16) < share * 2**64) == each.is_ours for each in begun
    )


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (200, None, False),
        (429, OutOfCapacity(""), False),
        (499, None, False),
        (503, StreamLost(""), True),
        (200, StreamLost(""), True),  # after its beginning
        (ModelFailed.http, ModelFailed(""), ModelFailed.http >= 500),
    ],
)
def test_only_a_servers_failure_fails_its_span(
    status: int, error: RequestError | None, expected: bool
) -> None:
    assert has_failed(status, error) == expected
