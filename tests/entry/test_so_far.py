"""What a stream has said so far: the same, however its parts came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.entry.tasks.so_far import SoFar, Told

WHOLE = "ä".encode()
RAWS = st.sampled_from([b"", b"a", b"bc", WHOLE, WHOLE[:1], WHOLE[1:], b"\xff"])
TOLD = st.builds(
    Told,
    st.sampled_from(["", "", "", "stop"]),
    tokens_in=st.integers(0, 1),
    tokens_out=st.integers(0, 3),
    is_total=st.booleans(),
)


@given(st.lists(st.tuples(st.lists(RAWS, min_size=1), TOLD), min_size=1))
def test_parts_that_are_alike_are_taken_in_as_one_by_one(
    read: list[tuple[list[bytes], Told]],
) -> None:
    together, alone = SoFar(99_999), SoFar(99_999)  # which is room for all

    together.see(read)
    for raws, told in read:
        for raw in raws:
            alone.see([([raw], told)])

    assert (together.parts, together.tokens) == (alone.parts, alone.tokens)
    assert (together.used().tokens_out, together.reason) == (alone.used().tokens_out, alone.reason)
    assert together.cut() == alone.cut()
