"""W3C trace context: what is read, what is as if it had not come, and what is written."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.trace_context import TraceContext, new_span_id, new_trace_id, read_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),  # another flag beside
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"01-{TRACE}-{SPAN}-01", True),  # a later version, of the same form
        (f"cc-{TRACE}-{SPAN}-01-what-comes", True),  # or with more
    ],
)
def test_a_header_is_read(header: str, is_sampled: bool) -> None:
    assert read_context(header) == TraceContext(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00-a-b-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",  # version 0 has no more
        f"00-{TRACE}-{SPAN}-01-",
        f"01-{TRACE}-{SPAN}-01more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE[:-1]}²-{SPAN}-01",
    ],
)
def test_what_is_malformed_is_none(header: str) -> None:
    assert read_context(header, "vendor=1") is None


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("congo=t61rcWkgMzE,rojo=00f067", "congo=t61rcWkgMzE,rojo=00f067"),
        (" a=1 ", "a=1"),
        ("a" * 513, ""),
        ("a=\n", ""),
        ("a=é", ""),
    ],
)
def test_the_state_goes_along_if_others_can_take_it(state: str, kept: str) -> None:
    context = read_context(f"00-{TRACE}-{SPAN}-01", state)

    assert context is not None
    assert context.at("1" * 16) == TraceContext(TRACE, "1" * 16, True, kept)


@given(st.randoms(use_true_random=False), st.booleans())
def test_what_is_written_is_read_as_it_was(rng: random.Random, is_sampled: bool) -> None:
    context = TraceContext(new_trace_id(rng), new_span_id(rng), is_sampled)

    assert read_context(context.traceparent) == context


@given(st.text(max_size=80), st.text(max_size=20))
def test_no_text_makes_reading_fail(traceparent: str, tracestate: str) -> None:
    context = read_context(traceparent, tracestate)

    assert context is None or context.traceparent.isascii()
